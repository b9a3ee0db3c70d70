"""What users did, as one validated table of columns that every loader fills."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rec_rl.errors import DatasetError

Ids = NDArray[Any] | pd.Series | pd.Index
"""Integers or text, shape [n]."""

UNKNOWN = 0  # the code of an id or category that the vocabulary does not hold


class Vocabulary:
    """Ids and their codes 1..n, in the order of the ids; code 0 stands for any other id."""

    def __init__(self, ids: Ids) -> None:
        self._index = pd.Index(ids)
        if not self._index.is_unique:
            raise ValueError("the ids of a vocabulary must be unique")

    @property
    def num_codes(self) -> int:
        """Rows that a table indexed by codes needs, the unknown one included."""
        return len(self._index) + 1

    def encode(self, ids: Ids) -> NDArray[np.int32]:
        """Codes of ids, 0 where unknown, shape [n]."""
        return (self._index.get_indexer(pd.Index(ids)) + 1).astype(np.int32)

    def decode(self, codes: NDArray[np.int32]) -> NDArray[np.generic]:
        """Ids of codes >= 1, shape [n]."""
        if len(codes) and not 1 <= codes.min() <= codes.max() < self.num_codes:
            raise ValueError(f"codes must be in 1..{self.num_codes - 1}, got {codes.min()}..{codes.max()}")
        return np.asarray(self._index)[codes - 1]


def encode_column(values: Ids) -> tuple[NDArray[np.int32], Vocabulary]:
    """A vocabulary of all values and their codes, shape [n]."""
    codes, ids = pd.factorize(pd.Series(values), sort=True)
    return (codes + 1).astype(np.int32), Vocabulary(ids)


@dataclass(frozen=True, kw_only=True)
class Interactions:
    """Rows (user, item, action) in the order of users and, within a user, of time.

    Attributes:
        users, items: Codes of ``user_ids`` and ``item_ids``, >= 1, int32, shape [n].
        actions: 1 acted (clicked, watched, reviewed) or 0 declined, int8, shape [n].
        times: Any unit, only the order counts, int64, shape [n]; never falling within a user.
        exposed: Whether the item was shown and the user decided, bool, shape [n]. A skip of a real exposure
            is a decision; rows that are not exposed only serve as history.
        sessions: Session of each row, int64, shape [n]; None where unknown.
        feedback: Explicit feedback by name (stars, likes), float32 of shape [n], NaN where none was given.
        item_categories: Category code of each item code, int32, shape [item_ids.num_codes].
        notes: What a loader dropped or repaired, and how often.
    """

    users: NDArray[np.int32]
    items: NDArray[np.int32]
    actions: NDArray[np.int8]
    times: NDArray[np.int64]
    exposed: NDArray[np.bool_]
    sessions: NDArray[np.int64] | None = None
    feedback: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    user_ids: Vocabulary
    item_ids: Vocabulary
    item_categories: NDArray[np.int32]
    category_ids: Vocabulary
    notes: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n = len(self.users)
        if n == 0:
            raise DatasetError("the log holds no rows")
        for name, column in self._columns().items():
            if column.shape != (n,):
                raise DatasetError(f"{name} must have shape ({n},), got {column.shape}")
        _check_codes("users", self.users, 1, self.user_ids.num_codes)
        _check_codes("items", self.items, 1, self.item_ids.num_codes)
        _check_codes("item_categories", self.item_categories, 0, self.category_ids.num_codes)
        if self.item_categories.shape != (self.item_ids.num_codes,):
            raise DatasetError(
                f"item_categories must have one row per item code ({self.item_ids.num_codes}), "
                f"got {self.item_categories.shape}"
            )
        _check_codes("actions", self.actions, 0, 2)
        same_user = self.users[1:] == self.users[:-1]
        if (np.diff(self.users) < 0).any() or (same_user & (np.diff(self.times) < 0)).any():
            raise DatasetError("rows must be in the order of users and times")

    def __len__(self) -> int:
        return len(self.users)

    @property
    def user_offsets(self) -> NDArray[np.int64]:
        """Rows ``offsets[u]:offsets[u + 1]`` belong to user code u, shape [user_ids.num_codes + 1]."""
        return np.searchsorted(self.users, np.arange(self.user_ids.num_codes + 1)).astype(np.int64)

    def rows(self, index: NDArray[np.int64] | NDArray[np.bool_]) -> "Interactions":
        """The rows at ``index``, which keeps their order; vocabularies stay whole."""
        columns = {name: getattr(self, name) for name in ("users", "items", "actions", "times", "exposed")}
        return replace(
            self,
            **{name: column[index] for name, column in columns.items()},
            sessions=None if self.sessions is None else self.sessions[index],
            feedback={name: column[index] for name, column in self.feedback.items()},
        )

    def _columns(self) -> dict[str, NDArray[np.generic]]:
        names = ("users", "items", "actions", "times", "exposed", "sessions")
        columns = {name: column for name in names if (column := getattr(self, name)) is not None}
        return {**columns, **{f"feedback {name}": column for name, column in self.feedback.items()}}


@dataclass(frozen=True, kw_only=True)
class RawRows:
    """Columns as a file has them: any ids, any order, duplicates included. Shapes [n]."""

    users: Ids
    items: Ids
    times: NDArray[np.int64]
    actions: NDArray[np.int8]
    exposed: NDArray[np.bool_]
    sessions: Ids | None = None
    feedback: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)


def build_interactions(
    raw: RawRows,
    item_categories: tuple[Ids, Ids] | None,
    *,
    notes: Mapping[str, int] | None = None,
) -> Interactions:
    """Codes the ids, drops repeated rows, sorts by user and time and counts all that it did.

    A repeated row has the same user, item and time; the first one is kept.

    Args:
        raw: The file's columns.
        item_categories: Item ids and their categories, both of shape [m], or None. An item that is named
            twice keeps its first category, one that is not named has the unknown category.
        notes: Counts to add to.
    """
    users, user_ids = encode_column(raw.users)
    items, item_ids = encode_column(raw.items)
    counts = dict(notes or {})
    order, dropped, moved = _order_without_repeats(users, items, raw.times)
    counts["repeated rows, dropped"] = dropped
    counts["rows out of time order, sorted"] = moved
    named, categories = item_categories or (np.array([], np.int64), np.array([], np.int64))
    category_codes, category_ids = encode_column(categories)
    codes_of_named = item_ids.encode(named)
    by_item = np.zeros(item_ids.num_codes, np.int32)
    by_item[codes_of_named[::-1]] = category_codes[::-1]  # the first one wins
    by_item[UNKNOWN] = UNKNOWN
    counts["items without a category"] = int((by_item[1:] == UNKNOWN).sum())
    sessions = None if raw.sessions is None else encode_column(raw.sessions)[0].astype(np.int64)
    return Interactions(
        users=users[order],
        items=items[order],
        actions=raw.actions[order],
        times=raw.times[order],
        exposed=raw.exposed[order],
        sessions=None if sessions is None else sessions[order],
        feedback={name: column[order] for name, column in raw.feedback.items()},
        user_ids=user_ids,
        item_ids=item_ids,
        item_categories=by_item,
        category_ids=category_ids,
        notes={reason: count for reason, count in counts.items() if count},
    )


def _order_without_repeats(
    users: NDArray[np.int32], items: NDArray[np.int32], times: NDArray[np.int64]
) -> tuple[NDArray[np.int64], int, int]:
    """Row indices by user and time (stable), how many repeats were dropped and how many rows moved back."""
    by_user = np.argsort(users, kind="stable")
    same_user = np.diff(users[by_user]) == 0
    moved = int((same_user & (np.diff(times[by_user]) < 0)).sum())
    repeated = np.lexsort((items, times, users))
    is_repeat = np.ones(len(users), np.bool_)
    is_repeat[0] = False
    for column in (users, items, times):
        is_repeat[1:] &= np.diff(column[repeated]) == 0
    kept = np.ones(len(users), np.bool_)
    kept[repeated[is_repeat]] = False
    order = np.lexsort((times, users)).astype(np.int64)
    order = order[kept[order]]
    return order, int(is_repeat.sum()), moved


def _check_codes(name: str, codes: NDArray[np.generic], low: int, high: int) -> None:
    values = codes.astype(np.int64, copy=False)
    outside = (values < low) | (values >= high)
    if outside.any():
        row = int(np.argmax(outside))
        raise DatasetError(f"{name} must be in {low}..{high - 1}, row {row} has {values[row]}")
