"""The command line: ``rec-rl``, or ``python -m rec_rl.cli`` from a checkout.

Results go to stdout, progress and errors to stderr. Exit 0: done; 1: something the user can mend, in one
line; 2: the command line itself is wrong.
"""

import errno
import sys

import typer

from rec_rl.commands import (
    ctr,
    data,
    demo,
    doctor,
    evaluate,
    export,
    label,
    ope,
    report,
    reward,
    serve,
    submit,
    tables,
    train,
    tune,
)
from rec_rl.errors import RecRLError
from rec_rl.progress import say

CANNOT_WRITE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM}
"""A full disk or quota, and folders that are read-only or another user's."""

INTERRUPTED = 130
"""What Typer makes of Ctrl-C."""

app = typer.Typer(
    help="Trains recommenders that users are glad of, and says how far the numbers can be believed.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("demo")(demo.demo)
app.command("train")(train.train)
app.command("evaluate")(evaluate.evaluate)
app.command("ope")(ope.ope)
app.command("label")(label.label)
app.command("report")(report.report)
app.command("export")(export.export)
app.command("serve")(serve.serve)
app.command("tune")(tune.tune)
app.command("submit")(submit.submit)
app.command("doctor")(doctor.doctor)
app.add_typer(reward.app, name="reward")
app.add_typer(ctr.app, name="ctr")
app.add_typer(tables.app, name="table")
app.add_typer(data.app, name="data")


def main() -> None:
    """Runs the command line."""
    try:
        app()
    except RecRLError as error:
        say(" ".join(str(error).split()))
        sys.exit(1)
    except OSError as error:
        if error.errno not in CANNOT_WRITE:
            raise
        say(f"cannot write {error.filename or 'the run'}: {error.strerror}")
        sys.exit(1)
    except SystemExit as end:
        if end.code == INTERRUPTED:
            say("interrupted; where the command has a --resume, that goes on from here")
        raise


if __name__ == "__main__":
    main()
