"""The long-run level of a policy: fitted-Q evaluation for the mean level of a session, at its fixed point.

A request is paid r = L - J_b where it ends a session of level L, J_b being the logger's mean level, and 0
elsewhere. What a policy earns per request over the logger is then (1 - gamma) times its mean value, and per
session that over the sessions a request ends. The value is linear, Q = phi(s, a)' theta, with theta the
fixed point of regressing r + gamma Q(s', pi) on phi(s, a), solved instead of iterated. phi sees what the
policy changes and nothing else: with eps = (a - mean) / scale and step = (policy's mean - mean) / scale,

    phi(s, a) = [x, 1, h1 x, h1, h2],  h1 = eps . step,  h2 = ((eps . step)^2 - |step|^2) / 2,

whose expectation under the policy is known: h1 -> |step|^2, h2 -> |step|^4 / 2. Under the behaviour h1 and
h2 have mean 0 whatever the state, so that the two halves do not disturb each other.

Source: Lagoudakis and Parr 2003 (LSTD-Q); Le et al. 2019 (FQE).
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from rec_rl.data.behaviour import GaussianBehaviour, column_moments, with_constant
from rec_rl.data.sessions import SessionLog
from rec_rl.evaluation.intervals import Estimate
from rec_rl.evaluation.off_policy import count_sessions

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

BLOCK = 1 << 14


def fitted_q_evaluation(
    log: SessionLog,
    level: Doubles,
    behaviour: GaussianBehaviour,
    target_mean: Floats,
    *,
    gamma: float = 0.98,
    ridge: float = 1e-2,
    draws: int = 1000,
    seed: int = 0,
) -> Estimate:
    """Mean level of a session when the policy serves for good, seen 1 / (1 - gamma) requests ahead.

    Args:
        log: The requests.
        level: Of each session, NaN where excluded, shape [num_sessions].
        behaviour: Known or fitted.
        target_mean: The policy's mean at each request, shape [n, A].
        gamma: Discount per request, in [0, 1). More sees further and varies more.
        ridge: Penalty in units of the features' mean square, >= 0.
        draws: Bootstrap draws over users.
        seed: Of the bootstrap.

    Returns:
        Value with its interval over users, which covers the error of sampling, not that of the horizon, of
        the linear Q or of the states' distribution, which stays the logger's; ess, d2 and verdict as for
        `ncis`.

    Raises:
        UnsupportedEstimateError: If no session has a level.
    """
    if not 0 <= gamma < 1:
        raise ValueError(f"gamma must be in [0, 1), got {gamma}")
    log_ratio = log.log_ratio(target_mean, behaviour)
    sessions = count_sessions(log_ratio, log.session_index, log.user_index, level)
    features = _Features(log, behaviour, target_mean, ~np.isnan(level)[log.session_index])
    rewards = np.zeros(len(log))
    rewards[log.session_starts + log.depths - 1] = np.nan_to_num(level - np.nanmean(level))

    theta, density = _fixed_point(features, rewards, gamma=gamma, ridge=ridge)
    earned = np.zeros(len(log))  # a request's share of the value, and of the error of theta
    for rows, phi, policy, policy_next in features.blocks():
        error = rewards[rows] - (phi - gamma * policy_next) @ theta
        earned[rows] = (1 - gamma) * (policy @ theta) + (phi @ density) * error
    users, num_users = log.user_index, len(log.user_ids)
    counted_users = np.bincount(log.session_user_index[sessions.counted], minlength=num_users)
    levels = np.bincount(log.session_user_index, np.nan_to_num(level), num_users)
    numerator = levels + np.bincount(users, earned, num_users)
    some = counted_users > 0
    return sessions.estimate(numerator[some], counted_users[some].astype(float), draws=draws, seed=seed)


class _Features:
    """phi at counted requests, and its expectation under the policy there and at the requests after them."""

    def __init__(
        self, log: SessionLog, behaviour: GaussianBehaviour, target_mean: Floats, counted: NDArray[np.bool_]
    ) -> None:
        self.constant = log.states.shape[1]  # column of phi
        self.size = 2 * self.constant + 3
        self._log, self._counted = log, counted
        self._center, self._spread = column_moments(log.states)
        step = behaviour.step(target_mean)
        self._length2 = np.einsum("ij,ij->i", step, step)
        self._along = np.einsum("ij,ij->i", behaviour.noise(log.actions), step)

    def blocks(self) -> Iterator[tuple[NDArray[np.int64], Floats, Floats, Floats]]:
        """Rows, phi(s, a), E_pi phi(s, .) and E_pi phi(s', .), of shape [rows, 2 S + 3] each.

        Every counted request has a next one: a user's last session is never counted.
        """
        along, length2 = self._along, self._length2
        for block in self._log.user_blocks(BLOCK):
            x = with_constant(self._log.states[block], self._center, self._spread)
            policy = _joined(x, length2[block], length2[block] ** 2 / 2)
            (here,) = np.nonzero(self._counted[block])
            rows = here + block.start
            phi = _joined(x[here], along[rows], (along[rows] ** 2 - length2[rows]) / 2)
            yield rows, phi, policy[here], policy[here + 1]


def _fixed_point(
    features: _Features, rewards: Doubles, *, gamma: float, ridge: float
) -> tuple[Doubles, Doubles]:
    """theta, and the weights z with which an error e at phi moves the sum of (1 - gamma) V by z . phi e."""
    matrix, penalty = np.zeros((features.size, features.size)), np.zeros(features.size)
    cross, policy_sum = np.zeros(features.size), np.zeros(features.size)
    for rows, phi, policy, policy_next in features.blocks():
        matrix += phi.T @ (phi - gamma * policy_next)
        cross += phi.T @ rewards[rows].astype(np.float32)
        policy_sum += policy.sum(axis=0, dtype=np.float64)
        penalty += ridge * np.einsum("ij,ij->j", phi, phi, dtype=np.float64)
    penalty[features.constant] = 0
    matrix += np.diag(np.maximum(penalty, 1e-6))  # a policy that takes no step leaves h1 and h2 at 0
    policy_sum *= 1 - gamma
    return np.linalg.solve(matrix, cross), np.linalg.solve(matrix.T, policy_sum)


def _joined(x: Floats, first: Floats, second: Floats) -> Floats:
    return np.hstack([x, first[:, None] * x, second[:, None]])
