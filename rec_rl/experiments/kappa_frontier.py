"""How much click AUC a satisfaction gain costs: the frontier over kappa, and the kappa to use.

The rule is the largest satisfaction gain at no more than 1 % loss of click AUC. It needs to know who was
satisfied, so in a log without a truth it needs explicit feedback to be measured on. A kappa chosen and
measured on the same seeds flatters itself: beside it stands the gain on each seed of the kappa that the
other seeds would have chosen.
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
from rec_rl.evaluation.intervals import Estimate, mean_interval
from rec_rl.experiments.click_study import (
    FEEDBACK_SHARE,
    METRIC_OF_TRUTH,
    ORACLE,
    PLACEBO,
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
    plain_weight,
    run_seeds,
    seed_estimates,
    train_scores,
)
from rec_rl.experiments.click_world_seed import RunSize, control_weights, normalised
from rec_rl.experiments.records import RunRecord
from rec_rl.experiments.runner import Event
from rec_rl.progress import Progress

KAPPAS = (0.1, 0.2, 0.35, 0.5, 0.75, 1.0)
LARGEST_LOSS = 0.01
"""Of click AUC, relative."""

CLICKS_ONLY = ("qr_iql", "anchored")
CONTROLS = (SHUFFLED, PLACEBO, Q_DIFFERENCE, ORACLE)
BY_TRUTH = (WITH_FEEDBACK, ORACLE)
METHODS = (*CLICKS_ONLY, WITH_FEEDBACK, *CONTROLS)


def run_frontier(
    *,
    seeds: Sequence[int],
    quick: bool,
    folder: Path,
    progress: Progress,
    command: str,
    kappas: Sequence[float] = KAPPAS,
) -> RunRecord:
    """Trains every method at every kappa on every seed.

    Args:
        seeds: One population, split, draw of answers and set of weights each; intervals are over them.
        quick: A small run that shows the form of the frontier.
        folder: Keeps finished seeds, so that an interrupted frontier goes on.
        progress: Where progress is shown.
        command: For the record.
        kappas: Above 0, rising.
    """
    started = time.monotonic()
    results = run_seeds(
        kappa_trial,
        seeds=seeds,
        size=QUICK if quick else RunSize(),
        folder=folder,
        progress=progress,
        settings={"kappas": list(kappas)},
    )
    seconds = time.monotonic() - started
    return frontier_record(results, seeds=seeds, kappas=kappas, quick=quick, command=command, seconds=seconds)


def arm_name(method: str, kappa: float) -> str:
    """Such as "anchored, kappa 0.2"; without kappa all methods are the plain click model, "ce"."""
    return f"{method}, kappa {kappa:g}" if kappa else "ce"


def frontier_record(
    results: Sequence[Mapping[str, Any]],
    *,
    seeds: Sequence[int],
    kappas: Sequence[float],
    quick: bool,
    command: str,
    seconds: float,
) -> RunRecord:
    """The record of the trials of all seeds; its metrics hold the recommended kappas."""
    arms = seed_estimates([result["metrics"] for result in results])
    metrics: dict[str, Estimate] = {}
    for truth in TRUTHS:
        for method in METHODS:
            losses, gains = frontier(arms, method, truth, (0.0, *kappas))
            found = recommendation((0.0, *kappas), losses, gains)
            metrics |= {f"{name}/{method}/truth {truth}": estimate for name, estimate in found.items()}
    chosen = f"gain_at_recommended_kappa/{WITH_FEEDBACK}/truth B"
    return RunRecord(
        command=command,
        seeds=list(seeds),
        data_hash=joint_hash(results),
        config={
            "quick": quick,
            "kappas": list(kappas),
            "largest_loss": LARGEST_LOSS,
            "size": asdict(QUICK if quick else RunSize()),
        },
        metrics=metrics,
        arms={arm: row for arm, row in arms.items() if not arm.startswith(CONTROLS)},
        controls={arm: row for arm, row in arms.items() if arm.startswith(CONTROLS)},
        missed=missed_bars([(chosen, metrics[chosen], 0.01)], quick=quick),
        seconds=seconds,
        notes=[
            "The recommended kappa has the largest satisfaction gain over ce at no more than "
            f"{LARGEST_LOSS:.0%} loss of click AUC, on the mean over seeds; its interval is over the kappas "
            "that single seeds would choose.",
            "gain_chosen_elsewhere is the gain on each seed at the kappa that the other seeds recommend.",
        ],
    )


def frontier(
    arms: Mapping[str, Mapping[str, Estimate]], method: str, truth: str, kappas: Sequence[float]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Relative loss of click AUC and gain of satisfaction AUC over ce, shape [seeds, k] each.

    Args:
        arms: Every arm of the record with its metrics.
        method: One of ``METHODS``.
        truth: "A" or "B".
        kappas: 0 first, shape [k].
    """

    def by_kappa(metric: str) -> NDArray[np.float64]:
        estimates = [arms[_arm_of_truth(method, truth, kappa)][metric] for kappa in kappas]
        return np.array([estimate.per_seed for estimate in estimates]).T

    auc, satisfaction = by_kappa("auc"), by_kappa(METRIC_OF_TRUTH[truth])
    return 1 - auc / auc[:, :1], satisfaction - satisfaction[:, :1]


