"""Options that several commands share, and how results are printed."""

import json
import os
import shlex
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

Json = Annotated[bool, typer.Option("--json", help="Print the record as one JSON object.")]
Seed = Annotated[int, typer.Option(help="Seed of everything random.", min=0)]
Weights = Annotated[
    str | None,
    typer.Option(
        help="Folder of the published Virtual Taobao networks, or 'synthetic'. Default: data/virtual_taobao "
        "where that was downloaded, else 'synthetic'."
    ),
]
Runs = Annotated[Path, typer.Option("--runs", help="Folder in which runs are kept.")]
BestOfSweep = Annotated[
    Path | None,
    typer.Option("--config", help="Settings that a sweep found: the best.json of rec-rl tune."),
]
NumSeeds = Annotated[int, typer.Option("--seeds", help="Runs of every arm.", min=1)]
NumWorlds = Annotated[int, typer.Option("--worlds", help="Fresh worlds, each with a log and a life.", min=1)]


def chosen_weights(weights: str | None) -> str:
    """What was asked for, else the download, else the synthetic networks; folders as absolute paths."""
    from rec_rl.data.virtual_taobao_files import DEFAULT_TARGET

    if weights is None:
        weights = str(DEFAULT_TARGET) if DEFAULT_TARGET.is_dir() else "synthetic"
    return weights if weights == "synthetic" else str(Path(weights).absolute())


def command_line() -> str:
    """The command as it was typed."""
    return " ".join(["rec-rl", *map(shlex.quote, sys.argv[1:])])


def one_thread_per_process() -> None:
    """Networks this small lose time to threads; must run before numpy and torch are imported."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")


def print_json(record: dict[str, Any]) -> None:
    """Exactly one object on stdout."""
    print(json.dumps(record, indent=1))


def print_facts(facts: dict[str, Any], as_json: bool) -> None:
    """Facts by name, as one JSON object or a line each."""
    if as_json:
        print_json(facts)
    else:
        print("\n".join(f"{name.replace('_', ' ')}: {value}" for name, value in facts.items()))


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table on stdout."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for i, column in enumerate(columns):
        table.add_column(column, justify="left" if i == 0 else "right", no_wrap=i == 0)
    for row in rows:
        table.add_row(*row)
    width = None if sys.stdout.isatty() else 120
    Console(file=sys.stdout, width=width).print(table)


def estimate_text(metric: dict[str, Any] | None, digits: int = 3) -> str:
    """A record's estimate as value and interval."""
    if metric is None or metric.get("value") is None:
        return "-"
    text = f"{metric['value']:,.{digits}f}"
    if metric.get("low") is None or metric.get("high") is None:
        return text
    return f"{text} [{metric['low']:,.{digits}f}, {metric['high']:,.{digits}f}]"


def print_record(record: dict[str, Any], as_json: bool) -> None:
    """A record on stdout: as one JSON object, or as a table of its arms with what was missed and noted."""
    if as_json:
        print_json(record)
        return
    arms = record["arms"] | {f"{name} (control)": arm for name, arm in record["controls"].items()}
    metrics = list(dict.fromkeys(metric for arm in arms.values() for metric in arm["metrics"]))
    rows = [(name, *(estimate_text(arm["metrics"].get(m)) for m in metrics)) for name, arm in arms.items()]
    print_table(record["command"], ("arm", *metrics), rows)
    for name, metric in record["metrics"].items():
        print(f"{name}: {estimate_text(metric)}")
    for miss in record["missed"]:
        print(f"missed: {miss['bar']}: {miss['value']}")
    for note in record["notes"]:
        print(note)
