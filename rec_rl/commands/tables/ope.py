"""``rec-rl table ope``."""

from pathlib import Path

from rec_rl.commands.options import Json, NumWorlds, Runs, command_line, one_thread_per_process
from rec_rl.commands.tables.study import Quick, finish


def ope(
    worlds: NumWorlds = 3, quick: Quick = False, runs: Runs = Path("runs"), as_json: Json = False
) -> None:
    """Off-policy estimates against the truth of the session world, and what their intervals hold."""
    one_thread_per_process()
    from rec_rl.data.levels import TASKS
    from rec_rl.experiments.ope_table import run_table
    from rec_rl.progress import progress
    from rec_rl.report.ope_figures import truth_figure

    folder = (runs / "table-ope").absolute()
    with progress() as shown:
        record, studies = run_table(
            num_worlds=worlds, quick=quick, folder=folder, progress=shown, command=command_line()
        )
    finish(
        record,
        folder,
        title="Spearman correlation of off-policy estimates with the true online level",
        columns=TASKS,
        figures={
            "ncis-against-truth": truth_figure(studies, "ncis"),
            "advantage-against-truth": truth_figure(studies, "advantage"),
        },
        as_json=as_json,
    )
