"""``rec-rl data``: bring data in."""

from pathlib import Path
from typing import Annotated

import typer

from rec_rl.commands.options import Json, print_json

app = typer.Typer(help="Bring data in.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Keeps ``download`` a subcommand while it is the only one."""


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
