"""Training, validation and test rows for click models, with their hash.

A row asks: with this history, is this item clicked? Histories are slices of one array of past items, so that
a long log is never copied per row.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rec_rl.data.hashing import content_hash
from rec_rl.data.interactions import Interactions
from rec_rl.errors import ConfigError, DatasetError

SAMPLED = -1  # the source of a row that no log holds


@dataclass(frozen=True, kw_only=True)
class Impressions:
    """Rows (user, history, item shown, click).

    Attributes:
        users, items: Codes >= 0, int32, shape [n].
        clicks: 0 or 1, int8, shape [n].
        starts, ends: The history is ``history[start:end]`` of the data set, oldest first, int64, shape [n].
        sources: Row of the log, int64, shape [n]; SAMPLED for a sampled negative, which is no decision.
    """

    users: NDArray[np.int32]
    items: NDArray[np.int32]
    clicks: NDArray[np.int8]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    sources: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.users)

    @property
    def columns(self) -> tuple[NDArray[np.generic], ...]:
        """All columns in a fixed order."""
        return (self.users, self.items, self.clicks, self.starts, self.ends, self.sources)

    def rows(self, index: NDArray[np.int64] | NDArray[np.bool_]) -> "Impressions":
        """The rows at ``index``, in its order."""
        return Impressions(
            users=self.users[index],
            items=self.items[index],
            clicks=self.clicks[index],
            starts=self.starts[index],
            ends=self.ends[index],
            sources=self.sources[index],
        )

    def followed_by(self, others: "Impressions") -> "Impressions":
        """These rows, then the others."""
        columns: dict[str, Any] = {
            column.name: np.concatenate([getattr(self, column.name), getattr(others, column.name)])
            for column in fields(self)
        }
        return Impressions(**columns)


@dataclass(frozen=True, kw_only=True)
class ClickDataset:
    """Everything a click model is trained and judged on.

    Attributes:
        train, validation, test: Never empty.
        history: Items that users acted on, by user and time, int32.
        item_categories: Category code of each item code, int32, shape [num_items].
        num_users, num_items, num_categories: Rows of the embedding tables, the unknown one included.
        settings: What the split was made with.
        notes: What the loader and the split left out or repaired, and how often.
    """

    train: Impressions
    validation: Impressions
    test: Impressions
    history: NDArray[np.int32]
    item_categories: NDArray[np.int32]
    num_users: int
    num_items: int
    num_categories: int
    settings: Mapping[str, str | int | float]
    notes: Mapping[str, int]

    def __post_init__(self) -> None:
        for name in ("train", "validation", "test"):
            if len(getattr(self, name)) == 0:
                raise DatasetError(f"the log is too small for this split: no {name} rows are left")

    @cached_property
    def content_hash(self) -> str:
        """SHA-256 of data, split and settings: only results of the same hash are comparable."""
        parts = (*self.train.columns, *self.validation.columns, *self.test.columns)
        settings = np.frombuffer(json.dumps(dict(self.settings), sort_keys=True).encode(), np.uint8)
        return content_hash(*parts, self.history, self.item_categories, settings)


def sampled_negative_split(
    log: Interactions,
    *,
    seed: int,
    test_seed: int | None = None,
    validation_share: float = 0.1,
    max_history: int = 100,
) -> ClickDataset:
    """DIN's protocol: every action beside one sampled item that the user never acted on.

    A user's last action is for the test or, for a share of the users, for validation; those before it, except
    the first, which has no history, are for training. Negatives are uniform over items and no decisions.
    Source: Zhou et al. 2018 (DIN), Sec. 6.1 and the authors' code.

    Differs from the paper: some users' last actions are kept apart for validation; DIN's code stops on the
    test rows.

    Args:
        log: Of which only the actions are used.
        seed: Of the validation users and of the negatives.
        test_seed: Of the test negatives, ``seed`` if None.
        validation_share: Share of users, in (0, 1).
        max_history: Items of history kept, the latest.

    Raises:
        DatasetError: If a user acted on every item or too few rows are left.
    """
    _check_settings(max_history, validation_share)
    rows = np.flatnonzero(log.actions == 1)
    users, items = log.users[rows], log.items[rows]
    offsets = np.searchsorted(users, np.arange(log.user_ids.num_codes + 1))
    count = np.diff(offsets)[users]
    place = np.arange(len(rows)) - offsets[users]
    sampler = NegativeSampler(users, items, log.item_ids.num_codes)
    is_last = (place == count - 1) & (count > 1)
    order = np.random.default_rng([seed, 3]).permutation(np.flatnonzero(is_last))
    held_for_validation = np.zeros(len(rows), np.bool_)
    held_for_validation[order[: round(validation_share * len(order))]] = True
    test_seed = seed if test_seed is None else test_seed

    def pairs(chosen: NDArray[np.bool_], rng: np.random.Generator) -> Impressions:
        index = np.repeat(np.flatnonzero(chosen), 2)  # every action is followed by its negative
        sampled = np.arange(len(index)) % 2 == 1
        shown = items[index]
        shown[sampled] = sampler.draw(users[index[sampled]], rng)
        return Impressions(
            users=users[index],
            items=shown,
            clicks=(~sampled).astype(np.int8),
            starts=np.maximum(offsets[users[index]], index - max_history),
            ends=index,
            sources=np.where(sampled, SAMPLED, rows[index]),
        )

    return _dataset(
        log,
        history=items,
        train=pairs((place > 0) & (place < count - 1), np.random.default_rng([seed, 0])),
        validation=pairs(held_for_validation, np.random.default_rng([seed, 1])),
        test=pairs(is_last & ~held_for_validation, np.random.default_rng([test_seed, 2])),
        settings={
            "protocol": "sampled negatives",
            "seed": seed,
            "test_seed": test_seed,
            "validation_share": validation_share,
            "max_history": max_history,
        },
        left_out={
            "users with a single action, history only": int((np.diff(offsets) == 1).sum()),
            "rows without an action, unused": len(log) - len(rows),
        },
    )


def exposure_split(
    log: Interactions, *, validation_share: float = 0.1, test_share: float = 0.1, max_history: int = 100
) -> ClickDataset:
    """Real exposures by time: the first for training, the next for validation, the last for the test.

    The history of a row is what its user acted on strictly before it.

    Args:
        log: With exposures of both outcomes; rows that were not exposed serve as history.
        validation_share, test_share: Of the exposures, in (0, 1), together below 1.
        max_history: Items of history kept, the latest.

    Raises:
        DatasetError: If the log holds no exposures, no skips or no clicks among them.
    """
    _check_settings(max_history, validation_share, test_share, validation_share + test_share)
    exposed = np.flatnonzero(log.exposed)
    if len(exposed) == 0:
        raise DatasetError("the log records no exposures: a skip is unknown, use sampled negatives")
    for action, name in ((1, "click"), (0, "skip")):
        if not (log.actions[exposed] == action).any():
            raise DatasetError(
                f"the log's {len(exposed)} exposures hold no {name}: there is nothing to tell apart"
            )
    acted = log.actions == 1
    before = np.concatenate([[0], np.cumsum(acted)])
    ends = before[_first_of_same_time(log)]
    rows = Impressions(
        users=log.users,
        items=log.items,
        clicks=log.actions,
        starts=np.maximum(before[log.user_offsets[log.users]], ends - max_history),
        ends=ends,
        sources=np.arange(len(log)),
    )
    by_time = exposed[np.argsort(log.times[exposed], kind="stable")]
    times = log.times[by_time]
    cuts = [int(len(by_time) * share) for share in (1 - validation_share - test_share, 1 - test_share)]
    cuts = [int(np.searchsorted(times, times[cut])) for cut in cuts]  # one moment is never in two parts
    train, validation, test = np.split(by_time, cuts)
    return _dataset(
        log,
        history=log.items[acted],
        train=rows.rows(train),
        validation=rows.rows(validation),
        test=rows.rows(test),
        settings={
            "protocol": "exposures",
            "validation_share": validation_share,
            "test_share": test_share,
            "max_history": max_history,
        },
        left_out={"rows without an exposure, history only": len(log) - len(exposed)},
    )


def split_log(log: Interactions, *, seed: int, max_history: int = 100) -> ClickDataset:
    """By time where the log records exposures, by DIN's protocol with sampled negatives where it does not."""
    if log.exposed.any():
        return exposure_split(log, max_history=max_history)
    return sampled_negative_split(log, seed=seed, max_history=max_history)


