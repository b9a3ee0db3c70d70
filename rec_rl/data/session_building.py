"""Session logs from rows of users and items: sessions, item vectors and states by one seeded procedure.

- Request: one exposure. Session: exposures of a user less than the session gap apart, or as the log names
  them.
- Action: the item's vector. Items clicked by at least MIN_CLICKS users get theirs from a truncated SVD of
  log(1 + clicks), users by items; each dimension is scaled to deviation 1 over the requests. Colder items
  get the mean vector of their category's warm items, or 0 where it has none; feedback "cold_item" marks
  them.
- State: what was known before the request, standardised and clipped to +-CLIP: fading means (fast and slow)
  of the vectors shown and of those clicked, and of the feedback; requests of the session so far, sessions so
  far, log gap before this session and its fading mean, log depth of the last session and its fading mean,
  and the hour of the day.

Everything fitted (vectors, scales, means) may be fitted on some of the users alone, so that the others can
judge what is learned. There are no propensities: the behaviour has to be fitted, see `audit_log`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.decomposition import TruncatedSVD

from rec_rl.data.half import to_half
from rec_rl.data.interactions import Interactions
from rec_rl.data.sessions import SessionLog
from rec_rl.errors import DatasetError

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]

MIN_CLICKS = 5
FAST, SLOW = 0.3, 0.03
CLIP = 5.0
CLICK, COLD = "click", "cold_item"

_HOUR_MS = 3_600_000


@dataclass(frozen=True, kw_only=True)
class SessionBuild:
    """How sessions are built.

    Attributes:
        gap_minutes: A session ends where this much time or more passed, > 0.
        item_dim: Numbers of an item's vector, >= 1.
        signals: Columns of feedback that become part of the states.
        seed: Of the SVD.
    """

    gap_minutes: float = 30.0
    item_dim: int = 8
    signals: tuple[str, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.gap_minutes > 0:
            raise ValueError(f"gap_minutes must be > 0, got {self.gap_minutes}")
        if self.item_dim < 1:
            raise ValueError(f"item_dim must be >= 1, got {self.item_dim}")


@dataclass(frozen=True, kw_only=True)
class BuiltSessions:
    """A session log and what it was built with.

    Attributes:
        log: Every exposure; its ``items`` are rows of ``vectors``, its users codes of the interactions.
        vectors: Of each item, in the order of their codes, which begin with 1; shape [num_items, item_dim].
        cold: Whether an item's vector is only its category's, shape [num_items].
        next_states: State in which each user of the log would be if they came back when the log ends,
            shape [num_users, S].
    """

    log: SessionLog
    vectors: Floats
    cold: Bools
    next_states: Floats


def build_sessions(
    interactions: Interactions, build: SessionBuild, fitted_on: Bools | None = None
) -> BuiltSessions:
    """Builds the sessions of a log whose times are milliseconds.

    Args:
        interactions: Rows that were not exposed only serve the item vectors.
        build: How.
        fitted_on: Users that vectors, scales and means are fitted on, by code, shape [user codes]; None: all.

    Raises:
        DatasetError: If too few items are warm for vectors of this size.
    """
    everyone = np.ones(interactions.user_ids.num_codes, np.bool_)
    fitted_on = everyone if fitted_on is None else fitted_on
    vectors, cold = item_vectors(interactions, build, fitted_on)
    shown = interactions.rows(interactions.exposed)
    if len(shown) == 0:
        raise DatasetError("the log holds no row that was shown")
    actions = vectors[shown.items]
    feedback = {name: shown.feedback[name] for name in build.signals}
    feedback[CLICK] = shown.actions.astype(np.float32)
    opens = session_opens(shown, build.gap_minutes)
    states, next_states = _states_and_next(shown, opens, actions, feedback, build.gap_minutes)
    fitted_rows = fitted_on[shown.users]
    center, spread = states[fitted_rows].mean(axis=0), states[fitted_rows].std(axis=0)
    spread = np.where(spread > 1e-6, spread, 1)

    def standard(raw: NDArray[np.float64]) -> Floats:
        return np.asarray(((raw - center) / spread).clip(-CLIP, CLIP), dtype=np.float32)

    starts = np.flatnonzero(opens)
    log = SessionLog(
        states=to_half(standard(states)),
        actions=actions,
        times=shown.times / _HOUR_MS,
        session_starts=starts,
        session_users=shown.users[starts].astype(np.int64),
        items=shown.items.astype(np.int64) - 1,
        feedback=feedback | {COLD: cold[shown.items].astype(np.float32)},
    )
    return BuiltSessions(log=log, vectors=vectors[1:], cold=cold[1:], next_states=standard(next_states))


def item_vectors(interactions: Interactions, build: SessionBuild, fitted_on: Bools) -> tuple[Floats, Bools]:
    """Vector of each item code, shape [codes, item_dim], and whether it is only its category's; 0 is none.

    Args:
        interactions: The log.
        build: How.
        fitted_on: Users whose rows count, by code.

    Raises:
        DatasetError: If fewer than ``item_dim`` items are warm.
    """
    fitted = fitted_on[interactions.users]
    clicked = fitted & (interactions.actions == 1)
    num_items, num_users = interactions.item_ids.num_codes, interactions.user_ids.num_codes
    pairs = (interactions.users[clicked], interactions.items[clicked])
    clicks = sparse.csr_matrix((np.ones(clicked.sum()), pairs), shape=(num_users, num_items))
    cold = np.asarray((clicks > 0).sum(axis=0)).ravel() < MIN_CLICKS
    if (num_warm := int((~cold).sum())) < build.item_dim:
        raise DatasetError(
            f"vectors of {build.item_dim} numbers need as many items that {MIN_CLICKS} users clicked, "
            f"got {num_warm}; take fewer numbers or a longer log"
        )
    svd = TruncatedSVD(build.item_dim, random_state=build.seed).fit(clicks[:, ~cold].log1p())
    vectors = np.zeros((num_items, build.item_dim))
    vectors[~cold] = svd.components_.T
    spread = vectors[interactions.items[interactions.exposed & fitted]].std(axis=0)
    vectors /= np.where(spread > 0, spread, 1)
    category = interactions.item_categories
    warm = np.bincount(category[~cold], minlength=interactions.category_ids.num_codes)
    for dimension in range(build.item_dim):
        total = np.bincount(category[~cold], vectors[~cold, dimension], len(warm))
        vectors[cold, dimension] = (total / np.maximum(warm, 1))[category[cold]]
    vectors[0] = 0
    return vectors.astype(np.float32), cold


def session_opens(shown: Interactions, gap_minutes: float) -> Bools:
    """Whether a row opens a session, shape [n]: by the log's own sessions, else where the gap has passed."""
    opens = np.ones(len(shown), np.bool_)
    if shown.sessions is None:
        parted = np.diff(shown.times) >= gap_minutes * 60_000
    else:
        parted = np.diff(shown.sessions) != 0
    opens[1:] = (np.diff(shown.users) != 0) | parted
    return opens


