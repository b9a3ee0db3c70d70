"""``rec-rl table labels``."""

from pathlib import Path

from rec_rl.commands.options import Json, NumSeeds, Runs, command_line, one_thread_per_process
from rec_rl.commands.tables.study import Quick, finish


def labels(
    seeds: NumSeeds = 10, quick: Quick = False, runs: Runs = Path("runs"), as_json: Json = False
) -> None:
    """Labels that a preference reward needs, pairs chosen actively and at random, in the session world."""
    one_thread_per_process()
    from rec_rl.experiments.label_study import run_label_study
    from rec_rl.labelling.desk import BLOCK
    from rec_rl.progress import progress
    from rec_rl.report.label_figures import labels_figure

    folder = (runs / "table-labels").absolute()
    with progress() as shown:
        record, curves = run_label_study(
            num_seeds=seeds, quick=quick, folder=folder, progress=shown, command=command_line()
        )
    finish(
        record,
        folder,
        title="Labels that a reward needs, by how the pairs are chosen",
        columns=(
            "labels_to_target",
            "correlation_at_108",
            "correlation_at_last",
            "share_of_ties",
            "requests_to_target",
        ),
        figures={"correlation-by-labels": labels_figure(curves, BLOCK)},
        as_json=as_json,
    )
