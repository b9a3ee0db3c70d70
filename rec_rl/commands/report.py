"""``rec-rl report``: the page of a run, made anew from its record."""

from pathlib import Path
from typing import Annotated

import typer

from rec_rl.commands.options import Json, print_json


def report(
    run: Annotated[Path, typer.Argument(help="Folder of a run.")],
    as_json: Json = False,
) -> None:
    """Write a run's report.html anew from its record and figures."""
    from rec_rl.experiments.records import read_record
    from rec_rl.report.page import rewrite_report

    path = rewrite_report(run)
    if as_json:
        print_json(read_record(run / "record.json"))
    else:
        print(path)
