"""Runs side by side: those that differ in nothing but their seed are one arm, with means over seeds."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, takewhile
from pathlib import Path
from typing import Any

import numpy as np

from rec_rl.data.hashing import content_hash
from rec_rl.errors import ConfigError
from rec_rl.evaluation.intervals import Estimate, mean_interval
from rec_rl.experiments.compare_records import Record, difference, estimates_of, require_same_data
from rec_rl.experiments.records import RunRecord, read_record
from rec_rl.experiments.single_run import read_config

OF_THE_SEED = "seed"
"""Settings of this name are what runs of one arm differ in."""


@dataclass(frozen=True, kw_only=True)
class Arm:
    """Runs that differ in nothing but their seed.

    Attributes:
        name: What the names of their folders begin with.
        folders: In the order of their seeds.
        settings: By dotted name, without the seed.
        record: Of the one run, or of all of them with means over seeds.
        commits, versions: What the runs were made with.
    """

    name: str
    folders: tuple[Path, ...]
    settings: Mapping[str, Any]
    record: Record
    commits: tuple[str, ...]
    versions: tuple[Mapping[str, str], ...]

    @property
    def title(self) -> str:
        """The name with the seeds."""
        seeds = self.record["seeds"]
        return f"{self.name} (seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))})"


def arms_of(folders: Sequence[Path]) -> list[Arm]:
    """The arms that the runs in ``folders`` make up, in the order in which they are first named.

    Raises:
        DatasetError: If a folder holds no record.
        ConfigError: If a run is given twice.
    """
    groups: dict[str, list[tuple[Record, Path]]] = {}
    settings: dict[str, dict[str, Any]] = {}
    for folder in folders:
        record = read_record(folder / "record.json")
        found = _settings(folder, record)
        of_one_seed = len(record["seeds"]) == 1
        key = json.dumps(found, sort_keys=True) if of_one_seed else str(folder.resolve())
        settings[key] = found
        groups.setdefault(key, []).append((record, folder))
    members = {key: sorted(runs, key=lambda run: run[0]["seeds"]) for key, runs in groups.items()}
    for runs in members.values():
        for (one, folder), (other, other_folder) in pairwise(runs):
            if one["seeds"] == other["seeds"]:
                raise ConfigError(
                    f"{folder} and {other_folder} are the same run: settings and seed are equal"
                )
    names = _names([[folder for _, folder in runs] for runs in members.values()])
    return [
        Arm(
            name=name,
            folders=tuple(folder for _, folder in runs),
            settings=settings[key],
            record=_pooled([record for record, _ in runs]),
            commits=tuple(sorted({record.get("commit") or "not a checkout" for record, _ in runs})),
            versions=tuple(record["versions"] for record, _ in runs),
        )
        for name, (key, runs) in zip(names, members.items(), strict=True)
    ]


def compare_runs(arms: Sequence[Arm], *, command: str) -> RunRecord:
    """A record whose arms are the metrics, each with every arm's value and its difference from the first's.

    Args:
        arms: One or more; the first is what the others are compared with.
        command: For the record.

    Raises:
        DatasetError: If two arms rest on different data.
    """
    first = arms[0]
    rows = {metric: {first.name: estimate} for metric, estimate in estimates_of(first.record).items()}
    notes = []
    for other in arms[1:]:
        require_same_data(first.record, other.record, (first.title, other.title))
        paired = first.record["seeds"] == other.record["seeds"]
        for metric, estimate in estimates_of(other.record).items():
            row = rows.setdefault(metric, {})
            if first.name in row:
                row[difference_of(first, other)] = difference(row[first.name], estimate, paired=paired)
            row[other.name] = estimate
        if not paired:
            notes.append(f"{first.name} and {other.name} have other seeds: no interval of their difference.")
    return RunRecord(
        command=command,
        seeds=sorted({seed for arm in arms for seed in arm.record["seeds"]}),
        data_hash=first.record["data_hash"],
        config={"runs": {arm.name: [str(folder) for folder in arm.folders] for arm in arms}}
        | {"differing": differing_settings(arms)},
        arms=rows,
        notes=notes,
    )


def difference_of(first: Arm, other: Arm) -> str:
    """What the difference of two arms is called in the record of a comparison."""
    return f"{other.name} - {first.name}"


def differing_settings(arms: Sequence[Arm]) -> dict[str, dict[str, str]]:
    """Settings, commits and versions in which arms differ: each one's value, "-" where it has none."""
    described = {arm.name: _described(arm) for arm in arms}
    names = list(dict.fromkeys(name for found in described.values() for name in found))
    rows = {name: {arm: found.get(name, "-") for arm, found in described.items()} for name in names}
    return {name: row for name, row in rows.items() if len(set(row.values())) > 1}


def _described(arm: Arm) -> dict[str, str]:
    packages = {name: sorted({made.get(name, "-") for made in arm.versions}) for name in arm.versions[0]}
    return (
        {name: value if isinstance(value, str) else json.dumps(value) for name, value in arm.settings.items()}
        | {"commit": ", ".join(arm.commits)}
        | {f"version of {name}": ", ".join(found) for name, found in packages.items()}
    )


def _settings(folder: Path, record: Record) -> dict[str, Any]:
    config = read_config(folder) if (folder / "config.json").is_file() else record["config"]
    return {name: v for name, v in _flat(config).items() if name.split(".")[-1] != OF_THE_SEED}


def _flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted name."""
    flat: dict[str, Any] = {}
    for name, value in config.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return flat


def _names(groups: Sequence[Sequence[Path]]) -> list[str]:
    """What the names of a group's folders begin with; their paths where that names two groups alike."""
    names = [_beginning([folder.resolve().name for folder in folders]) for folders in groups]
    return names if len(set(names)) == len(names) else [str(folders[0]) for folders in groups]


def _beginning(names: Sequence[str]) -> str:
    if len(names) == 1:
        return names[0]
    same = takewhile(lambda letters: len(set(letters)) == 1, zip(*names, strict=False))
    return "".join(letters[0] for letters in same).rstrip("-_. ") or names[0]


def _pooled(records: Sequence[Record]) -> Record:
    """One record of several that differ in their seed, with means of the metrics that all have."""
    if len(records) == 1:
        return records[0]
    found = [estimates_of(record) for record in records]
    hashes = [str(record.get("data_hash") or "") for record in records]
    metrics = {
        name: _mean_over_seeds([estimates[name] for estimates in found])
        for name in found[0]
        if all(name in estimates for estimates in found)
    }
    return RunRecord(
        command=records[0]["command"],
        seeds=[seed for record in records for seed in record["seeds"]],
        data_hash=hashes[0] if len(set(hashes)) == 1 else content_hash(np.array(hashes)),
        config=records[0]["config"],
        metrics=metrics,
        notes=[f"seed {record['seeds'][0]}: {note}" for record in records for note in record["notes"]],
    ).to_dict()


def _mean_over_seeds(estimates: Sequence[Estimate]) -> Estimate:
    """The mean, which is NaN where a seed's estimate was refused, and how often each verdict was given."""
    values = [estimate.value for estimate in estimates]
    nan = float("nan")
    mean = Estimate(value=nan, low=nan, high=nan, n=len(values))
    if np.isfinite(values).all():
        mean = mean_interval(values, seeds=True)
    words = Counter(estimate.verdict.split(":")[0] for estimate in estimates if estimate.verdict)
    verdict = ", ".join(f"{word} in {count} of {len(estimates)}" for word, count in words.items())
    return replace(mean, verdict=verdict or None)
