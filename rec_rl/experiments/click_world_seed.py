"""One seed of the click-world table: simulate, fit, align, measure.

A population of the click world is split 80/20 by user. Three reward models are fitted on the 80 %, seven
click models are trained on it (plain, aligned with each reward, and aligned with three controls), and all is
measured on the 20 %. Alignment uses kappa .5 and the full state, so that nothing but the reward makes a
difference. An impression is satisfying if clicking it has a true reward, noise N1 included, above 0.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from torch import nn

from envs.click_world import ClickWorld, ClickWorldLog
from rec_rl.data.transitions import UserTransitions
from rec_rl.losses.click import aligned_click_loss, normalised_difference
from rec_rl.rewards import REWARD_METHODS, MentalRewardModel, fit_mental_reward
from rec_rl.rewards.controls import ShuffledReward
from rec_rl.rewards.descent import Descent
from rec_rl.rewards.qr_iql import QRIQLNetwork
from rec_rl.rewards.reward_head import coverage_error
from rec_rl.rewards.soft_q import BodyBuilder, SoftQConfig, evaluate, mlp_body

OnProgress = Callable[[int, int, str], None]
Metrics = dict[str, dict[str, float]]
"""Arm to metric to value."""

KAPPA = 0.5
CONTROLS = ("shuffled", "placebo", "q_difference", "best_possible", "click_logit")
NUM_CLICK_MODELS = 7


@dataclass(frozen=True, kw_only=True)
class RunSize:
    """Users, gradient steps of Q, of the reward head and of each click model."""

    num_users: int = 20_000
    steps: int = 1500
    head_steps: int = 500
    click_steps: int = 1000

    @property
    def total_steps(self) -> int:
        """Gradient steps of one seed."""
        return len(REWARD_METHODS) * (self.steps + self.head_steps) + NUM_CLICK_MODELS * self.click_steps


class Progress:
    """Counts gradient steps over the seeds and reports each as on_progress(done, total, what)."""

    def __init__(self, on_progress: OnProgress | None, *, total: int) -> None:
        self._on_progress = on_progress
        self._total = total
        self._done = 0

    def step(self, what: str) -> None:
        """One gradient step of ``what`` was made."""
        self._done += 1
        if self._on_progress is not None:
            self._on_progress(self._done, self._total, what)


def run_seed(seed: int, size: RunSize, progress: Progress) -> tuple[Metrics, str]:
    """The metrics of every arm and control, and the content hash of the log."""
    world = ClickWorld()
    log = world.simulate(size.num_users, seed=seed)
    is_test = held_out_rows(log, seed)
    train, test = log.transitions.rows(~is_test), log.transitions.rows(is_test)
    models = {
        method: fit_mental_reward(
            train,
            config(steps=size.steps, head_steps=size.head_steps),
            seed=seed,
            on_step=lambda *_, method=method: progress.step(f"reward {method}"),
        )
        for method, config in REWARD_METHODS.items()
    }
    test_states = log.states[is_test]
    metrics = {method: reward_metrics(model, world, test, test_states) for method, model in models.items()}
    metrics |= _truth_metrics(world, test, test_states)

    rng = np.random.default_rng(seed)
    weights = _alignment_weights(models, train)
    scores = {}
    for arm, weight in weights.items():
        on_step = partial(progress.step, f"click {arm}")
        network = click_model(train, weight, kappa=KAPPA, steps=size.click_steps, seed=seed, on_step=on_step)
        scores[arm] = evaluate(network, test.states)
    for arm, values in click_metrics(scores, world, test, test_states, rng).items():
        metrics[arm] = metrics.get(arm, {}) | values
    for name in ("difference_correlation", "satisfaction_auc"):
        metrics["qr_iql"][f"{name}_over_iq_learn"] = metrics["qr_iql"][name] - metrics["iq_learn"][name]
    return metrics, log.transitions.content_hash


def held_out_rows(log: ClickWorldLog, seed: int) -> NDArray[np.bool_]:
    """A fifth of the users, as a mask over rows."""
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
        log_likelihood (mean log pi(a|s)); reward_correlation (r(s,a) at the action taken);
        difference_correlation and difference_rmse (of r(s,click) - r(s,skip)); bait_gap (how much more the
        reward's difference exceeds the model's click logit on baits than elsewhere: the future cost of a bait
        that the reward sees through); level_gauge (training rows); coverage_error of the reward quantiles;
        crossings (share of neighbours in the wrong order: of the heads for qr_iql, else of reward quantiles).
    """
    rows = np.arange(len(test))
    truth = world.mean_reward()[states]
    reward, q = model.reward(test.states), model.q(test.states)
    difference, true_difference = reward[:, 1] - reward[:, 0], truth[:, 1] - truth[:, 0]
    excess = difference - (q[:, 1] - q[:, 0])
    bait = world.bait[states] == 1
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
        "level_gauge": model.record.level_gauge,
        "coverage_error": coverage_error(quantiles, test.actions, model.reward_targets(test)),
        "crossings": float((np.diff(crossing_heads, axis=2) < 0).mean()),
    }


