"""``rec-rl doctor``: whether a run would work here, and what to do if not."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from rec_rl.commands.options import Json, Runs, print_json, print_table


def doctor(
    address: Annotated[
        str | None, typer.Option(help="Job server of a cluster to look at too: http://host:8265.")
    ] = None,
    runs: Runs = Path("runs"),
    as_json: Json = False,
) -> None:
    """Look for what would make a run fail; exit 1 if there is anything."""
    from rec_rl.experiments.doctor import PROBLEM, examine

    checks = examine(runs, needs_token=address is not None)
    if address is not None:
        from rec_rl.experiments.doctor_cluster import check_cluster

        checks += check_cluster(address)
    if as_json:
        print_json({"command": "rec-rl doctor", "checks": [asdict(check) for check in checks]})
    else:
        rows = [(check.name, check.state, check.found) for check in checks]
        print_table("rec-rl doctor", ("check", "state", "found"), rows)
        for check in checks:
            if check.remedy:
                print(f"{check.name}: {check.remedy}")
    if any(check.state == PROBLEM for check in checks):
        raise typer.Exit(1)
