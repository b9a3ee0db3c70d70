"""The off-policy table: every estimator against the truth of the session world, and what intervals hold."""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from rec_rl.data.hashing import content_hash
from rec_rl.data.levels import TASKS
from rec_rl.evaluation.intervals import CONFIDENCE, Estimate, mean_interval
from rec_rl.evaluation.off_policy import SUPPORTED
from rec_rl.experiments.off_policy_coverage import coverage_study
from rec_rl.experiments.off_policy_truth import COLLAPSED_D2, FAST_ESTIMATORS, POLICIES, truth_study
from rec_rl.experiments.records import RunRecord, to_plain
from rec_rl.experiments.runner import Event, run_trials
from rec_rl.experiments.telling import telling
from rec_rl.progress import Progress

FIRST_WORLD = 100
"""Worlds below belong to the tests and to whoever tried something out."""
COVERAGE_SEED = 50

SPEARMAN_BARS = {"depth": 0.85, "frequency": 0.95, "mixture": 0.75}
COVERAGE_BAND = (0.90, 0.98)
COVERED = ("taste 0.5", "profile 0.5", "diverse+calm 0.25", "click 1", "anti 0.5")
COVERAGE_USERS = 100  # of each small log
INTERVALS = ("ncis", "snips")


@dataclass(frozen=True, kw_only=True)
class TableSize:
    """Size of the table.

    Attributes:
        num_users, num_requests: Of each world's log.
        num_draws: Small logs over which coverage is counted.
        policies: Names in POLICIES that are ranked.
    """

    num_users: int = 8_000
    num_requests: int = 240
    num_draws: int = 200
    policies: tuple[str, ...] = tuple(POLICIES)


QUICK = TableSize(
    num_users=100,
    num_requests=80,
    num_draws=4,
    policies=("logging", "taste 0.5", "diverse+calm 0.5", "click 0.5", "anti 0.5", "diverse+calm 2"),
)


def run_table(
    *, num_worlds: int, quick: bool, folder: Path, progress: Progress, command: str
) -> tuple[RunRecord, list[dict[str, Any]]]:
    """Runs what is not in ``folder`` yet, world by world and policy by policy.

    Args:
        num_worlds: Fresh worlds with a log and a life each; Spearman intervals are over them.
        quick: The form of the table from small logs; its numbers miss the bars.
        folder: Keeps finished trials.
        progress: Where progress is shown.
        command: For the record.

    Returns:
        The record, and the `TruthStudy` of every world as plain values, for the figure.
    """
    started = time.monotonic()
    size = QUICK if quick else TableSize()
    seeds = [FIRST_WORLD + i for i in range(num_worlds)]

    store = folder / "trials"
    truths = {f"world {seed}": {"size": asdict(size), "seed": seed} for seed in seeds}
    worlds = run_trials(truth_trial, truths, store=store, progress=progress)
    draws = {"num_draws": size.num_draws, "num_requests": size.num_requests, "seed": COVERAGE_SEED}
    coverages = {f"coverage of {policy}": draws | {"policy": policy} for policy in COVERED}
    covered = run_trials(coverage_trial, coverages, store=store, progress=progress)
    studies = list(worlds.values())
    arms = _spearman_arms(studies)
    coverage = [row for result in covered.values() for row in result["rows"]]
    collapsed = _collapsed_and_supported(studies)
    record = RunRecord(
        command=command,
        seeds=seeds,
        data_hash=content_hash(np.array([study["data_hash"] for study in studies])),
        config={"quick": quick, **asdict(size), "coverage": coverage},
        metrics={"collapsed_and_supported": collapsed} | _coverage_metrics(coverage),
        arms=arms,
        missed=_missed(arms, collapsed, coverage, quick),
        seconds=time.monotonic() - started,
        notes=[
            "Rank correlations with the true online level, over the policies whose D2 is at most "
            f"{COLLAPSED_D2:g}; intervals are over worlds. 'believed' leaves out what NCIS refuses.",
            "Coverage: NCIS's interval of its own expectation over users, SNIPS's of the one-request value, "
            f"over small logs of {COVERAGE_USERS} users whose verdict is {SUPPORTED}. No interval here is of "
            "the online level.",
        ],
    )
    return record, studies


