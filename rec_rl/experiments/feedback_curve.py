"""The satisfaction anchor on the click world: what a little explicit feedback adds to clicks.

Clicks cannot tell truth A from truth B, in which the lure of a bait is felt before the click and regretted
after it; a few answers can. Some clicked rows, drawn at random, say whether the click was satisfying. One
anchored reward is fitted on behaviour, calibrated on each share of answers, and aligns a click model; all
is measured on users who were in none of it.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from envs.click_world import TRUTHS
from rec_rl.experiments.click_study import (
    METRIC_OF_TRUTH,
    ORACLE,
    QUICK,
    Models,
    Population,
    counted,
    fit_rewards,
    joint_hash,
    missed_bars,
    of_truth,
    plain_weight,
    run_seeds,
    seed_estimates,
    train_scores,
)
from rec_rl.experiments.click_world_seed import KAPPA, Metrics, RunSize, normalised
from rec_rl.experiments.records import RunRecord
from rec_rl.experiments.runner import Event
from rec_rl.progress import Progress
from rec_rl.rewards import REWARD_METHODS

SHARES = (0.0, 0.005, 0.01, 0.02, 0.05, 0.1)
CLICKS_ONLY = ("iq_learn", "qr_iql")
SHUFFLED_ANSWERS = "feedback 2 %, answers shuffled"
CONTROLS = (ORACLE, SHUFFLED_ANSWERS)
NUM_MODELS = len(REWARD_METHODS) + 2 + len(CLICKS_ONLY) + len(TRUTHS) * (len(SHARES) - 1 + len(CONTROLS))

BAR_SHARE = 0.02
BAR_OF_TRUTH = {"A": 0.0, "B": 0.03}


def arm_name(share: float) -> str:
    """Such as "feedback 0.5 %"."""
    return f"feedback {100 * share:g} %"


def run_curve(
    *, seeds: Sequence[int], quick: bool, folder: Path, progress: Progress, command: str
) -> RunRecord:
    """The learning curve over the share of clicked rows with feedback.

    Args:
        seeds: One population, split, draw of answers and set of weights each; intervals are over them.
        quick: A small run that shows the form of the curve.
        folder: Keeps finished seeds, so that an interrupted curve goes on.
        progress: Where progress is shown.
        command: For the record.
    """
    started = time.monotonic()
    size = QUICK if quick else RunSize()
    results = run_seeds(feedback_trial, seeds=seeds, size=size, folder=folder, progress=progress)
    return curve_record(
        results, seeds=seeds, quick=quick, command=command, seconds=time.monotonic() - started
    )


def curve_record(
    results: Sequence[Mapping[str, Any]], *, seeds: Sequence[int], quick: bool, command: str, seconds: float
) -> RunRecord:
    """The record of the trials of all seeds.

    Metrics whose names end in truth_b are of the click model whose answers came from truth B.
    """
    arms = seed_estimates([result["metrics"] for result in results])
    at_bar = arms[arm_name(BAR_SHARE)]
    gains = {truth: f"{METRIC_OF_TRUTH[truth]}_gain" for truth in TRUTHS}
    bars = [(f"{arm_name(BAR_SHARE)}.{gains[t]}", at_bar[gains[t]], BAR_OF_TRUTH[t]) for t in TRUTHS]
    return RunRecord(
        command=command,
        seeds=list(seeds),
        data_hash=joint_hash(results),
        config={"quick": quick, "kappa": KAPPA, "size": asdict(QUICK if quick else RunSize())},
        arms={arm: row for arm, row in arms.items() if arm not in CONTROLS},
        controls={arm: arms[arm] for arm in CONTROLS},
        missed=missed_bars(bars, quick=quick),
        seconds=seconds,
        notes=[
            "Gains are over the plain click model (ce). Feedback is on a share of the clicked rows: whether "
            "the click satisfied.",
            "ce, iq_learn, qr_iql and feedback 0 % see clicks alone, which are the same in both truths.",
        ],
    )


def feedback_trial(spec: Mapping[str, Any]) -> Iterator[Event]:
    """One seed of the curve.

    Args:
        spec: {"seed", "size": values of a RunSize}.
    """
    torch.set_num_threads(1)
    yield from counted(_models(spec), NUM_MODELS)


def _models(spec: Mapping[str, Any]) -> Models:
    population = Population.draw(spec)
    train = population.train
    models = yield from fit_rewards(population, REWARD_METHODS)
    anchored = models["anchored"]
    clicks_only = {name: normalised(models[name].reward(train.states)) for name in CLICKS_ONLY}
    clicks_only |= {
        "ce": plain_weight(population),
        arm_name(0.0): normalised(anchored.reward(train.states)),
    }
    clicks_only_scores = yield from train_scores(population, clicks_only)
    metrics: Metrics = {}
    for truth in TRUTHS:
        answers = {arm_name(share): population.answers(truth, share) for share in SHARES if share}
        answers[SHUFFLED_ANSWERS] = shuffled(
            answers[arm_name(BAR_SHARE)], np.random.default_rng(spec["seed"])
        )
        weights = {
            arm: normalised(population.calibrated(anchored, given).reward(train.states))
            for arm, given in answers.items()
        }
        weights[ORACLE] = normalised(population.true_reward(truth))
        scores = yield from train_scores(population, weights)
        for arm, row in population.measure(clicks_only_scores | scores).items():
            metrics[arm] = metrics.get(arm, {}) | of_truth(row, truth)
    return {"metrics": metrics, "data_hash": population.log.transitions.content_hash}


def shuffled(answers: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """The same answers on the same rows in another order; NaN stays where it is."""
    dealt, given = answers.copy(), ~np.isnan(answers)
    dealt[given] = rng.permutation(answers[given])
    return dealt
