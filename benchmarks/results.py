"""Finished rows on disk, and the table and record made of them."""

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.growth import FIGURE
from benchmarks.rows import Row, number, seconds
from rec_rl.evaluation.intervals import Estimate
from rec_rl.experiments.records import RunRecord, commit, to_plain, write_text

HEADER = ("work", "against", "ours", "theirs", "ratio: median (least, most)", "by the clock", "bar")


class Store:
    """One file per finished benchmark; it counts as finished for the same code and number of pairs.

    Args:
        folder: Of the files.
        pairs: Rounds of every contest.
    """

    def __init__(self, folder: Path, pairs: int) -> None:
        self._folder = folder
        self._key = {"commit": commit(), "pairs": pairs}

    def find(self, name: str) -> list[Row] | None:
        """The rows of a finished benchmark."""
        path = self._folder / f"{name}.json"
        if not path.is_file():
            return None
        stored = json.loads(path.read_text())
        if stored["key"] != self._key:
            return None
        tuples = ("values", "wall_values")
        return [Row(**row | {field: tuple(row[field]) for field in tuples}) for row in stored["rows"]]

    def keep(self, name: str, rows: Sequence[Row]) -> None:
        """Writes the rows of a benchmark."""
        stored = {"key": self._key, "rows": [asdict(row) for row in rows]}
        write_text(self._folder / f"{name}.json", json.dumps(stored, indent=1))


def record_of(rows: Iterable[Row], *, command: str, pairs: int, wall_seconds: float) -> RunRecord:
    """The rows as a record: the median of a row between its smallest and largest pair."""
    measured = [row for row in rows if row.values]
    return RunRecord(
        command=command,
        seeds=[0],
        data_hash="none: costs of a machine",
        config={"pairs": pairs, "cores": len(os.sched_getaffinity(0)), "load": os.getloadavg()[0]},
        metrics={
            row.name: Estimate(
                value=row.value,
                low=min(row.values),
                high=max(row.values),
                n=len(row.values),
                per_seed=row.values,
            )
            for row in measured
        },
        arms={
            row.name: {
                side: Estimate(value=cost, low=cost, high=cost, n=len(row.values))
                for side, cost in (("ours_cpu_seconds", row.ours), ("theirs_cpu_seconds", row.theirs))
                if cost is not None
            }
            for row in measured
            if row.ours is not None
        },
        missed=[
            {"bar": f"{row.name} {row.verdict}", "value": row.value, "reason": row.why or "not explained"}
            for row in measured
            if row.missed
        ],
        seconds=wall_seconds,
        notes=[
            "A ratio is their CPU time per unit of work over ours; low and high are the least and most.",
            "Every side has one thread and a process of its own.",
            *(f"{row.name}: {row.verdict}" for row in rows if row.skipped),
        ],
    )


def cells(row: Row) -> tuple[str, ...]:
    """A row of the table."""
    spread = ""
    if row.values:
        low, high = number(min(row.values)), number(max(row.values))
        spread = number(row.value) + (f" ({low}, {high})" if len(row.values) > 1 else "")
    wall = number(sorted(row.wall_values)[len(row.wall_values) // 2]) if row.wall_values else ""
    per = f" per {row.unit}" if row.ours is not None else ""
    return (row.work, row.against, seconds(row.ours) + per, seconds(row.theirs), spread, wall, row.verdict)


def page(rows: Sequence[Row], record: dict[str, Any]) -> str:
    """The Markdown page."""
    lines = [HEADER, ("---",) * len(HEADER), *(cells(row) for row in rows)]
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    config, versions = record["config"], record["versions"]
    parts = [
        "# Performance, measured",
        f"Written by `{record['command']}` on {config['cores']} cores at a load of {config['load']:.1f}, "
        f"torch {versions['torch']}, commit {record['commit']}. {config['pairs']} pairs of windows of a "
        "second of CPU time, one thread a side. A ratio is their cost over ours; "
        "[performance.json](performance.json) has every pair. What a step costs and where the rest goes is "
        "in [performance](../performance.md).",
        table,
    ]
    missed = [row for row in rows if row.missed and row.why]
    if missed:
        parts += [
            "## What misses its bar, and why",
            *(f"**{row.work}**, {row.against}: {row.why}" for row in missed),
        ]
    if any(row.name.startswith("growth") for row in rows):
        parts += ["## Growth", f"![Cost of a step by size]({FIGURE})"]
    return "\n\n".join(parts) + "\n"


def write_docs(rows: Sequence[Row], record: RunRecord, folder: Path) -> None:
    """The record and the page."""
    plain = to_plain(record.to_dict())
    write_text(folder / "performance.json", json.dumps(plain, indent=1) + "\n")
    write_text(folder / "performance.md", page(rows, plain))
