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
        accuracy: Share of pairs without a tie that it orders rightly.
        within_user_correlation: Of a session's mean reward with its level, within users.
        num_pairs: Pairs that the accuracy is over.
        harmful: Whether the correlation is too low for the reward to train anything.
    """

    accuracy: float
    within_user_correlation: float
    num_pairs: int

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
        accuracy=pair_accuracy(rewards, pairs),
        within_user_correlation=within_user_correlation(rewards, log, level),
        num_pairs=int((pairs.label != 0.5).sum()),
    )


def pair_accuracy(rewards: NDArray[np.float32], pairs: LocatedPairs) -> float:
    """Share of pairs without a tie whose better segment has the larger return; ``rewards`` [n] of the log."""
    running = np.append(0, rewards.cumsum(dtype=np.float64))
    returns = running[pairs.first_rows + pairs.lengths] - running[pairs.first_rows]
    return share_right(returns[:, 0] - returns[:, 1], pairs.label)


def share_right(gap: ArrayLike, label: ArrayLike) -> float:
    """Share of pairs without a tie whose gap in return, a less b, has the label's sign; NaN without any."""
    decided = np.asarray(label) != 0.5
    right = (np.asarray(gap) > 0) == (np.asarray(label) > 0.5)
    return float(right[decided].mean()) if decided.any() else float("nan")


def within_user_correlation(
    rewards: NDArray[np.float32], log: SessionLog, level: NDArray[np.float64]
) -> float:
    """Correlation of sessions' mean reward and level, both less their user's mean; NaN if either is flat."""
    counted = ~np.isnan(level)
    sums = np.add.reduceat(rewards, log.session_starts, dtype=np.float64)
    users = log.session_user_index[counted]
    x = _less_user_mean((sums / log.depths)[counted], users)
    y = _less_user_mean(level[counted], users)
    size = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / size if size > 0 else float("nan")


def _less_user_mean(values: NDArray[np.float64], users: NDArray[np.int64]) -> NDArray[np.float64]:
    count = np.maximum(np.bincount(users), 1)
    centred: NDArray[np.float64] = values - (np.bincount(users, values) / count)[users]
    return centred
