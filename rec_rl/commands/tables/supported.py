"""``rec-rl table supported``."""

from pathlib import Path

from rec_rl.commands.options import Json, NumWorlds, Runs, command_line, one_thread_per_process
from rec_rl.commands.tables.study import Quick, finish


def supported(
    worlds: NumWorlds = 3, quick: Quick = False, runs: Runs = Path("runs"), as_json: Json = False
) -> None:
    """How far preferences alone carry the supported policy, by reward, trace and radius, in the truth."""
    one_thread_per_process()
    from rec_rl.data.levels import TASKS
    from rec_rl.experiments.supported_study import RADII, run_study
    from rec_rl.progress import progress

    folder = (runs / "table-supported").absolute()
    with progress() as shown:
        record = run_study(
            num_worlds=worlds, quick=quick, folder=folder, progress=shown, command=command_line()
        )
    finish(
        record,
        folder,
        title="The supported policy in closed form: true online levels",
        columns=(*TASKS, "radius", *(f"mixture_at_{radius:g}" for radius in RADII)),
        figures={},
        as_json=as_json,
    )
