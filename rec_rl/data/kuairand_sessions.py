"""A session log from KuaiRand's real exposures: item vectors, sessions and states by a seeded procedure.

- Request: one exposure. Session: exposures of a user less than SESSION_GAP_MINUTES apart.
- Action: the item's vector. Items clicked by at least MIN_CLICKS users get theirs from a truncated SVD of
  log(1 + clicks), users by items; each dimension is scaled to deviation 1 over the log's requests. Colder
  items get the mean vector of their category's warm items, or 0 where it has none; feedback "cold_item"
  marks them.
- State: what was known before the request, standardised over the log and clipped to +-CLIP: fading means
  (fast and slow) of the vectors shown and of those clicked, and of the feedback; requests of the session so
  far, sessions so far, log gap before this session and its fading mean, log depth of the last session and
  its fading mean, and the hour of the day.

There are no propensities, so the behaviour has to be fitted, and most sessions are one request long: see
    `audit_log`.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.decomposition import TruncatedSVD

from rec_rl.data.half import to_half
from rec_rl.data.interactions import Interactions
from rec_rl.data.kuairand import load_kuairand
from rec_rl.data.sessions import SessionLog

Floats = NDArray[np.float32]

VECTOR_DIM = 8
MIN_CLICKS = 5
SESSION_GAP_MINUTES = 30
FAST, SLOW = 0.3, 0.03
CLIP = 5.0

_HOUR_MS = 3_600_000
_SIGNALS = ("is_like", "long_view")


def convert_kuairand(folder: Path, *, seed: int = 0) -> SessionLog:
    """Builds the log of a folder of KuaiRand files, as `load_kuairand` finds them.

    Args:
        folder: Holds the logs and the video features.
        seed: Of the SVD.

    Raises:
        DatasetError: If a file is missing or corrupt.
    """
    interactions = load_kuairand(folder)
    shown = interactions.exposed
    users, items, times = (getattr(interactions, name)[shown] for name in ("users", "items", "times"))
    vectors, cold = item_vectors(interactions, seed=seed)
    actions = vectors[items]
    hours = times / _HOUR_MS
    opens = np.ones(len(users), np.bool_)
    opens[1:] = (np.diff(users) != 0) | (np.diff(hours) >= SESSION_GAP_MINUTES / 60)
    starts = np.flatnonzero(opens)
    feedback = {name: interactions.feedback[name][shown] for name in _SIGNALS}
    feedback["click"] = interactions.actions[shown].astype(np.float32)
    states = _states(users, hours, opens, actions, feedback)
    return SessionLog(
        states=to_half(states),
        actions=actions,
        times=hours.astype(np.float64),
        session_starts=starts,
        session_users=users[starts].astype(np.int64),
        feedback=feedback | {"cold_item": cold[items].astype(np.float32)},
    )


def item_vectors(interactions: Interactions, *, seed: int) -> tuple[Floats, NDArray[np.bool_]]:
    """Vector of each item code, shape [codes, 8], and whether it is only its category's; code 0 is none."""
    clicked = interactions.actions == 1
    num_items, num_users = interactions.item_ids.num_codes, interactions.user_ids.num_codes
    pairs = (interactions.users[clicked], interactions.items[clicked])
    clicks = sparse.csr_matrix((np.ones(clicked.sum()), pairs), shape=(num_users, num_items))
    cold = np.asarray((clicks > 0).sum(axis=0)).ravel() < MIN_CLICKS
    svd = TruncatedSVD(VECTOR_DIM, random_state=seed).fit(clicks[:, ~cold].log1p())
    vectors = np.zeros((num_items, VECTOR_DIM))
    vectors[~cold] = svd.components_.T
    spread = vectors[interactions.items[interactions.exposed]].std(axis=0)
    vectors /= np.where(spread > 0, spread, 1)
    category = interactions.item_categories
    warm = np.bincount(category[~cold], minlength=interactions.category_ids.num_codes)
    for dimension in range(VECTOR_DIM):
        total = np.bincount(category[~cold], vectors[~cold, dimension], len(warm))
        vectors[cold, dimension] = (total / np.maximum(warm, 1))[category[cold]]
    return vectors.astype(np.float32), cold


def _states(
    users: NDArray[np.int32],
    hours: NDArray[np.float64],
    opens: NDArray[np.bool_],
    actions: Floats,
    feedback: Mapping[str, Floats],
) -> Floats:
    """States of all requests, shape [n, S], from what each user did before them."""
    click = feedback["click"][:, None]
    seen = np.hstack([actions, actions * click, *(np.nan_to_num(x)[:, None] for x in feedback.values())])
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
    states = np.hstack([traces, rhythm, clock])
    spread = states.std(axis=0)
    standard = (states - states.mean(axis=0)) / np.where(spread > 1e-6, spread, 1)
    return np.asarray(standard.clip(-CLIP, CLIP), dtype=np.float32)


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
