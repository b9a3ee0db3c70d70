"""``rec-rl label``."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from rec_rl.commands.options import Json, Seed, command_line, one_thread_per_process, print_json
from rec_rl.errors import ConfigError


def label(
    log: Annotated[Path, typer.Argument(help="Parquet file of a session log, or folder of a converted one.")],
    labels: Annotated[
        Path, typer.Option("--labels", help="File of the answers; an earlier one is gone on with.")
    ] = Path("labels.db"),
    pairs: Annotated[int, typer.Option(help="Pairs that every annotator is asked about.", min=1)] = 100,
    choose: Annotated[
        str, typer.Option(help="random, or active: where an ensemble fitted to the answers disagrees.")
    ] = "random",
    annotator: Annotated[
        list[str] | None, typer.Option(help="Alias of an annotator, each with a link. Repeatable.")
    ] = None,
    port: Annotated[int, typer.Option(help="Of the page, on this machine alone; 0 takes a free one.")] = 8765,
    summary: Annotated[
        bool, typer.Option("--summary", help="Say how far the annotators agree, and serve nothing.")
    ] = False,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Ask people which of two sessions went better, on a page in the browser."""
    one_thread_per_process()
    if summary:
        _summarise(labels, as_json)
        return
    try:
        from rec_rl.labelling.desk import DeskConfig, open_desk
        from rec_rl.labelling.server import Doorkeeper, bind, serve
    except ModuleNotFoundError as error:
        raise ConfigError(f"the labelling page needs {error.name}: pip install 'rec_rl[serve]'") from error

    desk = open_desk(log, labels, DeskConfig(num_pairs=pairs, choosing=choose), seed=seed)  # type: ignore[arg-type]
    doorkeeper = Doorkeeper(annotator or ["me"])
    listening = bind(port)
    address = f"http://{listening.getsockname()[0]}:{listening.getsockname()[1]}"
    links = {name: f"{address}/?token={token}" for name, token in doorkeeper.tokens().items()}
    if as_json:
        print_json({"command": command_line(), "labels": str(labels), "links": links})
    else:
        for name, link in links.items():
            print(f"{name}: {link}")
        print(f"Each link opens once. Answers go to {labels}; Ctrl-C ends.")
    sys.stdout.flush()  # the page is served from here on
    serve(desk, doorkeeper, listening)
    if not as_json:
        print("\n".join(desk.findings()))


def _summarise(labels: Path, as_json: bool) -> None:
    from rec_rl.data.labels import load_answers
    from rec_rl.labelling.agreement import agreement

    _, answers = load_answers(labels)
    sentences = agreement(answers).sentences()
    if as_json:
        print_json({"command": command_line(), "labels": str(labels), "agreement": sentences})
    else:
        print("\n".join(sentences))
