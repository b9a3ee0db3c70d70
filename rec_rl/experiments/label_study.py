"""How many labels a reward needs when pairs are chosen actively, at random, or by a rule that never learns.

The session world with the scripted teacher as annotator: it says which of two sessions of a user has the
higher level. After every block of labels a linear Bradley-Terry reward is fitted to all of them, and judged
by its correlation with the levels of other users' own sessions.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envs.session_rollouts import record_log
from envs.session_world import SessionWorld
from rec_rl.data.behaviour import column_moments
from rec_rl.data.hashing import content_hash
from rec_rl.data.levels import session_levels
from rec_rl.data.sessions import SessionLog
from rec_rl.evaluation.intervals import Estimate, mean_interval, paired_difference
from rec_rl.experiments.records import RunRecord
from rec_rl.experiments.runner import Event, run_trials
from rec_rl.labelling.desk import BLOCK
from rec_rl.labelling.pairs import (
    CANDIDATES_PER_PAIR,
    RIDGE,
    active_choice,
    new_pairs,
    random_choice,
    session_pairs,
)
from rec_rl.progress import Progress
from rec_rl.rewards.linear_reward import LinearReward, logistic_newton, segment_sums
from rec_rl.rewards.preference_check import correlation_of, user_moments

FIRST_WORLD = 200
"""Worlds from 100 on were looked at while the ridge was chosen."""

RANDOM, ACTIVE, UNEQUAL = "random", "active", "longest and shortest"
ARMS = (RANDOM, ACTIVE)
CONTROLS = (UNEQUAL,)
TARGET = 0.95
"""Share of what all random labels teach that an arm has to reach; the last twentieth is flat and noisy."""

EARLY = 108
"""Labels at which the arms are compared as well."""


@dataclass(frozen=True, kw_only=True)
class LabelStudySize:
    """Size of one world's study.

    Attributes:
        num_users: Of the world; a third of them judge.
        num_requests: Of each user.
        num_labels: Given in all, a multiple of the block that the labelling page chooses at a time.
    """

    num_users: int = 600
    num_requests: int = 240
    num_labels: int = 504


QUICK = LabelStudySize(num_users=90, num_requests=120, num_labels=126)


def run_label_study(
    *, num_seeds: int, quick: bool, folder: Path, progress: Progress, command: str
) -> tuple[RunRecord, dict[str, list[list[float]]]]:
    """Runs what is not in ``folder`` yet.

    Args:
        num_seeds: Worlds, each with a log, a split of its users and first pairs of its own.
        quick: A form of the study in seconds; no result.
        folder: Keeps finished trials.
        progress: Where progress is shown.
        command: For the record.

    Returns:
        The record, and each arm's correlation by number of labels (in blocks), world by world.
    """
    started = time.monotonic()
    size = QUICK if quick else LabelStudySize()
    seeds = [FIRST_WORLD + i for i in range(num_seeds)]
    specs = {f"labels, world {seed}": {"seed": seed, "size": asdict(size)} for seed in seeds}

    results = list(run_trials(label_trial, specs, store=folder / "trials", progress=progress).values())
    curves = {arm: [run["arms"][arm]["correlation"] for run in results] for arm in (*ARMS, *CONTROLS)}
    targets = [TARGET * float(np.mean(curve[-3:])) for curve in curves[RANDOM]]
    needed = {arm: [labels_needed(c, t) for c, t in zip(curves[arm], targets, strict=True)] for arm in curves}
    arms = {arm: _metrics([run["arms"][arm] for run in results], needed[arm]) for arm in curves}
    share = np.array(needed[ACTIVE]) / np.array(needed[RANDOM])
    record = RunRecord(
        command=command,
        seeds=seeds,
        data_hash=content_hash(np.array([run["data_hash"] for run in results])),
        config={"quick": quick, **asdict(size), "block": BLOCK, "ridge": RIDGE, "targets": targets},
        metrics={
            "labels_of_active_per_random_label": mean_interval(share, seeds=True),
            f"correlation_gain_at_{EARLY}": paired_difference(
                _at(curves[ACTIVE], EARLY), _at(curves[RANDOM], EARLY)
            ),
            "correlation_gain_over_unequal_pairs": paired_difference(
                _at(curves[ACTIVE], EARLY), _at(curves[UNEQUAL], EARLY)
            ),
        },
        arms={arm: arms[arm] for arm in ARMS},
        controls={arm: arms[arm] for arm in CONTROLS},
        seconds=time.monotonic() - started,
        notes=[
            f"The target of a world is {TARGET:.0%} of the correlation that random pairs reach there with "
            f"all {size.num_labels} labels (mean of their last three blocks); where an arm does not reach "
            f"it, {size.num_labels} stands for the labels needed.",
            f"{UNEQUAL}: of the same candidates the pairs that differ most in length; it never looks at an "
            "answer. What active pairs gain over it is due to the ensemble.",
            "Requests are what a person has to read: pairs that tell more are longer ones.",
        ],
    )
    return record, curves


def label_trial(spec: Mapping[str, Any]) -> Iterator[Event]:
    """Labels one world's pairs in every arm.

    Args:
        spec: {"seed", "size": values of a LabelStudySize}.
    """
    seed, size = spec["seed"], LabelStudySize(**spec["size"])
    log = record_log(SessionWorld(size.num_users, seed), size.num_requests).log
    train, test = log.split(1 / 3, seed=seed)
    sums = segment_sums(train, train.session_starts, train.depths)
    level = session_levels(train).mixture
    judge = partial(_correlation, train, test, session_levels(test).mixture)
    arms: dict[str, dict[str, Any]] = {}
    blocks = size.num_labels // BLOCK
    for number, arm in enumerate((*ARMS, *CONTROLS)):
        pairs = random_choice(train, (), BLOCK, np.random.default_rng([seed, 0]))
        curve = []
        for block in range(1, blocks + 1):
            label = (0.5 * (1 + np.sign(level[pairs[:, 0]] - level[pairs[:, 1]]))).astype(np.float32)
            weights = logistic_newton(sums[pairs[:, 0]] - sums[pairs[:, 1]], label, ridge=RIDGE)
            curve.append(judge(weights))
            yield {"step": number * blocks + block, "total": (len(ARMS) + len(CONTROLS)) * blocks}
            if block < blocks:
                rng = np.random.default_rng([seed, block])
                pairs = np.concatenate([pairs, _next_block(arm, train, sums, pairs, label, rng)])
        arms[arm] = {
            "correlation": curve,
            "ties": float((label == 0.5).mean()),
            "read": train.depths[pairs].sum(axis=1).cumsum()[BLOCK - 1 :: BLOCK].tolist(),
        }
    yield {"result": {"data_hash": log.content_hash, "arms": arms}}


def labels_needed(curve: Sequence[float], target: float) -> int:
    """Labels after which a curve, one value a block, first reaches the target; all of them if never."""
    reached = np.flatnonzero(np.array(curve) >= target)
    return BLOCK * (int(reached[0]) + 1 if len(reached) else len(curve))


def _next_block(
    arm: str,
    log: SessionLog,
    sums: NDArray[np.float64],
    pairs: NDArray[np.int64],
    label: NDArray[np.float32],
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    known = [(a, b) for a, b in pairs.tolist()]
    if arm == RANDOM:
        return random_choice(log, known, BLOCK, rng)
    if arm == ACTIVE:
        return active_choice(log, sums, pairs, label, known, BLOCK, rng)
    candidates = session_pairs(log, CANDIDATES_PER_PAIR * BLOCK, rng)
    most_first = np.argsort(-np.abs(np.diff(log.depths[candidates], axis=1)[:, 0]), kind="stable")
    return new_pairs(candidates[most_first], known, BLOCK, one_per_user=log.session_user_index)


def _correlation(
    train: SessionLog, test: SessionLog, level: NDArray[np.float64], weights: NDArray[np.float64]
) -> float:
    """Within users of ``test``, of a reward whose features are standardised over ``train``."""
    center, spread = column_moments(train.states)
    states, single = train.states.shape[1], weights.astype(np.float32)
    reward = LinearReward(
        center=center, spread=spread, state_weights=single[:states], action_weights=single[states:]
    )
    return correlation_of(user_moments(reward(test.states, test.actions), test, level))


def _at(curves: Sequence[Sequence[float]], labels: int) -> list[float]:
    return [curve[labels // BLOCK - 1] for curve in curves]


def _metrics(runs: Sequence[Mapping[str, Any]], needed: Sequence[int]) -> dict[str, Estimate]:
    values = {
        "labels_to_target": needed,
        f"correlation_at_{EARLY}": _at([run["correlation"] for run in runs], EARLY),
        "correlation_at_last": [run["correlation"][-1] for run in runs],
        "share_of_ties": [run["ties"] for run in runs],
        "requests_a_pair": [run["read"][-1] / (BLOCK * len(run["read"])) for run in runs],
        "requests_to_target": [run["read"][n // BLOCK - 1] for run, n in zip(runs, needed, strict=True)],
    }
    return {name: mean_interval(value, seeds=True) for name, value in values.items()}