def truth_trial(spec: Mapping[str, Any]) -> Iterator[Event]:
    """`truth_study` of one world; ``spec`` is {"seed", "size": values of a TableSize}."""
    size = TableSize(**spec["size"])

    def work(tell: Callable[[Event], None]) -> dict[str, Any]:
        study = truth_study(
            num_users=size.num_users,
            num_requests=size.num_requests,
            seed=spec["seed"],
            policies={name: POLICIES[name] for name in size.policies},
            estimators=FAST_ESTIMATORS,
            on_progress=lambda done, total: tell({"step": done, "total": total}),
        )
        plain: dict[str, Any] = to_plain(study)
        return plain

    yield from telling(work)


def coverage_trial(spec: Mapping[str, Any]) -> Iterator[Event]:
    """`coverage_study` of one policy; ``spec`` holds its policy, num_draws, num_requests and seed."""
    rows = coverage_study(
        (spec["policy"],),
        num_draws=spec["num_draws"],
        users_per_draw=COVERAGE_USERS,
        num_requests=spec["num_requests"],
        seed=spec["seed"],
    )
    yield {"result": {"rows": to_plain(rows)}}


def _spearman_arms(studies: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Estimate]]:
    arms: dict[str, dict[str, Estimate]] = {}
    for kind in studies[0]["spearman"]:
        arms[kind] = {}
        for prefix, which in (("", "spearman"), ("believed_", "believed_spearman")):
            for task in TASKS:
                values = [study[which][kind][task] for study in studies]
                finite = [value for value in values if value is not None]
                if finite:
                    arms[kind][prefix + task] = mean_interval(finite, seeds=True)
    return arms


def _collapsed_and_supported(studies: Sequence[Mapping[str, Any]]) -> Estimate:
    """How many estimates of collapsed policies carry the verdict SUPPORTED, of how many."""
    verdicts = [
        estimate.get("verdict")
        for study in studies
        for policy in study["policies"]
        if policy["support"]["d2"] > COLLAPSED_D2
        for by_task in policy["estimates"].values()
        for estimate in by_task.values()
    ]
    return Estimate(value=verdicts.count(SUPPORTED), low=math.nan, high=math.nan, n=len(verdicts))


def _coverage_metrics(rows: Sequence[Mapping[str, Any]]) -> dict[str, Estimate]:
    """Share of intervals that hold, over all policies, and its own interval (Clopper and Pearson 1934)."""
    metrics = {}
    for kind in INTERVALS:
        for task in TASKS:
            cells = [row for row in rows if row["task"] == task and row["num_supported"]]
            held = sum(round(row[kind] * row["num_supported"]) for row in cells)
            n = sum(row["num_supported"] for row in cells)
            if n:
                exact = stats.binomtest(held, n).proportion_ci(CONFIDENCE)
                metrics[f"coverage/{kind}/{task}"] = Estimate(
                    value=held / n, low=float(exact.low), high=float(exact.high), n=n
                )
    return metrics


def _missed(
    arms: Mapping[str, Mapping[str, Estimate]],
    collapsed: Estimate,
    coverage: Sequence[Mapping[str, Any]],
    quick: bool,
) -> list[dict[str, Any]]:
    """Bars that were not reached; the coverage of a quick run's few draws is not judged."""
    low, high = COVERAGE_BAND
    ranked = [
        (f"ncis: Spearman of {task} >= {bar}", arms["ncis"][task].value, f"over worlds {arms['ncis'][task]}")
        for task, bar in SPEARMAN_BARS.items()
        if not arms["ncis"][task].value >= bar
    ]
    covered = [
        (
            f"{kind} on {row['policy']}, {row['task']}: coverage in [{low}, {high}]",
            row[kind],
            _of_draws(row[kind], row["num_supported"]),
        )
        for row in coverage
        for kind in INTERVALS
        if not quick and row["num_supported"] and not low <= row[kind] <= high
    ]
    missed = ranked + covered
    if collapsed.value > 0:
        bar = f"no policy of D2 > {COLLAPSED_D2:g} is {SUPPORTED}"
        missed.append((bar, collapsed.value, "the verdict's limits let it pass"))
    return [
        {"bar": bar, "value": value, "reason": "a quick run" if quick else reason}
        for bar, value, reason in missed
    ]


def _of_draws(share: float, num_draws: int) -> str:
    """How far the draws alone can have moved a coverage."""
    exact = stats.binomtest(round(share * num_draws), num_draws).proportion_ci(CONFIDENCE)
    return f"of {num_draws} draws, whose chance alone spans [{exact.low:.3f}, {exact.high:.3f}]"
