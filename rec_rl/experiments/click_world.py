"""The click-world table: what each mental reward recovers where the truth is known, and what alignment does with it.

For each seed a population of the click world is simulated and split 80/20 by user. Three reward models are fitted on
the 80 %, seven click models are trained on it (plain, aligned with each reward, and aligned with three controls), and
everything is measured on the 20 %. An impression is satisfying if clicking it has a true reward, noise N1 included,
above 0. Alignment uses kappa .5 and the full state, so that nothing but the reward can make a difference.

The shuffled control hands each state the reward of another state. (Shuffling rows would average out to a constant:
each state of this world is logged a hundred times.)
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from torch import nn

from envs.click_world import ClickWorld, ClickWorldLog
from rec_rl.data.hashing import content_hash
from rec_rl.data.transitions import UserTransitions
from rec_rl.evaluation.intervals import Estimate, mean_interval
from rec_rl.losses.click import aligned_click_loss, normalised_difference
from rec_rl.rewards import REWARD_METHODS, MentalRewardModel, fit_mental_reward
from rec_rl.rewards.qr_iql import QRIQLNetwork
from rec_rl.rewards.soft_q import SoftQConfig, evaluate, minimise, mlp_body

OnProgress = Callable[[int, int, str], None]
Metrics = dict[str, dict[str, float]]
"""Arm to metric to value."""

KAPPA = 0.5
CONTROLS = ("shuffled", "placebo", "q_difference", "best_possible", "click_logit")


@dataclass(frozen=True, kw_only=True)
class _Size:
    num_users: int = 20_000
    steps: int = 1500
    head_steps: int = 500
    click_steps: int = 1000


QUICK = _Size(num_users=2000, steps=100, head_steps=50, click_steps=50)

BANDS: dict[tuple[str, str], tuple[float, float]] = {
    ("best_possible", "log_likelihood"): (-0.562, -0.554),
    ("click_logit", "difference_correlation"): (0.930, 0.950),
    ("iq_learn", "log_likelihood"): (-0.576, -0.568),
    ("iq_learn", "reward_correlation"): (0.49, 0.56),
    ("iq_learn", "difference_correlation"): (0.940, 0.960),
    ("iq_learn", "difference_rmse"): (0.60, 0.68),
    ("iq_learn", "bait_gap"): (-np.inf, 0.10),
    ("iq_learn", "level_gauge"): (-0.005, 0.005),
    ("iq_learn", "coverage_error"): (0.0, 0.02),
    ("qr_iql", "log_likelihood"): (-0.575, -0.567),
    ("qr_iql", "reward_correlation"): (0.49, 0.56),
    ("qr_iql", "difference_correlation_over_iq_learn"): (-0.01, 0.01),
    ("qr_iql", "difference_rmse"): (0.60, 0.68),
    ("qr_iql", "bait_gap"): (-np.inf, 0.10),
    ("qr_iql", "crossings"): (0.35, 0.46),
    ("qr_iql", "level_gauge"): (-0.005, 0.005),
    ("qr_iql", "coverage_error"): (0.0, 0.02),
    ("anchored", "log_likelihood"): (-0.562, np.inf),
    ("anchored", "reward_correlation"): (0.98, 1.0),
    ("anchored", "difference_correlation"): (0.985, 1.0),
    ("anchored", "difference_rmse"): (0.0, 0.20),
    ("anchored", "bait_gap"): (0.33, 0.45),
    ("anchored", "crossings"): (0.0, 0.0),
    ("anchored", "coverage_error"): (0.0, 0.02),
    ("anchored", "satisfaction_auc_gain"): (0.006, np.inf),
    ("iq_learn", "satisfaction_auc_gain"): (0.001, 0.006),
    ("qr_iql", "satisfaction_auc_gain"): (0.001, 0.006),
    ("qr_iql", "satisfaction_auc_over_iq_learn"): (-0.001, 0.001),
    ("q_difference", "satisfaction_auc_gain"): (-0.003, 0.003),
    ("shuffled", "satisfaction_auc_gain"): (-np.inf, 0.0),
    **{(arm, "auc_gain"): (-0.002, 0.002) for arm in REWARD_METHODS},
    **{(arm, "satisfaction_auc_truth_b_gain"): (-0.018, -0.004) for arm in REWARD_METHODS},
}

_NEAR_LOGIT = (
    "this reward stays close to a rescaled click logit (see its bait_gap), so it moves the ranking of baits, and with "
    "it the satisfaction that truth B takes away, less than the band says"
)
REASONS = {(arm, "satisfaction_auc_truth_b_gain"): _NEAR_LOGIT for arm in ("iq_learn", "qr_iql")}


def run_table(
    *, seeds: Sequence[int] = (1, 2, 3), quick: bool = False, on_progress: OnProgress | None = None
) -> dict[str, Any]:
    """Reproduces the click-world table.

    Args:
        seeds: One population, split and set of weights each; intervals are over them.
        quick: A small run that shows the form of the table; its numbers fall outside the bands.
        on_progress: Called as on_progress(done, total, what) at least once a second or so.

    Returns:
        "arms" and "controls" ({name: {"metrics": {metric: Estimate}}}), "bands" ({"arm.metric": {"low", "high",
        "value", "inside"}}), "missed" ([{"bar", "value", "reason"}]) and "data_hash".
    """
    if len(seeds) == 0:
        raise ValueError("seeds must hold at least one seed")
    size = QUICK if quick else _Size()
    steps_per_seed = 3 * (size.steps + size.head_steps) + 7 * size.click_steps
    per_seed: list[Metrics] = []
    hashes = []
    for index, seed in enumerate(seeds):
        progress = _Progress(on_progress, done=index * steps_per_seed, total=len(seeds) * steps_per_seed)
        metrics, data_hash = _run_seed(seed, size, progress)
        per_seed.append(metrics)
        hashes.append(data_hash)
    estimates = {
        arm: {
            "metrics": {
                name: mean_interval([metrics[arm][name] for metrics in per_seed], seeds=True)
                for name in per_seed[0][arm]
            }
        }
        for arm in per_seed[0]
    }
    bands, missed = _judge(estimates, quick)
    return {
        "arms": {arm: row for arm, row in estimates.items() if arm not in CONTROLS},
        "controls": {arm: row for arm, row in estimates.items() if arm in CONTROLS},
        "bands": bands,
        "missed": missed,
        "data_hash": content_hash(np.array(hashes)),
    }


def _judge(
    estimates: dict[str, dict[str, dict[str, Estimate]]], quick: bool
) -> tuple[dict[str, dict[str, Any]], list[dict[str, Any]]]:
    bands, missed = {}, []
    for (arm, name), (low, high) in BANDS.items():
        value = estimates[arm]["metrics"][name].value
        inside = low <= value <= high
        bar = f"{arm}.{name}"
        ends = {"low": low if np.isfinite(low) else None, "high": high if np.isfinite(high) else None}
        bands[bar] = {**ends, "value": value, "inside": inside}
        if not inside:
            reason = "a quick run" if quick else REASONS.get((arm, name), "outside the band on these seeds")
            missed.append({"bar": f"{bar} in [{low:g}, {high:g}]", "value": value, "reason": reason})
    return bands, missed


class _Progress:
    def __init__(self, callback: OnProgress | None, *, done: int, total: int) -> None:
        self.callback, self.done, self.total = callback, done, total

    def step(self, what: str) -> None:
        self.done += 1
        if self.callback is not None:
            self.callback(self.done, self.total, what)


def _run_seed(seed: int, size: _Size, progress: _Progress) -> tuple[Metrics, str]:
    world = ClickWorld()
    log = world.simulate(size.num_users, seed=seed)
    test_rows = _test_rows(log, seed)
    train, test = log.transitions.rows(~test_rows), log.transitions.rows(test_rows)
    test_states, train_states = log.states[test_rows], log.states[~test_rows]
    models = {}
    for method, config_class in REWARD_METHODS.items():
        config = config_class(steps=size.steps, head_steps=size.head_steps)
        models[method] = fit_mental_reward(
            train, config, seed=seed, on_step=lambda *_, method=method: progress.step(f"reward {method}")
        )
    metrics = {method: reward_metrics(model, world, test, test_states) for method, model in models.items()}
    metrics["qr_iql"]["difference_correlation_over_iq_learn"] = (
        metrics["qr_iql"]["difference_correlation"] - metrics["iq_learn"]["difference_correlation"]
    )
    metrics |= _truth_metrics(world, test, test_states)

    rng = np.random.default_rng(seed)
    scores = {
        arm: _click_scores(train, weight, test, size, seed, partial(progress.step, f"click model {arm}"))
        for arm, weight in _alignment_weights(models, train, train_states, rng).items()
    }
    noise = world.noise_sd()[test_states] * rng.standard_normal(len(test))
    labels = {
        "auc": test.actions == 1,
        "satisfaction_auc": world.mean_reward("A")[test_states, 1] + noise > 0,
        "satisfaction_auc_truth_b": world.mean_reward("B")[test_states, 1] + noise > 0,
    }
    aucs = {
        arm: {name: float(roc_auc_score(label, score)) for name, label in labels.items()}
        for arm, score in scores.items()
    }
    for arm, values in aucs.items():
        gains = {f"{name}_gain": values[name] - aucs["ce"][name] for name in labels} if arm != "ce" else {}
        metrics.setdefault(arm, {}).update({**values, **gains})
    metrics["qr_iql"]["satisfaction_auc_over_iq_learn"] = (
        aucs["qr_iql"]["satisfaction_auc"] - aucs["iq_learn"]["satisfaction_auc"]
    )
    return metrics, log.transitions.content_hash


def _test_rows(log: ClickWorldLog, seed: int) -> NDArray[np.bool_]:
    users = log.transitions.users
    assert users is not None
    num_users = int(users.max()) + 1
    held_out = np.random.default_rng(seed).permutation(num_users)[: num_users // 5]
    return np.isin(users, held_out)


def reward_metrics(
    model: MentalRewardModel, world: ClickWorld, test: UserTransitions, states: NDArray[np.int64]
) -> dict[str, float]:
    """How a reward model compares with the world's truth A, on held-out rows.

    Args:
        model: Fitted on other users of ``world``.
        world: Knows the truth.
        test: Held-out rows.
        states: Their state indices, shape [n].

    Returns:
        log_likelihood (mean log pi(a|s)), reward_correlation (r(s,a) at the action taken),
        difference_correlation and difference_rmse (of r(s,click) - r(s,skip)), bait_gap (how much more the
        reward's difference exceeds the model's click logit on baits than elsewhere: the future cost of a bait that
        the reward sees through), level_gauge, coverage_error, and crossings (of the heads for qr_iql, of the reward
        quantiles otherwise).
    """
    rows = np.arange(len(test))
    truth = world.mean_reward()[states]
    reward, q = model.reward(test.states), model.q(test.states)
    difference, true_difference = reward[:, 1] - reward[:, 0], truth[:, 1] - truth[:, 0]
    excess = difference - (q[:, 1] - q[:, 0])
    bait = world.bait[states] == 1
    targets = model.reward_targets(test)
    quantiles = model.quantiles(test.states)
    crossing_heads = quantiles
    if isinstance(model.q_network, QRIQLNetwork):
        crossing_heads = evaluate(model.q_network.heads, test.states)
    return {
        "log_likelihood": float(model.log_policy(test.states)[rows, test.actions].mean()),
        "reward_correlation": _correlation(reward[rows, test.actions], truth[rows, test.actions]),
        "difference_correlation": _correlation(difference, true_difference),
        "difference_rmse": float(np.sqrt(np.square(difference - true_difference).mean())),
        "bait_gap": float(excess[bait].mean() - excess[~bait].mean()),
        "level_gauge": level_gauge(targets, test.terminated, model.config.discount),
        "coverage_error": coverage_error(quantiles, test.actions, targets),
        "crossings": float((np.diff(crossing_heads, axis=2) < 0).mean()),
    }
