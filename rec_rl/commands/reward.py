"""``rec-rl reward``: learn a reward from behaviour or preferences, and ask whether it means anything."""

from pathlib import Path
from typing import Annotated, Any

import typer

from rec_rl.commands.options import (
    BestOfSweep,
    Json,
    Seed,
    Weights,
    chosen_weights,
    command_line,
    estimate_text,
    one_thread_per_process,
    print_json,
    print_table,
)
from rec_rl.errors import ConfigError

app = typer.Typer(help="Learn a reward from behaviour or preferences, and check it.", no_args_is_help=True)

PREFERENCE = "preference"


@app.command()
def fit(
    method: Annotated[str, typer.Argument(help="iq_learn, qr_iql, anchored; or preference")],
    data: Annotated[
        str,
        typer.Option(
            help="Parquet file of user transitions, 'virtual-taobao' or 'click-world'; for preference, of a "
            "session log."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder to put the reward into.")],
    weights: Weights = None,
    users: Annotated[int, typer.Option(help="Users or sessions to record, for the worlds.", min=10)] = 20_000,
    pairs: Annotated[
        str | None,
        typer.Option(help="preference: JSONL or Parquet file of labelled pairs, instead of the teacher's."),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(help="preference: file of people's answers to rec-rl label, beside the other pairs."),
    ] = None,
    teacher: Annotated[
        str | None,
        typer.Option(help="preference: who labels: mean (default), request (the paper's) or session."),
    ] = None,
    task: Annotated[
        str | None, typer.Option(help="preference: depth, frequency or mixture (default), for the teacher.")
    ] = None,
    num_pairs: Annotated[
        int | None, typer.Option(help="preference: pairs that the teacher labels; default 20,000.")
    ] = None,
    segment_length: Annotated[
        int | None, typer.Option(help="preference: requests of a segment; default 100.")
    ] = None,
    config: BestOfSweep = None,
    seed: Seed = 0,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the fit that was ended in OUT.unfinished.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Learn a reward from what users did, or from which histories are better."""
    one_thread_per_process()
    given = {
        "pairs": pairs,
        "labels": labels,
        "teacher": teacher,
        "task": task,
        "num_pairs": num_pairs,
        "segment_length": segment_length,
    }
    chosen = {name: value for name, value in given.items() if value is not None}
    if method == PREFERENCE:
        if config is not None:
            raise ConfigError(f"--config is for mental rewards, got {PREFERENCE!r}")
        _fit_preference(data, out, chosen, seed, resume, as_json)
        return
    if chosen:
        name = next(iter(chosen)).replace("_", "-")
        raise ConfigError(f"--{name} is for the method {PREFERENCE!r}, got {method!r}")
    from rec_rl.experiments.reward_fitting import MentalFitSpec, fit_reward
    from tuning.best import read_best

    spec = MentalFitSpec(
        method=method,
        data=data,
        settings=read_best(config, method) if config else {},
        weights=chosen_weights(weights),
        num_users=users,
        seed=seed,
    )
    record = fit_reward(spec, out, resume=resume, command=command_line())
    if as_json:
        print_json(record)
        return
    print_table(f"{method} on {data}", ("figure", "value"), _rows(record["config"]["fit"]))
    print(f"{out}: check it with rec-rl reward check {out} --data {out / 'transitions.parquet'}")


@app.command()
def check(
    reward: Annotated[Path, typer.Argument(help="Folder of a fitted reward.")],
    data: Annotated[
        Path | None,
        typer.Option(
            help="Parquet file of user transitions, or of a session log; default: what it learned from."
        ),
    ] = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Ask whether a reward explains behaviour or preferences; exit 1 if it fails."""
    one_thread_per_process()
    from rec_rl.checkpoint import state_kind
    from rec_rl.experiments.preference_fitting import check_preferences
    from rec_rl.experiments.reward_fitting import check_fitted
    from rec_rl.rewards.bradley_terry import KIND

    judge = check_preferences if state_kind(reward) == KIND else check_fitted
    record, sentences, passed = judge(reward, data, seed=seed, command=command_line())
    if as_json:
        print_json(record)
    else:
        print("\n".join(sentences))
    raise typer.Exit(0 if passed else 1)


def _fit_preference(
    log: str, out: Path, chosen: dict[str, Any], seed: int, resume: bool, as_json: bool
) -> None:
    from rec_rl.experiments.preference_fitting import PreferenceSpec, fit_preference_reward
    from rec_rl.rewards.bradley_terry import BradleyTerryConfig

    spec = PreferenceSpec(log=log, seed=seed, **chosen)
    record = fit_preference_reward(
        spec, out, config=BradleyTerryConfig(), resume=resume, command=command_line()
    )
    if as_json:
        print_json(record)
        return
    print("\n".join(f"{name}: {estimate_text(metric)}" for name, metric in record["metrics"].items()))
    print("\n".join([*record["notes"], f"{out}: check it with rec-rl reward check {out}"]))


def _rows(figures: dict[str, Any]) -> list[tuple[str, str]]:
    def text(value: Any) -> str:
        if isinstance(value, list):
            return "; ".join(map(str, value))
        return f"{value:.4f}" if isinstance(value, float) else str(value)

    return [(name, text(value)) for name, value in figures.items()]
