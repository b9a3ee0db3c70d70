"""``rec-rl serve``: an exported artefact behind HTTP."""

from pathlib import Path
from typing import Annotated

import typer

from rec_rl.commands.options import one_thread_per_process

Port = Annotated[int, typer.Option(help="Of 127.0.0.1.", min=1, max=65535)]
Replicas = Annotated[int, typer.Option(help="Processes that answer.", min=1)]


def serve(
    folder: Annotated[Path, typer.Argument(help="Folder of an artefact that rec-rl export wrote.")],
    port: Port = 8000,
    replicas: Replicas = 1,
) -> None:
    """Answer POST /recommend, GET /health and GET /metrics on loopback until interrupted."""
    one_thread_per_process()
    import signal
    import threading

    from rec_rl.progress import say
    from rec_rl.serving.server import served

    asked_to_stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: asked_to_stop.set())
    with served(folder, port=port, replicas=replicas) as address:
        say(f"serving {folder} at {address} (/recommend, /health, /metrics)")
        asked_to_stop.wait()