def _truth_metrics(world: ClickWorld, test: UserTransitions, states: NDArray[np.int64]) -> Metrics:
    click = world.click_probability[states]
    reward, q = world.mean_reward()[states], world.q[states]
    return {
        "best_possible": {
            "log_likelihood": float(np.log(np.where(test.actions == 1, click, 1 - click)).mean())
        },
        "click_logit": {
            "difference_correlation": _correlation(q[:, 1] - q[:, 0], reward[:, 1] - reward[:, 0])
        },
    }


def _alignment_weights(
    models: dict[str, MentalRewardModel], train: UserTransitions
) -> dict[str, NDArray[np.float32]]:
    """Dn of every click model on the training rows, shape [n] each."""
    weights = {"ce": np.zeros(len(train), dtype=np.float32)}
    for method, model in models.items():
        weights[method] = normalised(model.reward(train.states))
    return weights | control_weights(models["anchored"], train.states)


def control_weights(model: MentalRewardModel, states: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """Dn of the controls on the training rows: dealt at random, the same everywhere, the click logit."""
    return {
        "shuffled": normalised(ShuffledReward(model.reward(states))(states)),
        "placebo": np.ones(len(states), dtype=np.float32),
        "q_difference": normalised(model.q(states)),
    }


def normalised(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Dn of rewards [n, 2]: their difference in units of its own spread, clipped."""
    scale = float((values[:, 1] - values[:, 0]).std())
    weight: NDArray[np.float32] = normalised_difference(torch.from_numpy(values), scale).numpy()
    return weight


def click_model(
    train: UserTransitions,
    weight: NDArray[np.float32],
    *,
    kappa: float,
    steps: int,
    seed: int,
    body: BodyBuilder | None = None,
    on_step: Callable[[], None] = lambda: None,
) -> nn.Module:
    """A network from states to click logits, trained with the aligned loss.

    Args:
        train: Rows to learn from.
        weight: Dn of these rows, shape [n]; zeros are the plain click model.
        kappa: Weight of the mental reward.
        steps: Gradient steps.
        seed: Of the weights and the minibatches.
        body: Below the output layer; the default MLP if None.
        on_step: Called after every gradient step.
    """
    config = SoftQConfig()
    build = body or mlp_body(train.states, config.hidden_sizes)
    states, clicks = torch.from_numpy(train.states), torch.from_numpy(train.actions)
    difference = torch.from_numpy(weight)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        below, width = build()
        network = nn.Sequential(below, nn.Linear(width, 1), nn.Flatten(0))
        descent = Descent(
            network,
            lambda i: aligned_click_loss(network(states[i]), clicks[i], difference[i], kappa).mean(),
            num_rows=len(train),
            num_steps=steps,
            config=config,
        )
        while not descent.finished:
            descent.step()
            on_step()
    return network


def click_metrics(
    scores: dict[str, NDArray[np.float32]],
    world: ClickWorld,
    test: UserTransitions,
    states: NDArray[np.int64],
    rng: np.random.Generator,
) -> Metrics:
    """AUC of clicks and of satisfaction under both truths, and their gains over the plain click model."""
    noise = world.noise_sd()[states] * rng.standard_normal(len(test))
    labels = {
        "auc": test.actions == 1,
        "satisfaction_auc": world.mean_reward("A")[states, 1] + noise > 0,
        "satisfaction_auc_truth_b": world.mean_reward("B")[states, 1] + noise > 0,
    }
    metrics: Metrics = {
        arm: {name: float(roc_auc_score(label, score)) for name, label in labels.items()}
        for arm, score in scores.items()
    }
    for arm in scores:
        if arm != "ce":
            metrics[arm] |= {f"{name}_gain": metrics[arm][name] - metrics["ce"][name] for name in labels}
    return metrics


def _correlation(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    return float(np.corrcoef(a, b)[0, 1])
