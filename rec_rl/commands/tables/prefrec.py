"""``rec-rl table prefrec``."""

from pathlib import Path
from typing import Annotated

import typer

from rec_rl.commands.options import Json, NumSeeds, Runs, command_line, one_thread_per_process
from rec_rl.commands.tables.study import Quick, finish


def prefrec(
    tasks: Annotated[str, typer.Option(help="Of depth, frequency and mixture, with commas.")] = (
        "depth,frequency,mixture"
    ),
    seeds: NumSeeds = 5,
    ablations: Annotated[
        bool, typer.Option("--ablations", help="Also expectile, pre-training, fine-tuning, target, radius.")
    ] = False,
    quick: Quick = False,
    runs: Runs = Path("runs"),
    as_json: Json = False,
) -> None:
    """PrefRec and its baselines in the session world: true values beside NCIS (PrefRec Table 2)."""
    one_thread_per_process()
    from rec_rl.experiments.offline_training import LEVELS_OF_SESSIONS
    from rec_rl.experiments.prefrec_table import ALGORITHMS, QUICK, TableSize, run_table
    from rec_rl.progress import progress
    from rec_rl.report.offline_figures import curves_figure, level_shares_figure, values_figure

    folder = (runs / "table-prefrec").absolute()
    with progress() as shown:
        record, rows, rewards = run_table(
            tasks=tasks.split(","),
            num_seeds=seeds,
            ablations=ablations,
            size=QUICK if quick else TableSize(),
            folder=folder,
            progress=shown,
            command=command_line(),
        )
    trained = [task for task in rows["prefrec"] if task in record.arms["prefrec"]]
    curves = {
        task: {arm: [run["curve"] for run in rows[arm][task]] for arm in ALGORITHMS if task in rows[arm]}
        for task in trained
    }
    shares: dict[str, list[list[float]]] = {
        level: [check["level_shares"][level] for check in rewards.values()] for level in LEVELS_OF_SESSIONS
    }
    figures = {
        "true-values": values_figure(record.arms | record.controls, trained),
        "levels-of-sessions": level_shares_figure(shares),
        **{f"ncis-{task}-while-training": curves_figure(curves[task], task) for task in trained},
    }
    finish(
        record,
        folder,
        title="PrefRec and its baselines in the session world",
        columns=[*trained, *(f"ncis_{task}" for task in trained), *(f"d2_{task}" for task in trained)],
        figures=figures,
        as_json=as_json,
    )
