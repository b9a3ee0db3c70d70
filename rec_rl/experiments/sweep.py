"""Tunes a target, judges the best settings on fresh seeds, and leaves them as a file that runs take."""

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd

from rec_rl.errors import ConfigError
from rec_rl.evaluation.intervals import Estimate, mean_interval
from rec_rl.experiments.records import RunRecord, to_plain, write_text
from rec_rl.experiments.runner import Event, run_trials, start_ray
from rec_rl.experiments.sweep_targets import SweepTarget, run_trial
from rec_rl.progress import Progress, progress
from rec_rl.report.figures import save
from rec_rl.report.parallel_coordinates import parallel_coordinates
from tuning.best import BEST, write_best
from tuning.journal import FINISHED, Journal, TrialEntry
from tuning.live import live_table
from tuning.tuner import SweepConfig, run_sweep

FIRST_FRESH_SEED = 1_000
"""Seeds of the re-evaluation; a sweep's own are small numbers."""
NUM_JUDGED = 3
PRESET = "preset"
"""The target with its settings as they are."""
MAY_CHANGE = {"samples", "max_concurrent"}
"""What a sweep that is resumed may be asked for anew."""


@dataclass(frozen=True, kw_only=True)
class Judged:
    """Settings that were among the best of a sweep, and what they reach."""

    name: str
    settings: dict[str, Any]
    estimate: Estimate


def tune(
    target: SweepTarget,
    config: SweepConfig,
    storage: Path,
    *,
    resume: bool,
    num_seeds: int,
    command: str,
) -> RunRecord:
    """Searches, then trains the NUM_JUDGED best settings anew on ``num_seeds`` fresh seeds.

    The best is the one with the best mean over those seeds, so that it is not the luckiest draw. Leaves
    best.json, record.json, trials.csv and a figure in ``storage``.

    Args:
        target: What is tuned.
        config: How.
        storage: Folder of the sweep, on a file system that every node shares.
        resume: Go on with the sweep that lies there.
        num_seeds: Fresh seeds; 0 takes the sweep's own word.
        command: For the record.

    Raises:
        ConfigError: If the sweep cannot run, or ``storage`` holds another one.
        RecRLError: If every trial failed.
    """
    started = time.monotonic()
    if config.scheduler != "none" and not target.kind.reports_on_the_way:
        raise ConfigError(f"{target.name} reports once, at its end: scheduler must be none")
    data_hash = target.data_hash
    asked = to_plain({**asdict(config), **asdict(target), "data_hash": data_hash})
    identity = {name: value for name, value in asked.items() if name not in MAY_CHANGE}
    journal = Journal(storage, identity, resume=resume)
    start_ray()
    with live_table(config) as show:
        entries = run_sweep(partial(run_trial, target), target.space, config, journal, show)
    with progress() as shown:
        judged = _judge(target, config, entries, num_seeds, storage / "judged", shown)
    best = judged[0]
    shown_data = {"data": Path(target.data).name} if target.data else {}
    record = RunRecord(
        command=command,
        seeds=[FIRST_FRESH_SEED + i for i in range(num_seeds)] or [target.seed],
        data_hash=data_hash,
        config={**asked, **shown_data, "space": {k: asdict(v) for k, v in target.space.domains().items()}},
        metrics={config.metric: best.estimate},
        arms={one.name: {config.metric: one.estimate} for one in judged},
        seconds=time.monotonic() - started,
        notes=_notes(entries, best, num_seeds),
    )
    record.save(storage / "record.json")
    _write_trials(entries, config.metric, storage)
    write_best(storage / BEST, target.name, to_plain(best.settings), "record.json")
    return record


def _judge(
    target: SweepTarget,
    config: SweepConfig,
    entries: list[TrialEntry],
    num_seeds: int,
    store: Path,
    shown: Progress,
) -> list[Judged]:
    """The leading settings, best first, by their mean over fresh seeds or by the sweep's own word.

    On fresh seeds the preset stands beside them.
    """
    leading = [e for e in entries if e.state == FINISHED] or [e for e in entries if e.reports]
    chosen = {f"trial {e.number}": target.space.decode(e.drawn) for e in leading[:NUM_JUDGED]}
    own = {f"trial {e.number}": _point(e.reports[-1][config.metric]) for e in leading[:NUM_JUDGED]}
    if num_seeds:
        chosen[PRESET] = {}
    specs = {
        f"{name}#{seed}": {
            "target": asdict(replace(target, seed=FIRST_FRESH_SEED + seed)),
            "settings": settings,
            "metric": config.metric,
        }
        for name, settings in chosen.items()
        for seed in range(num_seeds)
    }
    found = run_trials(
        judge_trial,
        specs,
        store=store,
        progress=shown,
        together="fresh seeds",
        max_concurrent=config.max_concurrent or None,
    )

    def estimate(name: str) -> Estimate:
        values = [found[f"{name}#{seed}"]["value"] for seed in range(num_seeds)]
        return mean_interval(values, seeds=True) if values else own[name]

    judged = [Judged(name=name, settings=chosen[name], estimate=estimate(name)) for name in chosen]
    return sorted(judged, key=lambda one: one.estimate.value, reverse=config.mode == "max")


def _point(value: float) -> Estimate:
    return Estimate(value=value, low=float("nan"), high=float("nan"), n=1)


def judge_trial(spec: Mapping[str, Any]) -> Iterator[Event]:
    """`run_trial` to its end, for `rec_rl.experiments.runner.run_trials`."""
    with TemporaryDirectory() as folder:
        target = SweepTarget(**spec["target"])
        for report in run_trial(target, spec["settings"], Path(folder)):
            yield {"step": report["step"], "total": target.max_steps}
    yield {"result": {"value": report[spec["metric"]]}}


def _notes(entries: list[TrialEntry], best: Judged, num_seeds: int) -> list[str]:
    by_state = Counter(entry.state for entry in entries)
    counts = ", ".join(f"{count} {state}" for state, count in by_state.items())
    judged = (
        f"the best of {NUM_JUDGED} and the preset on {num_seeds} fresh seeds"
        if num_seeds
        else "the sweep's own best"
    )
    changed = ", ".join(f"{key} {value}" for key, value in to_plain(best.settings).items())
    settings = changed or "settings as they are"
    failures = [f"trial {entry.number} failed: {entry.error}" for entry in entries if entry.error]
    return [f"{len(entries)} trials: {counts}", f"{best.name} is {judged}: {settings}", *failures]


def _write_trials(entries: list[TrialEntry], metric: str, storage: Path) -> None:
    """Every trial as a table, and those that reported as a figure."""
    rows = [{"trial": entry.number, "state": entry.state, **entry.drawn, **entry.newest} for entry in entries]
    write_text(storage / "trials.csv", pd.DataFrame(rows).to_csv(index=False))
    shown = [{**entry.drawn, metric: entry.last(metric)} for entry in entries if entry.reports]
    save(parallel_coordinates(shown, metric), storage / "figures" / "trials.png")
