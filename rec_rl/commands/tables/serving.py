"""``rec-rl table serving``."""

from pathlib import Path
from typing import Annotated

import typer

from rec_rl.commands.options import Json, Runs, command_line, one_thread_per_process
from rec_rl.commands.tables.study import finish


def serving(
    artefact: Annotated[Path, typer.Argument(help="Folder of an artefact that rec-rl export wrote.")],
    clients: Annotated[int, typer.Option(help="That ask at a time.", min=1)] = 16,
    seconds: Annotated[
        float, typer.Option(help="Of load, in peace and with a replica killed.", min=3)
    ] = 30.0,
    replicas: Annotated[int, typer.Option(help="Processes that answer.", min=2)] = 2,
    port: Annotated[int, typer.Option(help="Of 127.0.0.1.", min=1, max=65535)] = 8123,
    runs: Runs = Path("runs"),
    as_json: Json = False,
) -> None:
    """A served artefact under load: answers per second, p50, p99, and a replica killed on the way."""
    one_thread_per_process()
    from rec_rl.experiments.serving_load import Load, measure_serving
    from rec_rl.progress import progress

    folder = (runs / "table-serving").absolute()
    load = Load(clients=clients, seconds=seconds, replicas=replicas, port=port)
    with progress() as shown:
        record = measure_serving(artefact, load, progress=shown, command=command_line())
    finish(
        record,
        folder,
        title="Serving under load",
        columns=("requests_per_second", "p50_ms", "p99_ms", "failed", "recovery_seconds"),
        figures={},
        as_json=as_json,
    )