def _states_and_next(
    shown: Interactions, opens: Bools, actions: Floats, feedback: Mapping[str, Floats], gap_minutes: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Raw states of all requests and of one more request of each user at the log's end.

    A state never depends on its own row, so the row that is added may hold anything.
    """
    last = np.append(np.flatnonzero(np.diff(shown.users)), len(shown) - 1)
    at = last + 1
    end = shown.times.max()
    comes_back = end - shown.times[last] >= gap_minutes * 60_000
    states = _states(
        np.insert(shown.users, at, shown.users[last]),
        np.insert(shown.times, at, end) / _HOUR_MS,
        np.insert(opens, at, comes_back),
        np.insert(actions, at, 0, axis=0),
        [np.insert(signal, at, 0) for signal in feedback.values()],
        click=np.insert(feedback[CLICK], at, 0),
    )
    added = at + np.arange(len(at))
    return np.delete(states, added, axis=0), states[added]


def _states(
    users: NDArray[np.int32],
    hours: NDArray[np.float64],
    opens: Bools,
    actions: Floats,
    signals: Sequence[Floats],
    *,
    click: Floats,
) -> NDArray[np.float64]:
    """States of all requests, shape [n, S], from what each user did before them."""
    seen = np.hstack([actions, actions * click[:, None], *(np.nan_to_num(x)[:, None] for x in signals)])
    first = np.flatnonzero(np.diff(users, prepend=-1) != 0)
    position = np.arange(len(users)) - np.repeat(first, np.diff(first, append=len(users)))
    traces = np.hstack([_fading_means(seen, first, position, rate) for rate in (FAST, SLOW)])

    starts = np.flatnonzero(opens)
    session = opens.cumsum() - 1
    request = np.arange(len(users)) - starts[session]
    new_user = np.isin(starts, first)
    gap = np.where(new_user, 0, np.log(np.maximum(np.diff(hours[starts], prepend=0), 1e-3)))
    depth = np.where(new_user, 0, np.log(np.append(1, np.diff(starts))))
    of_session = np.stack([gap, depth], axis=1)
    first_session = np.flatnonzero(new_user)
    number = np.arange(len(starts)) - np.repeat(first_session, np.diff(first_session, append=len(starts)))
    averages = 0.2 * of_session + 0.8 * _fading_means(of_session, first_session, number, 0.2)
    rhythm = np.hstack([of_session, averages, np.log1p(number)[:, None]])[session]
    angle = 2 * np.pi * (hours % 24) / 24
    clock = np.stack([np.log1p(request), np.sin(angle), np.cos(angle)], axis=1)
    return np.hstack([traces, rhythm, clock])


def _fading_means(
    signal: NDArray[np.floating], first: NDArray[np.int64], position: NDArray[np.int64], rate: float
) -> NDArray[np.float64]:
    """m_t = m_{t-1} + rate (x_{t-1} - m_{t-1}) from 0 at each user's first row, shape of ``signal`` [n, k].

    Args:
        signal: Shape [n, k].
        first: First row of each user.
        position: Row within its user, shape [n].
        rate: In (0, 1].
    """
    means = np.zeros(signal.shape)
    length = np.diff(first, append=len(signal))
    for t in range(1, int(position.max(initial=0)) + 1):
        rows = first[length > t] + t
        before = means[rows - 1]
        means[rows] = before + rate * (signal[rows - 1] - before)
    return means
