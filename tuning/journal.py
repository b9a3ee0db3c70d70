"""What a sweep has done so far, on disk: one JSON file per trial, each written whole or not at all.

A sweep that was killed goes on from its journal: finished trials are told from it instead of being run, and
unfinished ones go on from the last checkpoint that it names.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rec_rl.errors import ConfigError

RUNNING, FINISHED, STOPPED, FAILED = "running", "finished", "stopped", "failed"


@dataclass(kw_only=True)
class TrialEntry:
    """One trial.

    Attributes:
        number: Place in the order of starting, from 0.
        drawn: What the tuner drew, as numbers and text.
        state: "running", "finished", "stopped" (by the scheduler) or "failed".
        reports: Metrics in order; each has a "step".
        checkpoint: Folder that the trial can go on from.
        error: Why it failed, in one line.
    """

    number: int
    drawn: dict[str, Any]
    state: str = RUNNING
    reports: list[dict[str, float]] = field(default_factory=list)
    checkpoint: str | None = None
    error: str | None = None

    def tell(self, report: Mapping[str, float]) -> None:
        """Adds a report; one of a step that was reported before takes its place."""
        self.reports = [old for old in self.reports if old["step"] < report["step"]] + [dict(report)]

    @property
    def newest(self) -> dict[str, float]:
        """The last report; empty before the first."""
        return self.reports[-1] if self.reports else {}

    def last(self, metric: str) -> float | None:
        """The newest value of ``metric``."""
        return self.newest.get(metric)


class Journal:
    """The trials of one sweep, by number.

    Args:
        folder: Where the sweep lives.
        settings: What was asked for; a journal of another sweep is refused.
        resume: Whether to go on with what is there.

    Raises:
        ConfigError: If the folder holds a sweep and ``resume`` was not asked for, or holds none or another.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any], *, resume: bool) -> None:
        self.folder = folder
        self.entries: dict[int, TrialEntry] = {}
        about = folder / "sweep.json"
        text = json.dumps(settings, indent=1, sort_keys=True)
        if not resume:
            if about.exists():
                raise ConfigError(f"{folder} holds a sweep: give another --storage, or --resume to go on")
            write_whole(about, text)
            return
        if not about.exists():
            raise ConfigError(f"there is no sweep at {folder} to resume")
        there = json.loads(about.read_text())
        changed = [name for name, value in json.loads(text).items() if there.get(name) != value]
        if changed:
            name = changed[0]
            raise ConfigError(
                f"{folder} holds a sweep with {name} {there.get(name)}, not {settings[name]}: it cannot go on"
            )
        for path in sorted((folder / "trials").glob("*.json")):
            entry = TrialEntry(**json.loads(path.read_text()))
            self.entries[entry.number] = entry

    def write(self, entry: TrialEntry) -> None:
        """Keeps ``entry`` as it stands."""
        self.entries[entry.number] = entry
        write_whole(self.folder / "trials" / f"{entry.number:04d}.json", json.dumps(asdict(entry)))


def write_whole(path: Path, text: str) -> None:
    """Writes a file that appears whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(text)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
