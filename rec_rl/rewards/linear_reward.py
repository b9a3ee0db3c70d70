"""A reward that is linear in state and action, fitted to preferences by Newton's method."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rec_rl.data.behaviour import column_moments, with_constant
from rec_rl.data.preferences import LocatedPairs
from rec_rl.data.sessions import SessionLog

Floats = NDArray[np.float32]

TOLERANCE = 1e-8
MAX_STEPS = 50


@dataclass(frozen=True, kw_only=True)
class LinearReward:
    """r(s, a) = w . [standardised state, action], up to the constant that preferences cannot tell.

    Attributes:
        center, spread: Mean and deviation of each state column, shape [S].
        state_weights: Shape [S].
        action_weights: Shape [A].
    """

    center: Floats
    spread: Floats
    state_weights: Floats
    action_weights: Floats

    def __call__(self, states: NDArray[np.floating], actions: Floats) -> Floats:
        """Reward of each request, [n, S] and [n, A] to [n]."""
        x = with_constant(states, self.center, self.spread)
        reward: Floats = x[:, :-1] @ self.state_weights + actions @ self.action_weights
        return reward


def fit_linear_reward(log: SessionLog, pairs: LocatedPairs, *, ridge: float = 0.01) -> LinearReward:
    """Bradley-Terry on the features summed over each segment.

    P(a better than b) = sigmoid(w . (sum over a - sum over b)). Source: Xue et al. 2023 (PrefRec), Eq. (3)
    and (4).

    Args:
        log: The requests of the segments.
        pairs: Labelled segments.
        ridge: Penalty in units of the mean variance of the difference in features, > 0.
    """
    center, spread = column_moments(log.states)
    sums = segment_sums(log, pairs.first_rows, pairs.lengths)
    weights = logistic_newton(sums[:, 0] - sums[:, 1], pairs.label, ridge=ridge).astype(np.float32)
    states = log.states.shape[1]
    return LinearReward(
        center=center, spread=spread, state_weights=weights[:states], action_weights=weights[states:]
    )


def segment_sums(
    log: SessionLog, first_rows: NDArray[np.int64], lengths: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Sum of [standardised state, action] over segments of the log's rows, [...] each to [..., S + A]."""
    center, spread = column_moments(log.states)
    sums = np.zeros((*first_rows.shape, log.states.shape[1] + log.actions.shape[1]))
    for rows in log.user_blocks():
        inside = (first_rows >= rows.start) & (first_rows < rows.stop)
        if not inside.any():
            continue
        x = with_constant(log.states[rows], center, spread)[:, :-1]
        features = np.hstack([x, log.actions[rows]])
        running = np.vstack([np.zeros((1, features.shape[1])), features.cumsum(axis=0, dtype=np.float64)])
        first = first_rows[inside] - rows.start
        sums[inside] = running[first + lengths[inside]] - running[first]
    return sums


def logistic_newton(
    features: NDArray[np.float64], label: NDArray[np.float32], *, ridge: float
) -> NDArray[np.float64]:
    """Weights that minimise mean cross entropy of sigmoid(features . w) plus ridge * scale * |w|^2 / 2.

    Args:
        features: Shape [n, k]; no constant, since swapping a pair must swap its label.
        label: Probabilities, shape [n].
        ridge: In units of ``scale``, the mean square of a feature; > 0.
    """
    if not ridge > 0:
        raise ValueError(f"ridge must be > 0, got {ridge}")
    n, k = features.shape
    penalty = ridge * float(np.square(features).mean())
    weights = np.zeros(k)
    for _ in range(MAX_STEPS):
        probability = 1 / (1 + np.exp(-features @ weights))
        gradient = features.T @ (probability - label) / n + penalty * weights
        curvature = (features * (probability * (1 - probability))[:, None]).T @ features / n
        step = np.linalg.solve(curvature + penalty * np.eye(k), gradient)
        weights -= step
        if np.abs(step).max() <= TOLERANCE * max(1.0, np.abs(weights).max()):
            break
    return weights
