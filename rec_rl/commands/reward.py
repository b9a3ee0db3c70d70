"""``rec-rl reward``: learn a mental reward from behaviour, and ask whether it means anything."""

from pathlib import Path
from typing import Annotated, Any

import typer

from rec_rl.commands.options import (
    Json,
    Seed,
    Weights,
    chosen_weights,
    command_line,
    one_thread_per_process,
    print_json,
    print_table,
)

app = typer.Typer(help="Learn a mental reward from behaviour, and check it.", no_args_is_help=True)


@app.command()
def fit(
    method: Annotated[str, typer.Argument(help="iq_learn, qr_iql or anchored")],
    data: Annotated[
        str, typer.Option(help="Parquet file of user transitions, 'virtual-taobao' or 'click-world'.")
    ],
    out: Annotated[Path, typer.Option(help="Folder to put the reward into.")],
    weights: Weights = None,
    users: Annotated[int, typer.Option(help="Users or sessions to record, for the worlds.", min=10)] = 20_000,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Learn a mental reward from what users did."""
    one_thread_per_process()
    from rec_rl.experiments.reward_fitting import fit_reward

    record = fit_reward(
        method, data, out, weights=chosen_weights(weights), num_users=users, seed=seed, command=command_line()
    )
    if as_json:
        print_json(record)
        return
    print_table(f"{method} on {data}", ("figure", "value"), _rows(record["config"]["fit"]))
    print(f"{out}: check it with rec-rl reward check {out} --data {out / 'transitions.parquet'}")


@app.command()
def check(
    reward: Annotated[Path, typer.Argument(help="Folder of a fitted reward.")],
    data: Annotated[
        Path | None, typer.Option(help="Parquet file of user transitions; default: beside it.")
    ] = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Ask whether a reward explains behaviour; exit 1 if it fails."""
    one_thread_per_process()
    from rec_rl.experiments.reward_fitting import check_fitted

    record, sentences, passed = check_fitted(reward, data, seed=seed, command=command_line())
    if as_json:
        print_json(record)
    else:
        print("\n".join(sentences))
    raise typer.Exit(0 if passed else 1)


def _rows(figures: dict[str, Any]) -> list[tuple[str, str]]:
    def text(value: Any) -> str:
        if isinstance(value, list):
            return "; ".join(map(str, value))
        return f"{value:.4f}" if isinstance(value, float) else str(value)

    return [(name, text(value)) for name, value in figures.items()]
