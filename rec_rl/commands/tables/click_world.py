"""``rec-rl table click-world``."""

from pathlib import Path
from typing import Annotated

import typer

from rec_rl.commands.options import Json, NumSeeds, Runs, command_line, one_thread_per_process, print_record


def click_world(
    seeds: NumSeeds = 3,
    quick: Annotated[bool, typer.Option("--quick", help="The form of the table in seconds.")] = False,
    runs: Runs = Path("runs"),
    as_json: Json = False,
) -> None:
    """Mental rewards against the truth of the click world, and what alignment does there."""
    one_thread_per_process()
    import time

    from rec_rl.experiments.click_world import run_table
    from rec_rl.experiments.records import RunRecord
    from rec_rl.progress import progress

    started = time.monotonic()
    numbers = list(range(1, seeds + 1))
    with progress() as shown:
        table = run_table(
            seeds=numbers,
            quick=quick,
            on_progress=lambda done, total, what: shown.update("click-world", done, total, what),
        )
    record = RunRecord(
        command=command_line(),
        seeds=numbers,
        data_hash=table["data_hash"],
        config={"quick": quick, "bands": table["bands"]},
        arms={name: arm["metrics"] for name, arm in table["arms"].items()},
        controls={name: arm["metrics"] for name, arm in table["controls"].items()},
        missed=table["missed"],
        seconds=time.monotonic() - started,
    )
    record.save(runs / "table-click-world" / "record.json")
    print_record(record.to_dict(), as_json)
