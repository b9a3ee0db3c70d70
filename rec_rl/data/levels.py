"""Levels of engagement: how each session compares with its user's own average (PrefRec Eq. 11)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rec_rl.data.sessions import SessionLog
from rec_rl.errors import DatasetError

Task = Literal["depth", "frequency", "mixture"]
TASKS: tuple[Task, ...] = get_args(Task)
TOP_LEVEL = 5


@dataclass(frozen=True, kw_only=True)
class UserAverages:
    """What Eq. (11) compares with, taken once on logged data and never on a policy's own rollouts.

    Attributes:
        user_ids: Shape [num_users].
        depth: Mean requests of a session, shape [num_users]; NaN for a user without a counted session.
        gap: Mean hours until the return, shape [num_users]; NaN as above.
    """

    user_ids: NDArray[np.int64]
    depth: NDArray[np.float64]
    gap: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class SessionLevels:
    """Level of each session, 0 to 5, NaN where the session is excluded. Shape [num_sessions] each.

    Attributes:
        depth, frequency: Eq. (11).
        mixture: Their mean; the paper does not say how it mixes them, and a sum would be twice this.
        exclusions: Why sessions were excluded, and how many.
    """

    depth: NDArray[np.float64]
    frequency: NDArray[np.float64]
    mixture: NDArray[np.float64]
    exclusions: Mapping[str, int]

    def of(self, task: Task) -> NDArray[np.float64]:
        """The levels of a task."""
        levels: NDArray[np.float64] = getattr(self, task)
        return levels


def level_of_depth(depth: ArrayLike, average: NDArray[np.float64]) -> NDArray[np.float64]:
    """clip(floor(depth / average), 0, 5), elementwise. Source: Xue et al. 2023 (PrefRec), Eq. (11)."""
    return np.floor(np.asarray(depth, np.float64) / average).clip(0, TOP_LEVEL)


def level_of_gap(gap: ArrayLike, average: NDArray[np.float64]) -> NDArray[np.float64]:
    """clip(floor(average / gap), 0, 5), elementwise, gap > 0. Source: Xue et al. 2023 (PrefRec), Eq. (11)."""
    return np.floor(average / np.asarray(gap, np.float64)).clip(0, TOP_LEVEL)


def user_averages(log: SessionLog) -> UserAverages:
    """Averages over each user's counted sessions: those with a return after a positive gap.

    A session's gap is the one after it, so that a user's last session has none and is censored.
    """
    counted = log.gaps > 0
    users, num_users = log.session_user_index[counted], len(log.user_ids)
    count = np.bincount(users, minlength=num_users).astype(np.float64)
    count[count == 0] = np.nan
    return UserAverages(
        user_ids=log.user_ids,
        depth=np.bincount(users, log.depths[counted], num_users) / count,
        gap=np.bincount(users, log.gaps[counted], num_users) / count,
    )


def session_levels(log: SessionLog, averages: UserAverages | None = None) -> SessionLevels:
    """Levels of every session of a log.

    Args:
        log: The sessions.
        averages: Of an earlier log of the same users; by default the log's own.

    Raises:
        DatasetError: If the averages are of other users.
    """
    averages = user_averages(log) if averages is None else averages
    position = {user: i for i, user in enumerate(averages.user_ids.tolist())}
    if missing := [user for user in log.user_ids.tolist() if user not in position]:
        raise DatasetError(f"averages must cover every user of the log, user {missing[0]} is missing")
    order = np.array([position[user] for user in log.user_ids.tolist()])[log.session_user_index]
    last, instant = np.isnan(log.gaps), log.gaps <= 0
    unknown = np.isnan(averages.depth[order]) & ~last & ~instant
    counted = ~(last | instant | unknown)

    depth, frequency = np.full((2, len(counted)), np.nan)
    depth[counted] = level_of_depth(log.depths[counted], averages.depth[order][counted])
    frequency[counted] = level_of_gap(log.gaps[counted], averages.gap[order][counted])
    exclusions = {
        "a user's last session, whose return was not seen": int(last.sum()),
        "no time passed before the next session": int(instant.sum()),
        "the user has no average": int(unknown.sum()),
    }
    return SessionLevels(
        depth=depth, frequency=frequency, mixture=(depth + frequency) / 2, exclusions=exclusions
    )


def mean_level_of_users(log: SessionLog, level: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over each user's counted sessions, [num_sessions] to [num_users]; NaN for a user without one."""
    counted = ~np.isnan(level)
    users, num_users = log.session_user_index[counted], len(log.user_ids)
    count = np.bincount(users, minlength=num_users).astype(np.float64)
    count[count == 0] = np.nan
    mean: NDArray[np.float64] = np.bincount(users, level[counted], num_users) / count
    return mean
