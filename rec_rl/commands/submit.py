"""``rec-rl submit``: the same command, as a job on a Ray cluster."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from rec_rl.commands.options import print_json

KEEPS_RUNS = {"train", "tune", "ctr", "table", "demo"}


def submit(
    arguments: Annotated[
        list[str], typer.Argument(metavar="-- COMMAND ...", help="Any command of rec-rl, after two dashes.")
    ],
    address: Annotated[
        str, typer.Option(envvar="RAY_JOB_ADDRESS", help="The cluster's job server, http://host:8265.")
    ],
    working_dir: Annotated[
        Path, typer.Option(help="Checkout that is uploaded, but for what its .rayignore names.")
    ] = Path(),
    pip: Annotated[
        bool,
        typer.Option(
            "--pip",
            help="Install the pins of constraints.txt on the nodes first; default: their image has them.",
        ),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the job's name and exit code as one JSON object.")
    ] = False,
) -> None:
    """Run a command of rec-rl on a cluster, follow its output and exit as it does."""
    from rec_rl.experiments import jobs

    spec = jobs.JobSpec(arguments=tuple(arguments), working_dir=working_dir.absolute(), pip=pip)
    if arguments[0] in KEEPS_RUNS and not any(argument.startswith("--runs") for argument in arguments):
        print("the job's folder goes with it: give --runs a path that every node shares", file=sys.stderr)
    stream = sys.stderr if as_json else sys.stdout

    def write(text: str) -> None:
        stream.write(text)
        stream.flush()

    name, code = jobs.submit(address, spec, write)
    if as_json:
        print_json({"command": spec.entrypoint, "job": name, "exit_code": code})
    raise typer.Exit(code)
