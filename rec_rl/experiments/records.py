"""The record of a run: what was run, on what, and every metric with its interval."""

import dataclasses
import json
import os
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from rec_rl.errors import DatasetError
from rec_rl.evaluation.intervals import Estimate

PACKAGES = ("ray", "torch", "numpy", "gymnasium")


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """One result; ``--json`` prints it and ``record.json`` holds it.

    Attributes:
        command: The command line that makes it.
        seeds: Every seed it rests on.
        data_hash: Content hash of the data, split and preprocessing; results compare only where it is equal.
        config: Settings, plain values.
        metrics: Estimates by metric name.
        arms: Estimates by arm and metric name.
        controls: The same of arms that must not help.
        missed: Bars that were not reached: {"bar", "value", "reason"}.
        seconds: Wall time.
        steps_per_second: Environment or gradient steps per second of wall time.
        notes: What a reader must know, in sentences.
    """

    command: str
    seeds: list[int]
    data_hash: str
    config: dict[str, Any]
    metrics: dict[str, Estimate] = field(default_factory=dict)
    arms: dict[str, dict[str, Estimate]] = field(default_factory=dict)
    controls: dict[str, dict[str, Estimate]] = field(default_factory=dict)
    missed: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0
    steps_per_second: float | None = None
    notes: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """The record as plain values, with the versions and the commit it was made on."""
        return {
            "command": self.command,
            "seeds": self.seeds,
            "versions": versions(),
            "commit": commit(),
            "data_hash": self.data_hash,
            "config": to_plain(self.config),
            "metrics": to_plain(self.metrics),
            "arms": {name: {"metrics": to_plain(metrics)} for name, metrics in self.arms.items()},
            "controls": {name: {"metrics": to_plain(metrics)} for name, metrics in self.controls.items()},
            "missed": to_plain(self.missed),
            "seconds": round(self.seconds, 2),
            "steps_per_second": self.steps_per_second,
            "notes": self.notes,
        }

    def save(self, path: Path) -> None:
        """Writes the record as JSON; the file appears whole or not at all."""
        write_text(path, json.dumps(self.to_dict(), indent=1) + "\n")


def read_record(path: Path) -> dict[str, Any]:
    """A saved record as plain values.

    Raises:
        DatasetError: If the file is missing or is not a record.
    """
    try:
        record = json.loads(path.read_text())
        if not isinstance(record, dict) or "metrics" not in record or "command" not in record:
            raise ValueError("no metrics")
    except FileNotFoundError as error:
        raise DatasetError(f"there is no record at {path}") from error
    except ValueError as error:
        raise DatasetError(f"{path} is not the record of a run: {error}") from error
    return record


def to_plain(value: Any) -> Any:
    """Dataclasses, arrays and paths as JSON values; NaN and what was not set are left out or null."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        pairs = ((f.name, getattr(value, f.name)) for f in dataclasses.fields(value))
        return {name: to_plain(item) for name, item in pairs if item is not None}
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [to_plain(item) for item in value]
    if isinstance(value, float | np.floating):
        return float(f"{value:.6g}") if np.isfinite(value) else None
    if isinstance(value, np.integer):
        return int(value)
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def versions() -> dict[str, str]:
    """Of Python and the packages that numbers depend on."""
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in PACKAGES}}


def commit() -> str | None:
    """The git commit of the code, with a mark where files were changed since; None outside a checkout."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return None
    describe = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"]
    result = subprocess.run(describe, capture_output=True, text=True, check=False)
    return result.stdout.strip() or None


def write_text(path: Path, text: str) -> None:
    """Writes a file that appears whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(text)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
