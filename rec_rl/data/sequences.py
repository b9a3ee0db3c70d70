"""Item-sequence files: one user a line, ``user item item ...``, oldest first, with an item-attribute JSON."""

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rec_rl.data.interactions import Interactions, RawRows, build_interactions
from rec_rl.errors import DatasetError


def load_sequences(path: Path, attributes_path: Path) -> Interactions:
    """Every listed item is an action; the place in the line is the time.

    A user without items is dropped and counted. The last attribute of an item is its category.

    Args:
        path: The sequences; ids are integers >= 1.
        attributes_path: ``{"item": [attribute, ...], ...}``.

    Raises:
        DatasetError: Naming file and line of what is wrong.
    """
    users, lengths, items = [], [], []
    empty = 0
    for number, line in enumerate(_lines(path), start=1):
        ids = _parse_line(line, path, number)
        if len(ids) == 0:
            continue
        if len(ids) == 1:
            empty += 1
            continue
        users.append(ids[0])
        lengths.append(len(ids) - 1)
        items.append(ids[1:])
    if not users:
        raise DatasetError(f"{path} holds no users with items")
    if len(set(users)) < len(users):
        values, counts = np.unique(users, return_counts=True)
        raise DatasetError(f"{path}: user {values[counts > 1][0]} has more than one line")
    n = sum(lengths)
    times = np.arange(n) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    raw = RawRows(
        users=np.repeat(users, lengths),
        items=np.concatenate(items),
        times=times,
        actions=np.ones(n, np.int8),
        exposed=np.zeros(n, np.bool_),
    )
    return build_interactions(raw, _last_attributes(attributes_path), notes={"users without items": empty})


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path} cannot be read as text: {error}") from error


def _parse_line(line: str, path: Path, number: int) -> NDArray[np.int64]:
    words = line.split()
    for column, word in enumerate(words, start=1):
        if not (word.isascii() and word.isdigit() and 1 <= int(word) < 2**31):
            raise DatasetError(f"{path}: line {number}, column {column} must be an id >= 1, got {word!r}")
    return np.array(words, np.int64)


def _last_attributes(path: Path) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    try:
        attributes = json.loads(path.read_text())
        named = {int(item): int(values[-1]) for item, values in attributes.items() if values}
    except OSError as error:
        raise DatasetError(f"category file {path} cannot be read: {error.strerror}") from error
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise DatasetError(
            f"category file {path} must map item ids to lists of attribute ids: {error}"
        ) from error
    return np.array(list(named), np.int64), np.array(list(named.values()), np.int64)
