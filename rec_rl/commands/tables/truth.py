"""``rec-rl table truth``."""

from pathlib import Path

from rec_rl.commands.options import Json, NumSeeds, Runs, command_line, one_thread_per_process
from rec_rl.commands.tables.study import Quick, finish


def truth(
    seeds: NumSeeds = 3, quick: Quick = False, runs: Runs = Path("runs"), as_json: Json = False
) -> None:
    """What mental rewards say of clicks, against two truths that clicks cannot tell apart (MTRec Fig. 3)."""
    one_thread_per_process()
    from rec_rl.experiments.click_truth import run_study
    from rec_rl.progress import progress
    from rec_rl.report.study_figures import reward_by_step_figure, reward_distributions_figure

    folder = (runs / "table-truth").absolute()
    with progress() as shown:
        record, drawn = run_study(
            seeds=range(1, seeds + 1), quick=quick, folder=folder, progress=shown, command=command_line()
        )
    finish(
        record,
        folder,
        title="What mental rewards say of clicks",
        columns=("fall", "fall_truth_b", "mismatch", "mismatch_truth_b", "regret_auc", "regret_auc_truth_b"),
        figures={
            "reward-by-step": reward_by_step_figure(drawn),
            "reward-distributions": reward_distributions_figure(drawn),
        },
        as_json=as_json,
    )
