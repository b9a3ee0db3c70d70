"""Returns, values and lambda advantages over a session log, user by user."""

import numpy as np
from numpy.typing import NDArray

from rec_rl.data.behaviour import column_moments, solve_ridge, with_constant
from rec_rl.data.sessions import RequestReward, SessionLog

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]


def advantage_targets(
    log: SessionLog,
    reward: RequestReward | Floats,
    *,
    gamma: float,
    trace_decay: float,
    ridge: float = 1e-3,
) -> Floats:
    """Y of each request, shape [n]: what a regression on the serving noise explains to learn w(s).

    The lambda advantages of the rewards less their mean, over a linear value of the state.

    Args:
        log: The requests.
        reward: Of a request, as a function of states and actions; or what each request was paid, shape [n].
        gamma: Discount, in [0, 1).
        trace_decay: lambda, in [0, 1]. Less of it sees less of what later requests bring by chance.
        ridge: Penalty of the value in units of the columns' variance, >= 0.
    """
    if callable(reward):
        reward = np.concatenate([reward(log.states[rows], log.actions[rows]) for rows in log.user_blocks()])
    if reward.shape != (len(log),):
        raise ValueError(f"rewards must have shape {(len(log),)}, got {reward.shape}")
    rewards = np.asarray(reward - reward.mean(dtype=np.float64), dtype=np.float32)
    values = state_values(log, rewards, gamma=gamma, ridge=ridge)
    return lambda_advantages(rewards, values, log.user_starts, gamma=gamma, trace_decay=trace_decay)


def discounted_sums(signal: Doubles, user_starts: NDArray[np.int64], discount: float) -> Doubles:
    """sum_k discount^k signal_{t+k} within each user, shape [n].

    Args:
        signal: Shape [n], a user's rows adjacent and in order.
        user_starts: First row of each user and, last, n.
        discount: In [0, 1].
    """
    lengths = np.diff(user_starts)
    result = np.zeros(len(signal))
    carried = np.zeros(len(lengths))
    for back in range(1, int(lengths.max()) + 1):
        (longer,) = np.nonzero(lengths >= back)
        rows = user_starts[longer + 1] - back
        carried[longer] = signal[rows] + discount * carried[longer]
        result[rows] = carried[longer]
    return result


def lambda_advantages(
    rewards: Floats, values: Floats, user_starts: NDArray[np.int64], *, gamma: float, trace_decay: float
) -> Floats:
    """Y_t = sum_k (gamma lambda)^k delta_{t+k} with delta_t = r_t + gamma V(s_{t+1}) - V(s_t), user by user.

    A user's last request has no next state: its delta is 0.
    Source: Schulman et al. 2016 (GAE), Eq. (16).

    Args:
        rewards, values: Shape [n], a user's rows adjacent and in order.
        user_starts: First row of each user and, last, n.
        gamma: Discount, in [0, 1).
        trace_decay: lambda, in [0, 1].

    Returns:
        Advantage of each request, shape [n].
    """
    delta = np.zeros(len(rewards))
    delta[:-1] = rewards[:-1] + gamma * values[1:] - values[:-1]
    delta[user_starts[1:] - 1] = 0
    return discounted_sums(delta, user_starts, gamma * trace_decay).astype(np.float32)


def state_values(log: SessionLog, rewards: Floats, *, gamma: float, ridge: float = 1e-3) -> Floats:
    """V(s) of each request, shape [n]: ridge regression of the discounted return on the state.

    Returns are cut where a user's log ends, so rewards should have mean 0.

    Args:
        log: The states.
        rewards: Shape [n].
        gamma: Discount, in [0, 1).
        ridge: Penalty in units of the columns' variance, >= 0.
    """
    center, spread = column_moments(log.states)
    returns = discounted_sums(rewards.astype(np.float64), log.user_starts, gamma).astype(np.float32)
    size = log.states.shape[1] + 1
    gram, cross = np.zeros((size, size)), np.zeros((size, 1))
    for rows in log.user_blocks():
        x = with_constant(log.states[rows], center, spread)
        gram += x.T @ x
        cross += x.T @ returns[rows, None]
    weights = solve_ridge(gram, cross, ridge * len(log))[:, 0].astype(np.float32)
    return np.concatenate(
        [with_constant(log.states[rows], center, spread) @ weights for rows in log.user_blocks()]
    )
