"""What a reward says users would do: closed-form tools that share nothing with the training of reward models.

Functions of the state are linear in fixed random features, so that fits are exact, seeded and take a second.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rec_rl.data.transitions import UserTransitions

Floats = NDArray[np.float64]

NUM_FEATURES = 256
MAX_SWEEPS = 300


@dataclass(frozen=True, kw_only=True)
class RandomFeatures:
    """1, the standardised state, and random rectified projections of it.

    Attributes:
        mean, sd: Of each feature of the state, shape [d].
        weights: Projections, shape [d + 1, m]; the last row is their offset.
    """

    mean: Floats
    sd: Floats
    weights: Floats

    @classmethod
    def draw(cls, states: NDArray[np.float32], rng: np.random.Generator) -> "RandomFeatures":
        """Features for states like these."""
        sd = states.std(axis=0, dtype=np.float64)
        num_inputs = states.shape[1]
        weights = rng.standard_normal((num_inputs + 1, NUM_FEATURES)) / np.sqrt(num_inputs)
        return cls(
            mean=states.mean(axis=0, dtype=np.float64), sd=np.where(sd > 1e-6, sd, 1.0), weights=weights
        )

    def __call__(self, states: NDArray[np.float32]) -> Floats:
        """States [n, d] to features [n, 1 + d + m]."""
        x = (states - self.mean) / self.sd
        projected = np.maximum(x @ self.weights[:-1] + self.weights[-1], 0.0)
        return np.concatenate([np.ones((len(x), 1)), x, projected], axis=1)


def click_model(features: Floats, actions: NDArray[np.int64], *, steps: int = 6) -> Floats:
    """Weights of a ridge-penalised logistic regression of clicks, by Newton's method; shape [f].

    The held-out log-likelihood of this model estimates the negative entropy of behaviour.
    """
    penalty = _penalty(features)
    weights = np.zeros(features.shape[1])
    for _ in range(steps):
        probability = 1 / (1 + np.exp(-np.clip(features @ weights, -30, 30)))
        gradient = features.T @ (probability - actions) + penalty * weights
        curvature = (features * (probability * (1 - probability))[:, None]).T @ features + np.diag(penalty)
        weights -= np.linalg.solve(curvature, gradient)
    return weights


class Ridge:
    """Ridge regressions of many targets on the same rows, penalised by generalised cross-validation.

    Args:
        features: Shape [n, f]; the first column is the constant, which is not penalised.
    """

    def __init__(self, features: Floats) -> None:
        self._mean = features[:, 1:].mean(axis=0)
        self._scale = np.maximum(features[:, 1:].std(axis=0), 1e-3)
        self._x = (features[:, 1:] - self._mean) / self._scale
        self._spectrum, self._basis = np.linalg.eigh(self._x.T @ self._x)
        self._spectrum = np.maximum(self._spectrum, 0.0)

    def fit(self, targets: Floats) -> Floats:
        """Weights for targets [n], shape [f]."""
        num_rows, center = len(targets), targets.mean()
        projected = self._basis.T @ (self._x.T @ (targets - center))
        total = np.square(targets - center).sum()
        penalties = num_rows * np.logspace(-4, 3, 15)[:, None]
        shrunk = projected / (self._spectrum + penalties)
        residual = total - (2 * projected * shrunk - self._spectrum * np.square(shrunk)).sum(axis=1)
        freedom = (self._spectrum / (self._spectrum + penalties)).sum(axis=1)
        score = residual / np.square(np.maximum(num_rows - 1 - freedom, 1.0))
        slopes = self._basis @ shrunk[score.argmin()] / self._scale
        return np.concatenate([[center - self._mean @ slopes], slopes])


def soft_optimal_q(
    reward: Callable[[NDArray[np.float32]], Floats],
    transitions: UserTransitions,
    features: RandomFeatures,
    discount: float,
) -> Callable[[NDArray[np.float32]], Floats]:
    """The Q whose soft-optimal users would earn this reward, by fitted value iteration on the rows.

    Q(s,a) = r(s,a) + gamma C(s,a), where C(s,a) = E[(1-d) logsumexp_a Q(s',a)] is regressed on the rows of
    each action. Values are held inside what the rewards allow, so that the sweeps cannot diverge.

    Args:
        reward: States [n, d] to r(s, skip) and r(s, click), [n, 2].
        transitions: The rows; both actions must occur.
        features: What C is linear in.
        discount: gamma, in [0, 1).

    Returns:
        Q as a function of states, [n, d] to [n, 2].
    """
    x, x_next = features(transitions.states), features(transitions.next_states)
    r_next = reward(transitions.next_states)
    rows = [transitions.actions == action for action in (0, 1)]
    ridges = [Ridge(x[chosen]) for chosen in rows]
    horizon = 1 / (1 - discount)
    low, high = min(0.0, r_next.min() * horizon), max(0.0, (r_next.max() + np.log(2)) * horizon)
    weights = np.zeros((x.shape[1], 2))
    sweeps = 1 if discount == 0 else min(MAX_SWEEPS, int(np.log(1e-3) / np.log(discount)) + 1)
    for _ in range(sweeps):
        q_next = r_next + discount * (x_next @ weights)
        v_next = np.clip(np.logaddexp(q_next[:, 0], q_next[:, 1]), low, high) * ~transitions.terminated
        fits = [ridge.fit(v_next[chosen]) for ridge, chosen in zip(ridges, rows, strict=True)]
        weights = np.stack(fits, axis=1)
    return lambda states: reward(states) + discount * (features(states) @ weights)


def log_likelihoods(click_logit: Floats, actions: NDArray[np.int64]) -> Floats:
    """log P(action) of each row under a click logit, shape [n]."""
    likelihood: Floats = -np.logaddexp(0.0, np.where(actions == 1, -click_logit, click_logit))
    return likelihood


def _penalty(features: Floats) -> Floats:
    """Ridge penalties under which a function's variance over the states is about 1 a priori, shape [f]."""
    penalty: Floats = features.shape[1] * np.maximum(features.var(axis=0), 1e-6)
    penalty[0] = 0.0  # the constant is free
    return penalty
