"""``rec-rl table feedback``."""

from pathlib import Path

from rec_rl.commands.options import Json, NumSeeds, Runs, command_line, one_thread_per_process
from rec_rl.commands.tables.study import Quick, finish


def feedback(
    seeds: NumSeeds = 3, quick: Quick = False, runs: Runs = Path("runs"), as_json: Json = False
) -> None:
    """Learning curve of the satisfaction anchor over 0 to 10 % explicit feedback, under two truths."""
    one_thread_per_process()
    from rec_rl.experiments.feedback_curve import run_curve
    from rec_rl.progress import progress
    from rec_rl.report.study_figures import feedback_figure

    folder = (runs / "table-feedback").absolute()
    with progress() as shown:
        record = run_curve(
            seeds=range(1, seeds + 1), quick=quick, folder=folder, progress=shown, command=command_line()
        )
    finish(
        record,
        folder,
        title="Satisfaction anchor: what explicit feedback adds to clicks",
        columns=("satisfaction_auc_gain", "satisfaction_auc_truth_b_gain", "auc_gain", "auc_truth_b_gain"),
        figures={"satisfaction-gain-by-feedback": feedback_figure(record)},
        as_json=as_json,
    )