def hold_out_users(data: ClickDataset, share: float, *, seed: int) -> ClickDataset:
    """The training rows of a share of the users become test rows, beside those that are there.

    Raises:
        DatasetError: If one side would be empty.
    """
    _check_settings(1, share)
    users = np.unique(data.train.users)
    chosen = np.random.default_rng([seed, 4]).permutation(users)[: round(share * len(users))]
    held_out = np.isin(data.train.users, chosen)
    return replace(
        data,
        train=data.train.rows(~held_out),
        test=data.test.followed_by(data.train.rows(held_out)),
        settings={**data.settings, "held_out_users": share},
    )


class NegativeSampler:
    """Draws items that a user never acted on, uniformly."""

    def __init__(self, users: NDArray[np.int32], items: NDArray[np.int32], num_items: int) -> None:
        self._num_items = num_items
        self._seen = np.unique(users.astype(np.int64) * num_items + items)
        seen_by_user = np.bincount(self._seen // num_items)
        if seen_by_user.max(initial=0) >= num_items - 1:
            user = int(np.argmax(seen_by_user))
            raise DatasetError(f"user code {user} acted on all {num_items - 1} items: no negative is left")

    def draw(self, users: NDArray[np.int32], rng: np.random.Generator) -> NDArray[np.int32]:
        """One item code per user, shape of ``users``."""
        items = np.empty(len(users), np.int32)
        pending = np.arange(len(users))
        while len(pending):
            items[pending] = rng.integers(1, self._num_items, len(pending))
            keys = users[pending].astype(np.int64) * self._num_items + items[pending]
            at = np.searchsorted(self._seen, keys).clip(max=len(self._seen) - 1)
            pending = pending[self._seen[at] == keys]
        return items


def _first_of_same_time(log: Interactions) -> NDArray[np.int64]:
    """For each row, the first row of the same user and time."""
    first = np.ones(len(log), np.bool_)
    first[1:] = (np.diff(log.users) != 0) | (np.diff(log.times) != 0)
    return np.maximum.accumulate(np.where(first, np.arange(len(log)), 0))


def _dataset(
    log: Interactions,
    *,
    history: NDArray[np.int32],
    train: Impressions,
    validation: Impressions,
    test: Impressions,
    settings: Mapping[str, str | int | float],
    left_out: Mapping[str, int],
) -> ClickDataset:
    return ClickDataset(
        train=train,
        validation=validation,
        test=test,
        history=history,
        item_categories=log.item_categories,
        num_users=log.user_ids.num_codes,
        num_items=log.item_ids.num_codes,
        num_categories=log.category_ids.num_codes,
        settings=settings,
        notes={**log.notes, **{reason: count for reason, count in left_out.items() if count}},
    )


def _check_settings(max_history: int, *shares: float) -> None:
    if max_history < 1:
        raise ConfigError(f"max_history must be >= 1, got {max_history}")
    for share in shares:
        if not 0 < share < 1:
            raise ConfigError(f"shares of the split must be in (0, 1), got {share:g}")
