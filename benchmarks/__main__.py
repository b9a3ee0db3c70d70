"""``python -m benchmarks [NAME ...]``: every benchmark, or those named.

Without names finished benchmarks are not run again, and docs/results/performance.{json,md} are written;
with names they are run anew and their rows printed.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"  # before numpy and torch

import typer  # noqa: E402

from benchmarks import (  # noqa: E402
    ctr,
    finetuning,
    footprint,
    growth,
    inverse,
    labelling,
    offline,
    ppo,
    prefrec,
    sac,
    session_world,
    virtual_taobao,
)
from benchmarks.contest import Contest, Unavailable  # noqa: E402
from benchmarks.matches import hold  # noqa: E402
from benchmarks.results import Store, cells, record_of, write_docs  # noqa: E402
from benchmarks.rows import Row  # noqa: E402
from rec_rl.errors import RecRLError, check_name  # noqa: E402

CONTESTS: tuple[Contest, ...] = (
    *virtual_taobao.contests(),
    ppo.CONTEST,
    sac.CONTEST,
    *prefrec.CONTESTS,
    finetuning.CONTEST,
    *offline.CONTESTS,
    labelling.CONTEST,
    inverse.CONTEST,
    *ctr.CONTESTS,
    session_world.CONTEST,
)


def tell(line: str) -> None:
    """Progress."""
    print(line, file=sys.stderr, flush=True)


def benchmarks(peers: Path | None, pairs: int, runs: Path, docs: Path) -> dict[str, Callable[[], list[Row]]]:
    """How to run each benchmark, by name."""

    def contested(contest: Contest) -> Callable[[], list[Row]]:
        return lambda: hold(contest, peers=peers, pairs=pairs, logs=runs / "logs", progress=tell)

    return {contest.name: contested(contest) for contest in CONTESTS} | {
        "memory": footprint.replay_memory,
        "start": footprint.command_start,
        "growth": lambda: growth.growth(tell, docs),
    }


def main(
    names: Annotated[list[str] | None, typer.Argument(help="Benchmarks to run anew; all if none.")] = None,
    peers: Annotated[Path | None, typer.Option(help="Python of the peers' environment.")] = None,
    pairs: Annotated[int, typer.Option(help="Pairs of windows of every contest.", min=1)] = 5,
    runs: Annotated[Path, typer.Option(help="Keeps finished benchmarks.")] = Path("runs/benchmarks"),
    docs: Annotated[Path, typer.Option(help="Folder of the table, the record and the figure.")] = Path(
        "docs/results"
    ),
    as_json: Annotated[bool, typer.Option("--json", help="Print the record as one JSON object.")] = False,
) -> None:
    """Costs side by side with what a user would pick instead, and with the hardware's bound."""
    started = time.monotonic()
    known, store, rows = benchmarks(peers, pairs, runs, docs), Store(runs, pairs), []
    try:
        for name in [check_name("benchmark", name, known) for name in names or known]:
            found = None if names else store.find(name)
            if found is None:
                tell(f"{name}: begins")
                try:
                    found = known[name]()
                except Unavailable as error:
                    tell(f"{name}: not measured: {error}")
                    continue
                store.keep(name, found)
            for row in found:
                tell(" | ".join(cells(row)))
            rows += found
    except RecRLError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        sys.exit(1)
    command = " ".join(["python -m benchmarks", *(names or []), f"--pairs {pairs}"])
    record = record_of(rows, command=command, pairs=pairs, wall_seconds=time.monotonic() - started)
    if not names:
        write_docs(rows, record, docs)
    if as_json:
        print(json.dumps(record.to_dict(), indent=1))
        return
    for row in rows:
        print(" | ".join(cells(row)))


if __name__ == "__main__":
    typer.run(main)
