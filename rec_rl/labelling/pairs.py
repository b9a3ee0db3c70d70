"""Pairs of sessions to ask about: at random, or where an ensemble of rewards disagrees."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from rec_rl.data.labels import SessionPair
from rec_rl.data.sessions import SessionLog
from rec_rl.errors import DatasetError
from rec_rl.rewards.linear_reward import logistic_newton

Ints = NDArray[np.int64]

LONGEST = 40
"""Requests of a session that a person can still read."""

MEMBERS = 8
CANDIDATES_PER_PAIR = 20
FEWEST_LABELS = 20
"""Answers without a tie before the ensemble has a say."""
RIDGE = 1.0
"""In the session world the best of .01, .1 and 1 up to a few hundred labels."""


def session_pairs(
    log: SessionLog, num_pairs: int, rng: np.random.Generator, *, longest: int = LONGEST
) -> Ints:
    """Draws pairs of different sessions of one user: user uniform, then the sessions. Shape [num_pairs, 2].

    A user's last session is left out, since nobody saw whether they came back.

    Args:
        log: The sessions.
        num_pairs: Pairs to draw; the same one may come twice.
        rng: Of the draws.
        longest: Requests of a session at most.

    Raises:
        DatasetError: If no user has two such sessions.
    """
    (eligible,) = np.nonzero(~np.isnan(log.gaps) & (log.depths <= longest))
    users, first, count = np.unique(log.session_user_index[eligible], return_index=True, return_counts=True)
    first, count = first[count >= 2], count[count >= 2]
    if len(first) == 0:
        raise DatasetError(
            f"some user must have two sessions of at most {longest} requests after which they came back; "
            f"none of {len(users)} has"
        )
    user = rng.integers(0, len(first), num_pairs)
    a = rng.integers(0, count[user])
    b = (a + rng.integers(1, count[user])) % count[user]
    return eligible[first[user][:, None] + np.stack([a, b], axis=1)]


def new_pairs(
    drawn: Ints, known: Iterable[tuple[int, int]], num_pairs: int, *, one_per_user: Ints | None = None
) -> Ints:
    """The first pairs in order that are not known, in either order of their sides, at most ``num_pairs``.

    Args:
        drawn: Pairs of sessions, best first, shape [n, 2].
        known: Pairs that were asked about.
        num_pairs: Pairs wanted.
        one_per_user: Whose each session is, to take no user twice; None does not mind.
    """
    seen = {frozenset(pair) for pair in known}
    users: set[int] = set()
    kept = []
    for pair in drawn.tolist():
        user = None if one_per_user is None else int(one_per_user[pair[0]])
        if frozenset(pair) in seen or (user is not None and user in users):
            continue
        seen.add(frozenset(pair))
        if user is not None:
            users.add(user)
        kept.append(pair)
        if len(kept) == num_pairs:
            break
    return np.array(kept, np.int64).reshape(-1, 2)


def disagreement(
    sums: NDArray[np.float64],
    labelled: Ints,
    label: NDArray[np.float32],
    candidates: Ints,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Variance over an ensemble of P(a better than b), for each candidate, shape [num_candidates].

    The members are linear Bradley-Terry rewards, each fitted to a resample of the labels with replacement.
    Source: Seung, Opper and Sompolinsky 1992 (query by committee); Christiano et al. 2017, Sec. 2.2.4.

    Args:
        sums: Features of each session summed over its requests, shape [num_sessions, k].
        labelled: Pairs of sessions, shape [n, 2].
        label: 1 where the first is better, 0 where the second is, .5 for a tie; shape [n].
        candidates: Pairs of sessions, shape [num_candidates, 2].
        rng: Of the resamples.
    """
    known = sums[labelled[:, 0]] - sums[labelled[:, 1]]
    asked = sums[candidates[:, 0]] - sums[candidates[:, 1]]
    opinions = []
    for _ in range(MEMBERS):
        drawn = rng.integers(0, len(label), len(label))
        weights = logistic_newton(known[drawn], label[drawn], ridge=RIDGE)
        opinions.append(1 / (1 + np.exp(-(asked @ weights).clip(-30, 30))))
    variance: NDArray[np.float64] = np.var(opinions, axis=0)
    return variance


def random_choice(
    log: SessionLog, known: Iterable[tuple[int, int]], num_pairs: int, rng: np.random.Generator
) -> Ints:
    """New pairs at random, fewer than ``num_pairs`` where the log has no more. Shape [n, 2]."""
    return new_pairs(session_pairs(log, CANDIDATES_PER_PAIR * num_pairs, rng), known, num_pairs)


def active_choice(
    log: SessionLog,
    sums: NDArray[np.float64],
    labelled: Ints,
    label: NDArray[np.float32],
    known: Iterable[tuple[int, int]],
    num_pairs: int,
    rng: np.random.Generator,
) -> Ints:
    """New pairs on which the ensemble disagrees most, one per user; at random while there are few labels.

    Args:
        log: The sessions.
        sums, labelled, label: As for `disagreement`.
        known: Pairs that were asked about.
        num_pairs: Pairs wanted.
        rng: Of the candidates and the resamples.
    """
    if (label != 0.5).sum() < FEWEST_LABELS:
        return random_choice(log, known, num_pairs, rng)
    candidates = session_pairs(log, CANDIDATES_PER_PAIR * num_pairs, rng)
    best_first = np.argsort(-disagreement(sums, labelled, label, candidates, rng), kind="stable")
    return new_pairs(candidates[best_first], known, num_pairs, one_per_user=log.session_user_index)


def to_segments(log: SessionLog, pairs: Ints) -> list[SessionPair]:
    """Pairs of sessions [n, 2] as segments of their users' histories."""
    users = log.session_user_index[pairs]
    starts = log.session_starts[pairs] - log.user_starts[users]
    return [
        SessionPair(
            user_a=int(user[0]),
            start_a=int(start[0]),
            length_a=int(length[0]),
            user_b=int(user[1]),
            start_b=int(start[1]),
            length_b=int(length[1]),
        )
        for user, start, length in zip(log.session_users[pairs], starts, log.depths[pairs], strict=True)
    ]


def to_sessions(log: SessionLog, pairs: Iterable[SessionPair]) -> Ints:
    """The inverse of `to_segments`, shape [n, 2].

    Raises:
        DatasetError: If the log has no such user.
    """
    block = {user: i for i, user in enumerate(log.user_ids.tolist())}
    try:
        rows = [
            (log.user_starts[block[p.user_a]] + p.start_a, log.user_starts[block[p.user_b]] + p.start_b)
            for p in pairs
        ]
    except KeyError as error:
        raise DatasetError(f"the log has no user {error}, whose sessions were asked about") from error
    first_rows = np.array(rows, np.int64).reshape(-1, 2)
    return np.searchsorted(log.session_starts, first_rows, side="right") - 1
