"""``rec-rl report``: the page of a run, made anew from its record, or one that compares runs."""

from pathlib import Path
from typing import Annotated

import typer

from rec_rl.commands.options import Json, command_line, one_thread_per_process, print_json


def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folder of a run, or of several.")],
    out: Annotated[
        Path | None, typer.Option(help="Several runs: the page to write. Default: comparison.html.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a run's report.html anew, or one page that compares runs of the same data.

    Runs that differ in nothing but their seed are one arm. Differences are from the first arm, paired by
    seed.
    """
    one_thread_per_process()
    from rec_rl.errors import ConfigError
    from rec_rl.experiments.compare_runs import arms_of, compare_runs
    from rec_rl.experiments.records import read_record
    from rec_rl.report.comparison import write_comparison
    from rec_rl.report.page import rewrite_report

    if len(runs) == 1:
        if out is not None:
            raise ConfigError("--out is for several runs; the page of one is its report.html")
        path, record = rewrite_report(runs[0]), read_record(runs[0] / "record.json")
    else:
        arms = arms_of(runs)
        compared = compare_runs(arms, command=command_line())
        path, record = out or Path("comparison.html"), compared.to_dict()
        write_comparison(path, arms, compared)
    if as_json:
        print_json(record)
    else:
        print(path)
