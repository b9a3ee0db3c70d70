"""``rec-rl data audit``."""

from pathlib import Path
from typing import Annotated

import typer

from rec_rl.commands.options import Json, Seed, command_line, one_thread_per_process, print_json


def audit(
    log: Annotated[Path, typer.Argument(help="Parquet file of a session log, or folder of a converted one.")],
    out: Annotated[Path | None, typer.Option(help="Folder for the page of figures and the record.")] = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Say what a session log holds, whether its propensities are right, and which estimates it supports."""
    one_thread_per_process()
    from rec_rl.experiments.session_logs import audit_file

    record, found, rows = audit_file(log, seed=seed, command=command_line())
    if out is not None:
        from rec_rl.report.log_figures import save_log_figures
        from rec_rl.report.page import write_report

        record.save(out / "record.json")
        figures = save_log_figures(rows, found, out / "figures")
        page = write_report(
            out, title=f"Audit of {log.name}", curves={}, figures=figures, verdict=" ".join(found.statements)
        )
    if as_json:
        print_json(record.to_dict())
        return
    print("\n".join(found.sentences()))
    if out is not None:
        print(page)
