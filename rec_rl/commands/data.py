"""``rec-rl data``: bring data in, and see what it can carry."""

from pathlib import Path
from typing import Annotated

import typer

from rec_rl.commands.audit import audit
from rec_rl.commands.convert import convert
from rec_rl.commands.options import (
    Json,
    Seed,
    command_line,
    one_thread_per_process,
    print_facts,
    print_json,
)

app = typer.Typer(help="Bring data in, and see what it can carry.", no_args_is_help=True)
app.command()(audit)
app.command()(convert)

Out = Annotated[Path, typer.Option(help="Parquet file to write.")]


@app.command()
def download(
    name: Annotated[str, typer.Argument(help="virtual-taobao")],
    source: Annotated[
        str | None,
        typer.Option("--from", help="URL or folder of the files instead of the public repository."),
    ] = None,
    to: Annotated[Path | None, typer.Option("--to", help="Folder to put them in.")] = None,
    as_json: Json = False,
) -> None:
    """Fetch a public data set, verify it, and say which paper to cite."""
    from rec_rl.data.virtual_taobao_files import CITATION, DEFAULT_TARGET, download
    from rec_rl.errors import check_name
    from rec_rl.progress import progress

    check_name("data set", name, ["virtual-taobao"])
    with progress() as shown:
        folder = download(
            source,
            to or DEFAULT_TARGET,
            on_progress=lambda file, received, size: shown.update(file, received, size or received),
        )
    if as_json:
        print_json({"command": "data download", "path": str(folder), "cite": CITATION})
    else:
        print(f"{folder}: verified.\nPlease cite: {CITATION}")


@app.command()
def generate(
    world: Annotated[str, typer.Argument(help="session-world")],
    out: Out,
    users: Annotated[int, typer.Option(help="Users.", min=1)] = 3_000,
    requests: Annotated[int, typer.Option(help="Requests of each user.", min=1)] = 240,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Record a session log in a simulated world, with exact propensities."""
    one_thread_per_process()
    from envs.session_rollouts import record_log
    from envs.session_world import SessionWorld
    from rec_rl.errors import check_name
    from rec_rl.experiments.session_logs import leave_log

    check_name("world", world, ["session-world"])
    print_facts(leave_log(record_log(SessionWorld(users, seed), requests).log, out, command_line()), as_json)
