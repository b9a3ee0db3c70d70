"""What is asked, checked against the artefact's feature schema; every complaint names its field."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rec_rl.errors import DatasetError

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Ids = NDArray[Any]
Id = int | str

MOST_ASKED = 1000
"""Largest k."""


class FeatureError(DatasetError):
    """A field of a question is missing or not what the schema says.

    Attributes:
        field: Its path, such as ``user.state``.
    """

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field} {message}")
        self.field = field
        self.message = message


@dataclass(frozen=True, kw_only=True)
class Query:
    """One question, ready for a ranker.

    Attributes:
        features: The user's, as arrays by name.
        k: Items wanted, 1 to MOST_ASKED.
        excluded: Rows of items that must not come back, shape [m].
    """

    features: Mapping[str, NDArray[Any]]
    k: int
    excluded: Ints


class IdTable:
    """Row numbers of ids.

    Args:
        ids: Whole numbers or text, shape [n], unique.
    """

    def __init__(self, ids: Ids) -> None:
        self.ids = ids
        self._row = {value: row for row, value in enumerate(ids.tolist())}
        self._type: type = str if ids.dtype.kind == "U" else int

    def rows(self, field: str, ids: Any) -> Ints:
        """Rows of a list of ids in its order; those of unknown ones are left out.

        Raises:
            FeatureError: If it is no list, or an id is of another type than the table's.
        """
        if not isinstance(ids, Sequence) or isinstance(ids, str):
            raise FeatureError(field, f"must be a list of item ids, got {ids!r:.60}")
        for place, value in enumerate(ids):
            if type(value) is not self._type:
                wanted = "text" if self._type is str else "whole numbers"
                raise FeatureError(f"{field}.{place}", f"must be an id ({wanted}), got {value!r:.60}")
        return np.array([row for value in ids if (row := self._row.get(value)) is not None], np.int64)


def checked_k(k: Any) -> int:
    """How many items are asked for.

    Raises:
        FeatureError: If it is not a whole number in 1..MOST_ASKED.
    """
    if type(k) is not int or not 1 <= k <= MOST_ASKED:
        raise FeatureError("k", f"must be a whole number in 1..{MOST_ASKED}, got {k!r:.60}")
    return k


def checked_names(user: Any, features: Mapping[str, Any]) -> Mapping[str, Any]:
    """The user's fields.

    Raises:
        FeatureError: If a required one is missing or one is not in the schema.
    """
    if not isinstance(user, Mapping):
        raise FeatureError("user", f"must be an object of {', '.join(features)}, got {user!r:.60}")
    for name in user:
        if name not in features:
            raise FeatureError(f"user.{name}", f"is not a feature; the features are {', '.join(features)}")
    for name, feature in features.items():
        if feature["required"] and name not in user:
            raise FeatureError(f"user.{name}", "is missing")
    return user


def checked_vector(field: str, values: Any, size: int) -> Floats:
    """Numbers of a feature, shape [size].

    Raises:
        FeatureError: If they are not so many finite numbers.
    """
    try:
        vector = np.asarray(values)
        numeric = vector.dtype.kind in "iuf" and vector.shape == (size,)
    except ValueError:  # lists of unequal length
        numeric = False
    if not numeric:
        got = f"{len(values)} values" if isinstance(values, Sequence | np.ndarray) else repr(values)[:60]
        raise FeatureError(field, f"must be {size} numbers, got {got}")
    single: Floats = vector.astype(np.float32)
    if not np.isfinite(single).all():
        place = int(np.argmin(np.isfinite(single)))
        raise FeatureError(f"{field}.{place}", f"must be finite, got {vector[place]}")
    return single
