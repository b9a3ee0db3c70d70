"""``rec-rl ope``."""

from pathlib import Path
from typing import Annotated, Any

import typer

from rec_rl.commands.options import (
    Json,
    Seed,
    command_line,
    estimate_text,
    one_thread_per_process,
    print_json,
    print_table,
)


def ope(
    log: Annotated[Path, typer.Argument(help="Parquet file of a session log.")],
    policy: Annotated[
        Path,
        typer.Option(help="Folder of a policy or run, or a .npy file of its means at the log's requests."),
    ],
    force: Annotated[
        bool, typer.Option("--force", help="Show numbers that the log does not support.")
    ] = False,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Judge a policy on a log it did not write; exit 1 if the log supports no estimate of it."""
    one_thread_per_process()
    from rec_rl.experiments.ope_run import estimate_policy

    record, supported = estimate_policy(log, policy, force=force, seed=seed, command=command_line())
    if as_json:
        print_json(record.to_dict())
    else:
        _print_words(record.to_dict(), f"{policy} on {log}")
    raise typer.Exit(0 if supported or force else 1)


def _print_words(record: dict[str, Any], title: str) -> None:
    arms = record["controls"] | record["arms"]
    tasks = list(next(iter(arms.values()))["metrics"])
    rows = [(name, *(_number(arm["metrics"][task]) for task in tasks)) for name, arm in arms.items()]
    print_table(title, ("mean level of a session", *tasks), rows)
    for task in tasks:
        metric = record["arms"]["ncis"]["metrics"][task]
        print(f"{task}: {metric['verdict']} (D2 {metric['d2']:.2f}, worth {metric['ess']:,.0f} sessions)")
    config = record["config"]
    print(f"behaviour {config['behaviour']}, {config['calibration']}")
    for reason, count in config["exclusions"].items():
        if count:
            print(f"excluded: {count:,} sessions: {reason}")
    print("\n".join(record["notes"]))


def _number(metric: dict[str, Any]) -> str:
    if metric["value"] is None:
        return "NOT SUPPORTED"
    return estimate_text(metric)