def _arm_of_truth(method: str, truth: str, kappa: float) -> str:
    """Methods that know one truth have an arm of their own for each."""
    return arm_name(f"{method} of truth {truth}" if method in BY_TRUTH else method, kappa)


def recommendation(
    kappas: Sequence[float], losses: NDArray[np.float64], gains: NDArray[np.float64]
) -> dict[str, Estimate]:
    """The kappa to use and what it brings.

    Args:
        kappas: 0 first, shape [k].
        losses: Relative loss of click AUC, shape [seeds, k].
        gains: Of satisfaction AUC, shape [seeds, k].

    Returns:
        recommended_kappa, gain_at_recommended_kappa, loss_at_recommended_kappa, and with two seeds or more
        gain_chosen_elsewhere.
    """
    num_seeds = len(gains)
    best = recommended(losses.mean(axis=0), gains.mean(axis=0))
    own = mean_interval([kappas[recommended(*row)] for row in zip(losses, gains, strict=True)], seeds=True)
    found = {
        "recommended_kappa": Estimate(
            value=kappas[best], low=own.low, high=own.high, n=num_seeds, per_seed=own.per_seed
        ),
        "gain_at_recommended_kappa": mean_interval(gains[:, best], seeds=True),
        "loss_at_recommended_kappa": mean_interval(losses[:, best], seeds=True),
    }
    if num_seeds > 1:
        elsewhere = []
        for seed in range(num_seeds):
            others = np.arange(num_seeds) != seed
            elsewhere.append(
                gains[seed, recommended(losses[others].mean(axis=0), gains[others].mean(axis=0))]
            )
        found["gain_chosen_elsewhere"] = mean_interval(elsewhere, seeds=True)
    return found


def recommended(losses: NDArray[np.float64], gains: NDArray[np.float64]) -> int:
    """Index of the largest gain among those at no more than the largest loss; 0, no alignment, always is."""
    return int(np.argmax(np.where(losses <= LARGEST_LOSS, gains, -np.inf)))


def kappa_trial(spec: Mapping[str, Any]) -> Iterator[Event]:
    """One seed of the frontier.

    Args:
        spec: {"seed", "size": values of a RunSize, "kappas"}.
    """
    torch.set_num_threads(1)
    num_arms = len(METHODS) + len(BY_TRUTH)
    yield from counted(_models(spec), len(CLICKS_ONLY) + 1 + num_arms * len(spec["kappas"]))


def _models(spec: Mapping[str, Any]) -> Models:
    population = Population.draw(spec)
    train = population.train
    models = yield from fit_rewards(population, CLICKS_ONLY)
    anchored = models["anchored"]
    weights = {method: normalised(model.reward(train.states)) for method, model in models.items()}
    weights |= control_weights(anchored, population.train.states)
    for truth in TRUTHS:
        told = population.calibrated(anchored, population.answers(truth, FEEDBACK_SHARE))
        weights[f"{WITH_FEEDBACK} of truth {truth}"] = normalised(told.reward(train.states))
        weights[f"{ORACLE} of truth {truth}"] = normalised(population.true_reward(truth))
    scores = yield from train_scores(population, {"ce": plain_weight(population)})
    for kappa in spec["kappas"]:
        aligned = yield from train_scores(population, weights, kappa=kappa)
        scores |= {arm_name(method, kappa): table for method, table in aligned.items()}
    return {
        "metrics": population.measure(scores),
        "data_hash": population.log.transitions.content_hash,
    }
