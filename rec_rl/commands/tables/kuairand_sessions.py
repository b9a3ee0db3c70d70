"""``rec-rl table kuairand-sessions``."""

from pathlib import Path
from typing import Annotated

import typer

from rec_rl.commands.options import Json, Runs, Seed, command_line, one_thread_per_process
from rec_rl.commands.tables.study import finish


def kuairand_sessions(
    data: Annotated[Path, typer.Option(help="Folder of KuaiRand files.")],
    seed: Seed = 0,
    runs: Runs = Path("runs"),
    as_json: Json = False,
) -> None:
    """Sessions, preferences, a supported policy and its estimates on real exposures, with verdicts."""
    one_thread_per_process()
    from rec_rl.data.levels import TASKS
    from rec_rl.experiments.kuairand_sessions_run import run_pipeline

    record = run_pipeline(data, seed=seed, command=command_line())
    finish(
        record,
        (runs / "table-kuairand-sessions").absolute(),
        title="Session pipeline on KuaiRand, judged on held-out users",
        columns=[f"ncis_{task}" for task in TASKS],
        figures={},
        as_json=as_json,
    )
