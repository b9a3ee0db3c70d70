"""``rec-rl table compare``."""

from pathlib import Path
from typing import Annotated

import typer

from rec_rl.commands.options import Json, command_line, one_thread_per_process, print_json, print_table

Run = typer.Argument(help="A record.json or the folder of a run.")


def compare(first: Annotated[Path, Run], second: Annotated[Path, Run], as_json: Json = False) -> None:
    """Two records of the same data side by side, with the differences second minus first."""
    one_thread_per_process()
    from rec_rl.commands.options import estimate_text
    from rec_rl.experiments.compare_records import compare_records
    from rec_rl.experiments.records import read_record

    paths = [path / "record.json" if path.is_dir() else path for path in (first, second)]
    record = compare_records(*map(read_record, paths), names=tuple(map(str, paths)), command=command_line())
    plain = record.to_dict()
    if as_json:
        print_json(plain)
        return
    columns = ("first", "second", "difference")
    rows = [
        (name, *(estimate_text(arm["metrics"].get(column), 4) for column in columns))
        for name, arm in plain["arms"].items()
    ]
    print_table(f"{first} and {second}", ("metric", *columns), rows)
    print("\n".join(plain["notes"]))
