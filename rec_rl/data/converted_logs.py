"""The folder of a converted log: its interactions, its sessions, and the items and users that they name.

| file | holds |
|---|---|
| interactions.parquet | every row kept: user, item, time (ms), action, exposed, session, category, feedback |
| train.parquet, test.parquet | session logs of the training users and of those held out |
| items.parquet | item, title, category, clicks, cold, vector; a session log's ``item`` is a row of it |
| users.parquet | user (as in the session logs), name (as in the log), held_out, next_state |
| conversion.json | how it was made, what was dropped, and the hashes of the session logs |
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from rec_rl.data.interactions import Interactions
from rec_rl.data.session_building import BuiltSessions
from rec_rl.data.session_files import TRAIN, save_log
from rec_rl.data.tables import ColumnMap, load_table
from rec_rl.errors import ConfigError, DatasetError

Floats = NDArray[np.float32]

INTERACTIONS, TEST = "interactions.parquet", "test.parquet"
ITEMS, USERS, ABOUT = "items.parquet", "users.parquet", "conversion.json"

_ROLES = ("user", "item", "time", "action", "exposed", "session", "category")


@dataclass(frozen=True, kw_only=True)
class ItemTable:
    """Items by the rows that a session log's ``items`` name.

    Attributes:
        names: As in the log that was converted, length n.
        titles: What people call them, the name where the log had no title. Length n.
        categories: "" where unknown. Length n.
        vectors: Shape [n, A].
    """

    names: tuple[str, ...]
    titles: tuple[str, ...]
    categories: tuple[str, ...]
    vectors: Floats


@dataclass(frozen=True, kw_only=True)
class UserTable:
    """Users of a converted log.

    Attributes:
        names: As in the log that was converted, length n.
        codes: As in the session logs, shape [n].
        held_out: Whether nothing was fitted on the user, shape [n].
        next_states: Where each would be if they came back when the log ends, shape [n, S].
    """

    names: tuple[str, ...]
    codes: NDArray[np.int64]
    held_out: NDArray[np.bool_]
    next_states: Floats

    def row_of(self, name: str) -> int:
        """Row of a user by name.

        Raises:
            ConfigError: If the log has no such user.
        """
        if name not in self.names:
            raise ConfigError(f"the log has no user {name!r}; one is {self.names[0]!r}")
        return self.names.index(name)


def save_converted(
    folder: Path,
    interactions: Interactions,
    titles: tuple[str, ...],
    built: BuiltSessions,
    held_out: NDArray[np.bool_],
) -> None:
    """Writes everything but ``conversion.json`` into a folder.

    Args:
        folder: To write into.
        interactions: The rows.
        titles: Of each item in the order of their codes, "" for none.
        built: From the same rows.
        held_out: Users of the test log, by code, shape [user codes].
    """
    out = held_out[built.log.user_ids]
    save_log(built.log.of_users(~out), folder / TRAIN)
    save_log(built.log.of_users(out), folder / TEST)
    pq.write_table(pa.table(_interaction_columns(interactions)), folder / INTERACTIONS)
    codes = np.arange(1, interactions.item_ids.num_codes, dtype=np.int32)
    names = [str(name) for name in interactions.item_ids.decode(codes)]
    clicks = np.bincount(interactions.items, interactions.actions, interactions.item_ids.num_codes)[1:]
    items = {
        "item": names,
        "title": [title or name for title, name in zip(titles, names, strict=True)],
        "category": _categories(interactions)[1:],
        "clicks": clicks.astype(np.int64),
        "cold": built.cold,
        "vector": list(built.vectors),
    }
    pq.write_table(pa.table(items), folder / ITEMS)
    users = {
        "user": built.log.user_ids,
        "name": [str(name) for name in interactions.user_ids.decode(built.log.user_ids.astype(np.int32))],
        "held_out": out,
        "next_state": list(built.next_states),
    }
    pq.write_table(pa.table(users), folder / USERS)


def load_interactions(folder: str | Path) -> Interactions:
    """The interactions of a converted log."""
    path = Path(folder) / INTERACTIONS
    try:
        names = pq.read_schema(path).names
    except (OSError, pa.ArrowException) as error:
        raise DatasetError(f"{path} cannot be read as Parquet: {error}") from error
    roles = {role: role for role in _ROLES if role in names}
    feedback = tuple(name for name in names if name not in _ROLES)
    return load_table([path], ColumnMap(feedback=feedback, **roles))


def load_items(folder: str | Path) -> ItemTable:
    """The items of a converted log.

    Raises:
        DatasetError: If the file is missing or not what `save_converted` wrote.
    """
    table = _read(Path(folder) / ITEMS, ("item", "title", "category", "vector"))
    return ItemTable(
        names=tuple(table["item"].to_pylist()),
        titles=tuple(table["title"].to_pylist()),
        categories=tuple(table["category"].to_pylist()),
        vectors=_matrix(table["vector"]),
    )


def load_users(folder: str | Path) -> UserTable:
    """The users of a converted log.

    Raises:
        DatasetError: If the file is missing or not what `save_converted` wrote.
    """
    table = _read(Path(folder) / USERS, ("user", "name", "held_out", "next_state"))
    return UserTable(
        names=tuple(table["name"].to_pylist()),
        codes=table["user"].to_numpy(),
        held_out=table["held_out"].to_numpy(),
        next_states=_matrix(table["next_state"]),
    )


def _interaction_columns(rows: Interactions) -> dict[str, NDArray[np.generic] | list[str]]:
    columns: dict[str, NDArray[np.generic] | list[str]] = {
        "user": rows.user_ids.decode(rows.users),
        "item": rows.item_ids.decode(rows.items),
        "time": rows.times,
        "action": rows.actions,
        "exposed": rows.exposed.astype(np.int8),
    }
    if rows.sessions is not None:
        columns["session"] = rows.sessions
    if rows.category_ids.num_codes > 1:
        named = np.array([name or None for name in _categories(rows)], object)
        columns["category"] = named[rows.items]
    for name, column in rows.feedback.items():
        if name in _ROLES:
            raise ConfigError(f"a column of feedback cannot be called {name!r}, a role's name; rename it")
        columns[name] = column
    return columns


def _categories(rows: Interactions) -> list[str]:
    """Category of each item code, "" where unknown."""
    known = rows.category_ids.decode(np.arange(1, rows.category_ids.num_codes, dtype=np.int32))
    names = ["", *map(str, known)]
    return [names[code] for code in rows.item_categories]


def _read(path: Path, columns: tuple[str, ...]) -> pa.Table:
    try:
        return pq.read_table(path, columns=list(columns))
    except (OSError, pa.ArrowException) as error:
        raise DatasetError(f"{path} is no part of a converted log: {error}") from error


def _matrix(column: pa.ChunkedArray) -> Floats:
    return np.stack([np.asarray(row, np.float32) for row in column.to_pylist()])
