"""The long-run level of a policy, from importance weights on what each request brings in all that follows.

J = J_b + E_b[(ratio - 1) Y] / g_end, where Y is the lambda advantage of a request: the levels of its own
session and of those after it, less the logger's mean level for each and less a value predicted from the
state. By the performance difference lemma this is exact but for one thing, that states keep the logger's
distribution; so a gain is underestimated (by about half, an online step of one sigma in the session world),
and its sign and order are right more often than with any other estimate here.

Source: Kakade and Langford 2002, Lemma 6.1; Schulman et al. 2015 (TRPO), Eq. (3).
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rec_rl.algorithms.returns import lambda_advantages, state_values
from rec_rl.data.sessions import SessionLog
from rec_rl.evaluation.intervals import Estimate
from rec_rl.evaluation.off_policy import count_sessions

Doubles = NDArray[np.float64]


def session_advantages(
    log: SessionLog, level: Doubles, *, gamma: float = 0.99, trace_decay: float = 0.95
) -> NDArray[np.float32]:
    """Y of each request, in levels, shape [n]; the same for every policy.

    Args:
        log: The requests.
        level: Of each session, NaN where excluded, shape [num_sessions].
        gamma: Discount per request, in [0, 1).
        trace_decay: lambda, in [0, 1].
    """
    rewards = np.zeros(len(log), np.float32)
    rewards[log.session_starts + log.depths - 1] = np.nan_to_num(level - np.nanmean(level))
    values = state_values(log, rewards, gamma=gamma)
    return lambda_advantages(rewards, values, log.user_starts, gamma=gamma, trace_decay=trace_decay)


def advantage_value(
    log_ratio: ArrayLike,
    session: ArrayLike,
    user: ArrayLike,
    level: ArrayLike,
    advantage: ArrayLike,
    *,
    cap: float = 10.0,
    draws: int = 1000,
    seed: int = 0,
) -> Estimate:
    """Mean level of a session when the policy serves for good, with states as the logger brought them.

    Args:
        log_ratio, session, user, level, draws, seed: As for `ncis`.
        advantage: Y of each request, shape [n].
        cap: Largest ratio; the capped ratios are divided by their mean.

    Returns:
        Value with its interval over users, which covers the error of sampling, not that of the states; ess,
        d2 and verdict as for `ncis`.
    """
    sessions = count_sessions(log_ratio, session, user, level, cap=cap)
    rows, gain = np.asarray(session, np.int64), np.asarray(advantage, np.float64)
    if gain.shape != rows.shape:
        raise ValueError(f"advantage must have shape {rows.shape}, got {gain.shape}")
    position = np.cumsum(sessions.counted) - 1
    counted = sessions.counted[rows]
    ratio = np.exp(np.minimum(np.asarray(log_ratio, np.float64)[counted], np.log(cap)))
    weighted = (ratio / ratio.mean() - 1) * gain[counted]
    numerator = np.bincount(sessions.user, sessions.level)
    numerator += np.bincount(sessions.user[position[rows[counted]]], weighted)
    number = np.bincount(sessions.user).astype(np.float64)
    return sessions.estimate(numerator, number, draws=draws, seed=seed)
