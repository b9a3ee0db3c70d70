"""Session logs: who asked for what and when, in what state, what was served (PrefRec Sec. 5.1)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rec_rl.data.behaviour import GaussianBehaviour, gaussian_log_density
from rec_rl.data.half import is_finite
from rec_rl.data.hashing import content_hash
from rec_rl.errors import DatasetError

CHUNK = 1 << 16


class RequestReward(Protocol):
    """Rewards requests: states [n, S] and actions [n, A] to [n]."""

    def __call__(self, states: NDArray[Any], actions: NDArray[np.float32], /) -> NDArray[np.float32]: ...


@dataclass(frozen=True, kw_only=True)
class SessionLog:
    """Requests in order of user and time; sessions and users are blocks of rows.

    A request's next state is that of the next row, so that every state is stored once. The last request of
    a user has none and is no transition. There are no terminals: s' crosses sessions.

    Attributes:
        states: Shape [n, S], float16, finite. Normalise and clip before: float16 ends at 65504.
        actions: What was served, shape [n, A], float32, finite.
        times: Hours since any origin, shape [n], float64, not falling within a user.
        session_starts: First row of each session, shape [m], int64.
        session_users: Whose session it is, shape [m], int64; a user's sessions are adjacent.
        behaviour_mean: Mean of the policy that served, shape [n, A], float32; None where unknown.
        behaviour_scale: Its noise's standard deviation, shape [A], float32; known where the mean is.
        log_propensity: Log density of the served action, shape [n], float32; None where unknown.
        items: Which item was served, shape [n], int64, codes of a table of items; None where unknown.
        feedback: Named signals of the user, shape [n] each, float32. NaN where not observed.
    """

    states: NDArray[np.float16]
    actions: NDArray[np.float32]
    times: NDArray[np.float64]
    session_starts: NDArray[np.int64]
    session_users: NDArray[np.int64]
    behaviour_mean: NDArray[np.float32] | None = None
    behaviour_scale: NDArray[np.float32] | None = None
    log_propensity: NDArray[np.float32] | None = None
    items: NDArray[np.int64] | None = None
    feedback: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.actions.ndim != 2 or 0 in self.actions.shape:
            raise DatasetError(f"actions must have shape [n, A] with n, A >= 1, got {self.actions.shape}")
        self._check_columns()
        self._check_finite()
        self._check_order()

    def __len__(self) -> int:
        return len(self.actions)

    @cached_property
    def user_ids(self) -> NDArray[np.int64]:
        """Users in the order of their blocks, shape [num_users]."""
        return self.session_users[self._first_sessions]

    @cached_property
    def user_starts(self) -> NDArray[np.int64]:
        """First row of each user and, last, the number of rows, shape [num_users + 1]."""
        return np.append(self.session_starts[self._first_sessions], len(self))

    @cached_property
    def session_user_index(self) -> NDArray[np.int64]:
        """Position of each session's user in ``user_ids``, shape [m]."""
        opens = np.zeros(len(self.session_users), np.int64)
        opens[self._first_sessions[1:]] = 1
        return opens.cumsum()

    @cached_property
    def depths(self) -> NDArray[np.int64]:
        """Requests of each session, shape [m]."""
        return np.diff(self.session_starts, append=len(self))

    @cached_property
    def gaps(self) -> NDArray[np.float64]:
        """Hours from a session's end to the user's next request, shape [m]; NaN for a user's last session."""
        gaps = np.full(len(self.session_starts), np.nan)
        gaps[:-1] = self.times[self.session_starts[1:]] - self.times[self.session_starts[1:] - 1]
        gaps[self._first_sessions[1:] - 1] = np.nan
        return gaps

    @property
    def session_index(self) -> NDArray[np.int64]:
        """Session of each request, shape [n]."""
        return np.repeat(np.arange(len(self.depths)), self.depths)

    @property
    def user_index(self) -> NDArray[np.int64]:
        """Position of each request's user in ``user_ids``, shape [n]."""
        return np.repeat(np.arange(len(self.user_ids)), np.diff(self.user_starts))

    @property
    def transition_rows(self) -> NDArray[np.int64]:
        """Rows that have a next state, which is that of the row after, shape [n - num_users]."""
        has_next = np.ones(len(self), np.bool_)
        has_next[self.user_starts[1:] - 1] = False
        return np.flatnonzero(has_next)

    def user_blocks(self, max_rows: int = CHUNK) -> Iterator[slice]:
        """Rows of whole users, at most ``max_rows`` at a time where no user has more."""
        ends = self.user_starts
        first = 0
        while first < len(ends) - 1:
            last = max(first + 1, int(np.searchsorted(ends, ends[first] + max_rows, side="right")) - 1)
            yield slice(int(ends[first]), int(ends[last]))
            first = last

    @property
    def behaviour(self) -> GaussianBehaviour | None:
        """The recorded behaviour; None where it has to be fitted."""
        if self.behaviour_mean is None or self.behaviour_scale is None:
            return None
        return GaussianBehaviour(mean=self.behaviour_mean, scale=self.behaviour_scale)

    def log_ratio(
        self, target_mean: NDArray[np.float32], behaviour: GaussianBehaviour
    ) -> NDArray[np.float32]:
        """log pi(a|s) - log b(a|s) of each logged action, shape [n], for a policy served with the same noise.

        Args:
            target_mean: The policy's mean at each request, shape [n, A].
            behaviour: Known or fitted. Its density stands for b where no propensity was recorded.
        """
        if self.log_propensity is None:
            return behaviour.log_ratio(self.actions, target_mean)
        return gaussian_log_density(self.actions, target_mean, behaviour.scale) - self.log_propensity

    @cached_property
    def content_hash(self) -> str:
        """SHA-256 of every column."""
        named = [self.feedback[name] for name in sorted(self.feedback)]
        fixed = [array for array in self._arrays().values() if array is not None]
        return content_hash(*fixed, *named)

    @property
    def num_bytes(self) -> int:
        """Bytes of all columns in memory."""
        arrays = [*self._arrays().values(), *self.feedback.values()]
        return sum(array.nbytes for array in arrays if array is not None)

    def of_users(self, chosen: NDArray[np.bool_]) -> "SessionLog":
        """The log of the users where ``chosen`` [num_users] is true.

        Raises:
            DatasetError: If no user is chosen.
        """
        if chosen.shape != self.user_ids.shape:
            raise ValueError(f"chosen must have shape {self.user_ids.shape}, got {chosen.shape}")
        if not chosen.any():
            raise DatasetError("a log must have >= 1 user, none was chosen")
        rows, sessions = chosen[self.user_index], chosen[self.session_user_index]

        def of_rows(array: NDArray[Any] | None) -> NDArray[Any] | None:
            return None if array is None else array[rows]

        depths = self.depths[sessions]
        return replace(
            self,
            states=self.states[rows],
            actions=self.actions[rows],
            times=self.times[rows],
            session_starts=np.append(0, depths[:-1].cumsum()),
            session_users=self.session_users[sessions],
            behaviour_mean=of_rows(self.behaviour_mean),
            log_propensity=of_rows(self.log_propensity),
            items=of_rows(self.items),
            feedback={name: array[rows] for name, array in self.feedback.items()},
        )

    def split(self, share: float, *, seed: int) -> tuple["SessionLog", "SessionLog"]:
        """All but a share of the users, and the share.

        Raises:
            DatasetError: If one side would be empty.
        """
        if not 0 < share < 1:
            raise ValueError(f"share must be in (0, 1), got {share}")
        num_users = len(self.user_ids)
        num_chosen = round(share * num_users)
        if not 0 < num_chosen < num_users:
            raise DatasetError(f"too few users to hold out a share of {share}: got {num_users}")
        chosen = np.zeros(num_users, np.bool_)
        chosen[np.random.default_rng(seed).permutation(num_users)[:num_chosen]] = True
        return self.of_users(~chosen), self.of_users(chosen)

    @cached_property
    def _first_sessions(self) -> NDArray[np.int64]:
        return np.flatnonzero(np.diff(self.session_users, prepend=self.session_users[0] - 1) != 0)

    def _arrays(self) -> dict[str, NDArray[Any] | None]:
        names = ("states", "actions", "times", "session_starts", "session_users")
        optional = ("behaviour_mean", "behaviour_scale", "log_propensity", "items")
        return {name: getattr(self, name) for name in (*names, *optional)}

    def _check_columns(self) -> None:
        n, sessions, actions = len(self), len(self.session_starts), self.actions.shape[1]
        expected: dict[str, tuple[type, tuple[int, ...]]] = {
            "states": (np.float16, (n, self.states.shape[-1])),
            "actions": (np.float32, (n, actions)),
            "times": (np.float64, (n,)),
            "session_starts": (np.int64, (sessions,)),
            "session_users": (np.int64, (sessions,)),
            "behaviour_mean": (np.float32, (n, actions)),
            "behaviour_scale": (np.float32, (actions,)),
            "log_propensity": (np.float32, (n,)),
            "items": (np.int64, (n,)),
        }
        for name, array in self._arrays().items():
            dtype, shape = expected[name]
            _check_column(name, array, dtype, shape)
        for name, array in self.feedback.items():
            _check_column(f"feedback {name}", array, np.float32, (n,))
        if (self.behaviour_mean is None) != (self.behaviour_scale is None):
            raise DatasetError("behaviour_mean and behaviour_scale must come together, got one of them")
        if self.behaviour_scale is not None and not (self.behaviour_scale > 0).all():
            raise DatasetError(f"behaviour_scale must be > 0, got {self.behaviour_scale.min()}")

    def _check_finite(self) -> None:
        for start in range(0, len(self), CHUNK):
            finite = is_finite(self.states[start : start + CHUNK])
            if not finite.all():
                row = int(np.argmin(finite.all(axis=1)))
                raise DatasetError(
                    f"states must be finite and within float16, row {start + row} column "
                    f"{int(np.argmin(finite[row]))} is not"
                )
        for name in ("actions", "times", "behaviour_mean", "log_propensity"):
            array = getattr(self, name)
            if array is not None and not np.isfinite(array).all():
                row = int(np.argmin(np.isfinite(array).reshape(len(self), -1).all(axis=1)))
                hint = (
                    "" if name in ("actions", "times") else "; without the column the behaviour can be fitted"
                )
                raise DatasetError(f"{name} must be finite, row {row} is not{hint}")

    def _check_order(self) -> None:
        starts = self.session_starts
        if len(starts) == 0 or starts[0] != 0 or (np.diff(starts, append=len(self)) < 1).any():
            raise DatasetError("session_starts must rise from 0 and stay below the number of rows")
        if len(np.unique(self.user_ids)) < len(self.user_ids):
            ids, counts = np.unique(self.user_ids, return_counts=True)
            raise DatasetError(f"a user's rows must be adjacent, those of user {ids[counts > 1][0]} are not")
        falls = np.diff(self.times) < 0
        falls[self.user_starts[1:-1] - 1] = False
        if falls.any():
            row = int(np.argmax(falls)) + 1
            raise DatasetError(
                f"times must not fall within a user, row {row} is earlier than the row before it"
            )


def _check_column(name: str, array: NDArray[Any] | None, dtype: type, shape: tuple[int, ...]) -> None:
    if array is not None and (array.dtype != dtype or array.shape != shape):
        raise DatasetError(
            f"{name} must be {np.dtype(dtype)} of shape {shape}, got {array.dtype} of {array.shape}"
        )
