"""``rec-rl table retrieval``."""

from pathlib import Path
from typing import Annotated

import typer

from rec_rl.commands.options import Json, Runs, command_line, one_thread_per_process
from rec_rl.commands.tables.study import Quick, finish


def retrieval(
    worlds: Annotated[int, typer.Option(help="Session worlds that are served from catalogues.", min=1)] = 5,
    quick: Quick = False,
    runs: Runs = Path("runs"),
    as_json: Json = False,
) -> None:
    """Exact search against a graph at a million items, and what serving items for actions costs."""
    one_thread_per_process()
    from rec_rl.data.levels import TASKS
    from rec_rl.experiments.retrieval_study import run_study
    from rec_rl.progress import progress
    from rec_rl.report.retrieval_figures import latency_figure, loss_figure

    folder = (runs / "table-retrieval").absolute()
    with progress() as shown:
        record = run_study(
            num_worlds=worlds, quick=quick, folder=folder, progress=shown, command=command_line()
        )
    finish(
        record,
        folder,
        title="Retrieval: time and recall of the search, and the loss of value it costs",
        columns=(
            "recall",
            "p50_ms",
            "p99_ms",
            "batch_p50_ms",
            "build_seconds",
            *(f"{t}_change" for t in TASKS),
        ),
        figures={"latency": latency_figure(record), "lost-value": loss_figure(record)},
        as_json=as_json,
    )
