"""``rec-rl demo``: the main job, small enough to watch."""

from pathlib import Path
from typing import Annotated

import typer

from rec_rl.commands.options import (
    Json,
    Runs,
    Seed,
    command_line,
    estimate_text,
    one_thread_per_process,
    print_json,
    print_table,
)


def demo(
    weights: Annotated[
        str, typer.Option(help="Folder of the published Virtual Taobao networks, or 'synthetic'.")
    ] = "synthetic",
    steps: Annotated[int, typer.Option(help="Environment steps of every run.", min=1_000)] = 15_000,
    seed: Seed = 0,
    runs: Runs = Path("runs"),
    as_json: Json = False,
) -> None:
    """Record experts, learn their mental reward, train SAC with and without it, and compare."""
    one_thread_per_process()
    from rec_rl.experiments.demo import run_demo
    from rec_rl.progress import progress

    folder = (runs / "demo").absolute()
    chosen = weights if weights == "synthetic" else str(Path(weights).absolute())
    with progress() as shown:
        record = run_demo(
            weights=chosen, steps=steps, seed=seed, folder=folder, progress=shown, command=command_line()
        )
    if as_json:
        print_json(record)
        return
    arms = record["arms"] | record["controls"]
    metrics = list(next(iter(record["arms"].values()))["metrics"])
    rows = [(name, *(estimate_text(arm["metrics"].get(m)) for m in metrics)) for name, arm in arms.items()]
    print_table(f"SAC on Virtual Taobao ({weights}), {steps:,} steps, 2 seeds", ("arm", *metrics), rows)
    print("\n".join(record["notes"]))
    print(f"Report: {folder / 'report.html'}")
