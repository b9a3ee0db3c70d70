"""``rec-rl table virtual-taobao`` and the search behind its settings."""

from pathlib import Path
from typing import Annotated

import typer

from rec_rl.commands.options import (
    Json,
    NumSeeds,
    Runs,
    Weights,
    chosen_weights,
    command_line,
    one_thread_per_process,
    print_record,
)
from rec_rl.commands.tables.study import finish


def virtual_taobao(
    weights: Weights = None,
    steps: Annotated[int, typer.Option(help="Environment steps of every run.", min=1)] = 50_000,
    seeds: NumSeeds = 5,
    trajectories: Annotated[int, typer.Option(help="Sessions in the expert set.", min=100)] = 100_000,
    kappa: Annotated[float, typer.Option(help="Weight of the mental reward.", min=0)] = 0.2,
    runs: Runs = Path("runs"),
    as_json: Json = False,
) -> None:
    """PPO and SAC with and without mental rewards, with controls (MTRec Sec. 5.2)."""
    one_thread_per_process()
    from rec_rl.experiments.virtual_taobao import run_table
    from rec_rl.progress import progress
    from rec_rl.report.figures import figures_by_family

    folder = (runs / "table-virtual-taobao").absolute()
    with progress() as shown:
        record, by_arm = run_table(
            weights=chosen_weights(weights),
            steps=steps,
            num_seeds=seeds,
            num_trajectories=trajectories,
            kappa=kappa,
            folder=folder,
            progress=shown,
            command=command_line(),
        )
    finish(
        record,
        folder,
        title="PPO and SAC on Virtual Taobao",
        columns=("ectr", "ectr_interquartile_mean", "steps_to_0.9", "seconds"),
        each_seed="ectr",
        figures=figures_by_family({name: [row["curve"] for row in rows] for name, rows in by_arm.items()}),
        as_json=as_json,
    )


def virtual_taobao_settings(
    weights: Weights = None,
    steps: Annotated[int, typer.Option(help="Environment steps of every run.", min=1)] = 50_000,
    seeds: NumSeeds = 2,
    runs: Runs = Path("runs"),
    as_json: Json = False,
) -> None:
    """The search that chose the settings of the virtual-taobao table, on seeds that it does not use."""
    one_thread_per_process()
    from rec_rl.experiments.virtual_taobao_settings import run_search
    from rec_rl.progress import progress

    folder = (runs / "table-virtual-taobao-settings").absolute()
    with progress() as shown:
        record = run_search(
            weights=chosen_weights(weights),
            steps=steps,
            num_seeds=seeds,
            folder=folder,
            progress=shown,
            command=command_line(),
        )
    record.save(folder / "record.json")
    print_record(record.to_dict(), as_json)
