"""``rec-rl table kappa``."""

from pathlib import Path

from rec_rl.commands.options import Json, NumSeeds, Runs, command_line, one_thread_per_process
from rec_rl.commands.tables.study import Quick, finish


def kappa(
    seeds: NumSeeds = 3, quick: Quick = False, runs: Runs = Path("runs"), as_json: Json = False
) -> None:
    """Click AUC against satisfaction over kappa, and the kappa to use."""
    one_thread_per_process()
    from rec_rl.experiments.kappa_frontier import run_frontier
    from rec_rl.progress import progress
    from rec_rl.report.study_figures import frontier_figure

    folder = (runs / "table-kappa").absolute()
    with progress() as shown:
        record = run_frontier(
            seeds=range(1, seeds + 1), quick=quick, folder=folder, progress=shown, command=command_line()
        )
    finish(
        record,
        folder,
        title="Click AUC against satisfaction over kappa",
        columns=("auc_gain", "satisfaction_auc_gain", "satisfaction_auc_truth_b_gain"),
        figures={"kappa-frontier": frontier_figure(record)},
        as_json=as_json,
    )
