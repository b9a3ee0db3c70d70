"""``rec-rl table preference``."""

from pathlib import Path

from rec_rl.commands.options import Json, NumSeeds, Runs, command_line, one_thread_per_process
from rec_rl.commands.tables.study import Quick, finish


def preference(
    seeds: NumSeeds = 3, quick: Quick = False, runs: Runs = Path("runs"), as_json: Json = False
) -> None:
    """Rewards learned from preferences by how pairs are labelled, on unseen users (PrefRec Fig. 6, 7)."""
    one_thread_per_process()
    from rec_rl.experiments.preference_study import run_study
    from rec_rl.progress import progress
    from rec_rl.report.preference_figures import fit_figure

    folder = (runs / "table-preference").absolute()
    with progress() as shown:
        record, curves = run_study(
            num_seeds=seeds, quick=quick, folder=folder, progress=shown, command=command_line()
        )
    finish(
        record,
        folder,
        title="Rewards learned from preferences, on users not trained on",
        columns=("pair_accuracy", "within_user_correlation", "harmful"),
        figures={"accuracy-and-loss-while-training": fit_figure(curves)},
        as_json=as_json,
    )
