"""``rec-rl export``: out of training, into a product."""

from pathlib import Path
from typing import Annotated

import typer

from rec_rl.commands.options import Json, one_thread_per_process, print_json, print_table


def export(
    run: Annotated[Path, typer.Argument(help="Folder of a run, a policy's checkpoint or a fitted reward.")],
    out: Annotated[Path, typer.Option(help="New folder for the artefact.")],
    items: Annotated[
        Path | None,
        typer.Option(help="Policies: Parquet file of the catalogue, columns item and vector."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write ONNX graphs, items, schema and model card, verified against the network on 1,000 rows."""
    one_thread_per_process()
    from rec_rl.export.artefact import export_run
    from rec_rl.progress import say

    description = export_run(run, out, items=items, on_step=say)
    if as_json:
        print_json(description)
        return
    rows = [
        (graph["file"], graph["output"], f"{graph['parity']['largest_error']:.1e}")
        for graph in description["graphs"].values()
    ]
    print_table(f"{description['what']}, in {out}", ("graph", "output", "largest error"), rows)
    found = description["items"]
    print("no items: --items adds a catalogue" if found is None else f"{found['count']:,} items")
    print(out / "MODEL_CARD.md")
