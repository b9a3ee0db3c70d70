"""Whether a reward learned from preferences can be trusted: pair accuracy alone is no evidence.

Labels that count each session once are predicted better than any, and the reward they teach is harmful: it
goes down where a user's own sessions get better. Only the correlation within users shows it.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rec_rl.data.preferences import LocatedPairs
from rec_rl.data.sessions import RequestReward, SessionLog

HARMFUL_BELOW = 0.1  # honest labels reach .4 and more, session labels are below 0


@dataclass(frozen=True, kw_only=True)
class PreferenceCheck:
    """How a reward does on users that it was not trained on.

    Attributes:
        right: Whether it orders each pair without a tie rightly, shape [num_pairs].
        moments: As `user_moments` gives them, shape [num_users, 3].
    """

    right: NDArray[np.bool_]
    moments: NDArray[np.float64]

    @property
    def accuracy(self) -> float:
        """Share of pairs without a tie that it orders rightly; NaN without any."""
        return _share(self.right)

    @property
    def within_user_correlation(self) -> float:
        """Of a session's mean reward with its level, within users; NaN if either is flat."""
        return correlation_of(self.moments)

    @property
    def harmful(self) -> bool:
        """Whether a policy trained on the reward must be expected to make users' sessions worse."""
        return not self.within_user_correlation >= HARMFUL_BELOW

    @property
    def verdict(self) -> str:
        """In words."""
        found = (
            f"within-user correlation {self.within_user_correlation:.2f}, pair accuracy {self.accuracy:.2f}"
        )
        if self.harmful:
            return f"FAIL: harmful, it does not rise where a user's own sessions get better ({found})"
        return f"PASS: it rises where a user's own sessions get better ({found})"


def check_preference_reward(
    reward: RequestReward, log: SessionLog, pairs: LocatedPairs, level: NDArray[np.float64]
) -> PreferenceCheck:
    """Scores a reward against pairs and levels.

    Args:
        reward: Of a request.
        log: Of users that the reward was not trained on.
        pairs: Pairs in that log.
        level: Of each session of the log for the task at hand, NaN where excluded.
    """
    rewards = np.concatenate([reward(log.states[rows], log.actions[rows]) for rows in log.user_blocks()])
    return PreferenceCheck(
        right=ordered_rightly(return_gaps(rewards, pairs), pairs.label),
        moments=user_moments(rewards, log, level),
    )


def return_gaps(rewards: NDArray[np.float32], pairs: LocatedPairs) -> NDArray[np.float64]:
    """Return of segment a less that of b, shape [num_pairs]; ``rewards`` [n] are of the log's requests."""
    running = np.append(0, rewards.cumsum(dtype=np.float64))
    returns = running[pairs.first_rows + pairs.lengths] - running[pairs.first_rows]
    gaps: NDArray[np.float64] = returns[:, 0] - returns[:, 1]
    return gaps


def ordered_rightly(gap: ArrayLike, label: ArrayLike) -> NDArray[np.bool_]:
    """Whether the gap in return, a less b, has the label's sign, for each pair without a tie."""
    decided = np.asarray(label) != 0.5
    right: NDArray[np.bool_] = ((np.asarray(gap) > 0) == (np.asarray(label) > 0.5))[decided]
    return right


def share_right(gap: ArrayLike, label: ArrayLike) -> float:
    """Share of pairs without a tie that the gap in return orders rightly; NaN without any."""
    return _share(ordered_rightly(gap, label))


def user_moments(
    rewards: NDArray[np.float32], log: SessionLog, level: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Sums of xx, xy and yy over each user's counted sessions, shape [num_users, 3].

    x is a session's mean reward less its user's mean of these, y its level less its user's mean level.
    """
    counted = ~np.isnan(level)
    sums = np.add.reduceat(rewards, log.session_starts, dtype=np.float64)
    users, num_users = log.session_user_index[counted], len(log.user_ids)
    x = _less_user_mean((sums / log.depths)[counted], users)
    y = _less_user_mean(level[counted], users)
    return np.stack([np.bincount(users, product, num_users) for product in (x * x, x * y, y * y)], axis=1)


def correlation_of(moments: NDArray[np.float64]) -> float:
    """Correlation within the users whose ``moments`` [num_users, 3] these are; NaN if either side is flat."""
    xx, xy, yy = moments.sum(axis=0)
    size = float(np.sqrt(xx * yy))
    return float(xy) / size if size > 0 else float("nan")


def _share(right: NDArray[np.bool_]) -> float:
    return float(right.mean()) if len(right) else float("nan")


def _less_user_mean(values: NDArray[np.float64], users: NDArray[np.int64]) -> NDArray[np.float64]:
    count = np.maximum(np.bincount(users), 1)
    centred: NDArray[np.float64] = values - (np.bincount(users, values) / count)[users]
    return centred
