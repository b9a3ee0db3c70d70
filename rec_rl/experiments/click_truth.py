"""What mental rewards say of clicks, against two truths that clicks cannot tell apart (MTRec Fig. 3).

MTRec reads two things off a learned reward without a truth to check them: its mean falls along a session,
and a share of clicks has a low reward, which is taken for regret. Here both are held against the truth: by
step, by the distributions of r*(s, a) and of the other action's r*(s, a'), and by how well r*(s, click) -
r*(s, skip) ranks the clicks of held-out users by whether they satisfied.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from envs.click_world import TRUTHS
from rec_rl.experiments.click_study import (
    FEEDBACK_SHARE,
    ORACLE,
    Q_DIFFERENCE,
    QUICK,
    SHUFFLED,
    WITH_FEEDBACK,
    Models,
    Population,
    counted,
    fit_rewards,
    joint_hash,
    missed_bars,
    run_seeds,
    seed_estimates,
)
from rec_rl.experiments.click_world_seed import Metrics, RunSize
from rec_rl.experiments.records import RunRecord
from rec_rl.experiments.runner import Event
from rec_rl.progress import Progress
from rec_rl.rewards import REWARD_METHODS
from rec_rl.rewards.controls import ShuffledReward

ARMS = (*REWARD_METHODS, WITH_FEEDBACK)
NUM_STEPS = 10
"""Of a session, as in Fig. 3 (a)."""
EDGES = np.linspace(-4.1, 4.1, 42)
"""Of the histograms, 0 inside a bin; rewards beyond the ends count in the outer bins."""
CASES = {
    "click | clicked": (1, 1),
    "skip | clicked": (0, 1),
    "click | skipped": (1, 0),
    "skip | skipped": (0, 0),
}
"""Name to the action rewarded and the action taken: Fig. 3 (b) to (e)."""


def run_study(
    *, seeds: Sequence[int], quick: bool, folder: Path, progress: Progress, command: str
) -> tuple[RunRecord, dict[str, Any]]:
    """Fits the rewards on every seed and holds them against both truths.

    Args:
        seeds: One population, split, draw of answers and set of weights each; intervals are over them.
        quick: A small run that shows the form of the study.
        folder: Keeps finished seeds, so that an interrupted study goes on.
        progress: Where progress is shown.
        command: For the record.

    Returns:
        The record, and what Fig. 3 draws: truth to "by_step" (arm to one curve per seed) and "histograms"
        (arm to case to counts over ``EDGES``, of all seeds).
    """
    started = time.monotonic()
    size = QUICK if quick else RunSize()
    results = run_seeds(truth_trial, seeds=seeds, size=size, folder=folder, progress=progress)
    seconds = time.monotonic() - started
    return truth_record(results, seeds=seeds, quick=quick, command=command, seconds=seconds)


def truth_record(
    results: Sequence[Mapping[str, Any]], *, seeds: Sequence[int], quick: bool, command: str, seconds: float
) -> tuple[RunRecord, dict[str, Any]]:
    """The record of the trials of all seeds, and their curves and histograms together."""
    arms = seed_estimates([result["metrics"] for result in results])
    plain, told = arms["anchored"], arms[WITH_FEEDBACK]
    bars = [
        ("anchored.regret_auc", plain["regret_auc"], 0.5),
        (
            f"{WITH_FEEDBACK}.regret_auc_truth_b",
            told["regret_auc_truth_b"],
            plain["regret_auc_truth_b"].value,
        ),
    ]
    record = RunRecord(
        command=command,
        seeds=list(seeds),
        data_hash=joint_hash(results),
        config={"quick": quick, "size": asdict(QUICK if quick else RunSize())},
        arms={arm: arms[arm] for arm in ARMS},
        controls={arm: row for arm, row in arms.items() if arm not in ARMS},
        missed=missed_bars(bars, quick=quick),
        seconds=seconds,
        notes=[
            "fall is the mean reward of the action taken in the first step less that in the tenth; the level "
            "of iq_learn and qr_iql is arbitrary, the unit of a reward with feedback is that of the answers.",
            "mismatch is the share of clicks with r*(s, click) < r*(s, skip); the oracle's is the true one.",
            "regret_auc ranks clicks by r*(s, click) - r*(s, skip): do those that satisfied come first?",
        ],
    )
    figures = {
        truth: {
            "by_step": {
                arm: [result["figures"][truth][arm]["by_step"] for result in results]
                for arm in results[0]["figures"][truth]
            },
            "histograms": {
                arm: {
                    case: np.sum([r["figures"][truth][arm]["histograms"][case] for r in results], axis=0)
                    for case in CASES
                }
                for arm in results[0]["figures"][truth]
            },
        }
        for truth in TRUTHS
    }
    return record, figures


def truth_trial(spec: Mapping[str, Any]) -> Iterator[Event]:
    """One seed of the study.

    Args:
        spec: {"seed", "size": values of a RunSize}.
    """
    torch.set_num_threads(1)
    yield from counted(_models(spec), len(REWARD_METHODS))


def _models(spec: Mapping[str, Any]) -> Models:
    population = Population.draw(spec)
    states, test = population.test.states, population.test
    models = yield from fit_rewards(population, REWARD_METHODS)
    anchored = models["anchored"]
    rewards: dict[str, NDArray[Any]] = {name: model.reward(states) for name, model in models.items()}
    rewards[SHUFFLED] = ShuffledReward(anchored.reward(population.train.states))(states)
    rewards[Q_DIFFERENCE] = anchored.q(states)
    metrics: Metrics = {}
    figures: dict[str, dict[str, Any]] = {}
    steps = population.log.steps[population.is_test]
    for truth in TRUTHS:
        told = population.calibrated(anchored, population.answers(truth, FEEDBACK_SHARE))
        true_reward = population.world.mean_reward(truth)[population.log.states[population.is_test]]
        by_arm = rewards | {WITH_FEEDBACK: told.reward(states), ORACLE: true_reward}
        got = population.world.simulate(population.size.num_users, seed=spec["seed"], truth=truth).rewards
        satisfied = got[population.is_test] > 0
        suffix = "" if truth == "A" else "_truth_b"
        for arm, values in by_arm.items():
            row = click_findings(values, test.actions, steps, satisfied)
            metrics.setdefault(arm, {}).update({f"{name}{suffix}": value for name, value in row.items()})
        figures[truth] = {
            arm: {
                "by_step": by_step(values, test.actions, steps).tolist(),
                "histograms": histograms(values, test.actions),
            }
            for arm, values in by_arm.items()
        }
    return {"metrics": metrics, "figures": figures, "data_hash": population.log.transitions.content_hash}


def click_findings(
    rewards: NDArray[np.floating],
    actions: NDArray[np.int64],
    steps: NDArray[np.int64],
    satisfied: NDArray[np.bool_],
) -> dict[str, float]:
    """mismatch, regret_auc and fall of a reward; see the record's notes.

    Args:
        rewards: r*(s, skip) and r*(s, click), shape [n, 2].
        actions: 0 or 1, shape [n].
        steps: Place of each row in its session, from 0, shape [n].
        satisfied: Whether the action taken satisfied, shape [n]; read where it was a click.
    """
    clicked = actions == 1
    difference = (rewards[:, 1] - rewards[:, 0])[clicked]
    curve = by_step(rewards, actions, steps)
    return {
        "mismatch": float((difference < 0).mean()),
        "regret_auc": float(roc_auc_score(satisfied[clicked], difference)),
        "fall": float(curve[0] - curve[-1]),
    }


def by_step(
    rewards: NDArray[np.floating], actions: NDArray[np.int64], steps: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Mean reward of the action taken at each of the first steps, shape [10]; NaN at one nobody reached."""
    taken, early = rewards[np.arange(len(actions)), actions], steps < NUM_STEPS
    total = np.bincount(steps[early], taken[early], NUM_STEPS)
    rows = np.bincount(steps[early], minlength=NUM_STEPS)
    mean: NDArray[np.float64] = np.divide(total, rows, out=np.full(NUM_STEPS, np.nan), where=rows > 0)
    return mean


def histograms(rewards: NDArray[np.floating], actions: NDArray[np.int64]) -> dict[str, list[int]]:
    """Counts of r*(s, a) over ``EDGES`` for each action given each that was taken."""
    clipped = rewards.clip(EDGES[0], EDGES[-1])
    return {
        case: np.histogram(clipped[actions == taken, rewarded], EDGES)[0].tolist()
        for case, (rewarded, taken) in CASES.items()
    }
