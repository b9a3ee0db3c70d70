"""``rec-rl table ab``."""

from pathlib import Path

from rec_rl.commands.options import Json, NumSeeds, Runs, command_line, one_thread_per_process
from rec_rl.commands.tables.study import Quick, finish


def ab(seeds: NumSeeds = 3, quick: Quick = False, runs: Runs = Path("runs"), as_json: Json = False) -> None:
    """A simulated online test of DCN with and without alignment over seven days (MTRec Fig. 4)."""
    one_thread_per_process()
    from rec_rl.experiments.ab_study import run_study
    from rec_rl.progress import progress
    from rec_rl.report.study_figures import daily_lift_figure

    folder = (runs / "table-ab").absolute()
    with progress() as shown:
        record = run_study(
            seeds=range(1, seeds + 1), quick=quick, folder=folder, progress=shown, command=command_line()
        )
    finish(
        record,
        folder,
        title="Viewing time over seven days, lift over plain DCN",
        columns=("lift", "lift_cuped", "lift_truth_b", "lift_cuped_truth_b"),
        figures={"daily-lift": daily_lift_figure(record)},
        as_json=as_json,
    )
