"""A reward of whole sessions in two numbers: what preferences make of depth, and of the return.

g(session) = w_depth depth / average depth + w_return log(average gap / gap), averages being the user's own
and both outcomes clipped where levels are: at 5 times the average, and a gap also at 5 times it.
A preference says which of two segments has the better sessions on average, so that Bradley-Terry is fitted
to the mean of g over a segment's sessions, and the constant that preferences cannot tell is chosen such that
the mean session of a log brings 0. That keeps a policy from making sessions many, or few, for their own sake.

Differs from the paper: there r is a function of state and action and a segment sums it over requests, which
pays long sessions once for every request. The log of the gap is what varies least for a given change in how
soon users come back, so that a policy is learned from fewer users than with levels, which are its steps.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rec_rl.data.levels import TOP_LEVEL, user_averages
from rec_rl.data.preferences import LocatedPairs
from rec_rl.data.sessions import SessionLog
from rec_rl.errors import DatasetError
from rec_rl.rewards.linear_reward import logistic_newton

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class SessionReward:
    """g of a session.

    Attributes:
        depth_weight: w_depth.
        return_weight: w_return.
    """

    depth_weight: float
    return_weight: float

    def of_sessions(self, log: SessionLog) -> Doubles:
        """g of each session less its mean over the log, NaN where it has no level, shape [num_sessions]."""
        worth: Doubles = session_outcomes(log) @ np.array([self.depth_weight, self.return_weight])
        return worth - np.nanmean(worth)

    def of_requests(self, log: SessionLog) -> Floats:
        """g paid with each session's last request, shape [n]; sessions without a level pay nothing."""
        rewards = np.zeros(len(log), np.float32)
        rewards[log.session_starts + log.depths - 1] = np.nan_to_num(self.of_sessions(log))
        return rewards


def session_outcomes(log: SessionLog) -> Doubles:
    """Depth / average depth and log(average gap / gap) of each session, NaN where excluded, [sessions, 2]."""
    averages = user_averages(log)
    users, gaps = log.session_user_index, np.where(log.gaps > 0, log.gaps, np.nan)
    depth = (log.depths / averages.depth[users]).clip(max=TOP_LEVEL)
    sooner = (averages.gap[users] / gaps).clip(1 / TOP_LEVEL, TOP_LEVEL)
    outcomes = np.stack([depth, np.log(sooner)], axis=1)
    outcomes[np.isnan(outcomes).any(axis=1)] = np.nan
    return outcomes


def fit_session_reward(log: SessionLog, pairs: LocatedPairs, *, ridge: float = 1e-4) -> SessionReward:
    """Bradley-Terry on the mean of the outcomes over each segment's sessions.

    P(a better than b) = sigmoid(mean of g over a - mean of g over b). A session that a segment cuts counts as
    its own, unless it has no level.

    Args:
        log: The sessions of the segments.
        pairs: Labelled segments; best both of one user, since g says nothing of a user's own averages.
        ridge: Penalty in units of the mean variance of the difference in outcomes, > 0.

    Raises:
        DatasetError: If no pair has a session with a level on either side.
    """
    outcomes = session_outcomes(log)
    counted = ~np.isnan(outcomes[:, 0])
    total = np.vstack([np.zeros((1, 2)), np.nan_to_num(outcomes).cumsum(axis=0)])
    number = np.append(0, counted.cumsum())
    session = log.session_index
    first, beyond = session[pairs.first_rows], session[pairs.first_rows + pairs.lengths - 1] + 1
    count = number[beyond] - number[first]
    usable = (count > 0).all(axis=1)
    if not usable.any():
        raise DatasetError(
            f"both segments of some pair must have a session with a level, of {len(pairs)} none"
        )
    mean = (total[beyond] - total[first])[usable] / count[usable][..., None]
    weights = logistic_newton(mean[:, 0] - mean[:, 1], pairs.label[usable], ridge=ridge)
    return SessionReward(depth_weight=float(weights[0]), return_weight=float(weights[1]))
