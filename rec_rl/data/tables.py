"""CSV and Parquet logs of any shape, read piece by piece through a mapping of their columns."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from rec_rl.data.interactions import Interactions, RawRows, build_interactions
from rec_rl.errors import ConfigError, DatasetError, check_name

Kind = Literal["id", "time", "flag", "number", "text"]
"""What a column holds: ids, points in time, 0 or 1, numbers (empty: NaN), or text (empty: none)."""

_ROLES: dict[str, Kind] = {
    "user": "id",
    "item": "id",
    "time": "time",
    "action": "flag",
    "exposed": "flag",
    "session": "id",
    "category": "text",
    "title": "text",
}
_SAME_ROLE = {"click": "action"}
_TYPES: dict[Kind, pa.DataType] = {
    "time": pa.int64(),
    "flag": pa.int8(),
    "number": pa.float32(),
    "text": pa.string(),
}
_INTEGER = r"^(0|-?[1-9][0-9]{0,17})$"


@dataclass(frozen=True, kw_only=True)
class ColumnMap:
    """Which column of a file plays which role.

    Attributes:
        user, item: Ids, integers or text.
        time: Integers or dates; the order of the rows if None.
        action: 0 or 1; every row is an action if None, and none of them is then a recorded exposure.
        exposed: 0 or 1, whether the item was really shown; if None all were, given an action column.
        session: Any ids.
        category: The item's category, as of its first row.
        title: What people call the item, as of its first row; only shown to people.
        feedback: Columns of explicit feedback, kept under their own names.
    """

    user: str
    item: str
    time: str | None = None
    action: str | None = None
    exposed: str | None = None
    session: str | None = None
    category: str | None = None
    title: str | None = None
    feedback: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> "ColumnMap":
        """Reads ``user=uid,item=iid,feedback=stars``; only feedback may come more than once.

        ``click`` is another word for ``action``.

        Raises:
            ConfigError: On an unknown or repeated role, or without user and item.
        """
        columns: dict[str, str] = {}
        feedback: list[str] = []
        for part in text.split(","):
            role, equals, column = part.strip().partition("=")
            if not (equals and column):
                raise ConfigError(f"a column map is role=column,role=column,..., got {part!r}")
            check_name("role", role, (*_ROLES, *_SAME_ROLE, "feedback"))
            role = _SAME_ROLE.get(role, role)
            if role in columns:
                raise ConfigError(f"role {role!r} is mapped twice, to {columns[role]!r} and {column!r}")
            if role == "feedback":
                feedback.append(column)
            else:
                columns[role] = column
        if not {"user", "item"} <= columns.keys():
            raise ConfigError(f"a column map needs user and item, got {text!r}")
        return cls(feedback=tuple(feedback), **columns)

    @property
    def kinds(self) -> dict[str, Kind]:
        """Every column that is read and what it holds."""
        kinds: dict[str, Kind] = dict.fromkeys(self.feedback, "number")
        for role, kind in _ROLES.items():
            if (column := getattr(self, role)) is not None:
                if kinds.get(column, kind) != kind:
                    raise ConfigError(f"column {column!r} cannot be both {kinds[column]} and {kind}")
                kinds[column] = kind
        return kinds


def load_table(paths: Sequence[Path], mapping: ColumnMap) -> Interactions:
    """A log from one or more CSV or Parquet files of the same columns.

    Raises:
        DatasetError: Naming file, row and column of what is wrong.
    """
    table = read_columns(paths, mapping.kinds)
    raw = rows_of_table(table, mapping)
    if mapping.category is None:
        return build_interactions(raw, None)
    named = table[mapping.category].notna()
    return build_interactions(raw, (table[mapping.item][named], table[mapping.category][named]))


def rows_of_table(table: pd.DataFrame, mapping: ColumnMap) -> RawRows:
    """The columns of a log by their roles."""
    n = len(table)
    actions = np.ones(n, np.int8) if mapping.action is None else table[mapping.action].to_numpy()
    if mapping.exposed is None:
        exposed = np.full(n, mapping.action is not None)
    else:
        exposed = table[mapping.exposed].to_numpy().astype(np.bool_)
    return RawRows(
        users=table[mapping.user],
        items=table[mapping.item],
        times=np.arange(n) if mapping.time is None else table[mapping.time].to_numpy(),
        actions=actions,
        exposed=exposed,
        sessions=None if mapping.session is None else table[mapping.session],
        feedback={name: table[name].to_numpy() for name in mapping.feedback},
    )


def read_columns(
    paths: Sequence[Path], kinds: Mapping[str, Kind], *, header: Sequence[str] | None = None
) -> pd.DataFrame:
    """Some columns of all files, one after the other.

    Files are read by row groups and every piece is checked and made compact at once, so that the columns that
    are not asked for, and the file as it was, never fill memory.

    Args:
        paths: ``.parquet``, ``.csv`` or compressed CSV files, one or more.
        kinds: The columns to keep and what they hold.
        header: Column names of CSV files that have none.

    Raises:
        DatasetError: Naming file, row (from 1) and column of what is wrong.
    """
    pieces: list[pa.Table] = []
    for path in paths:
        if not path.is_file():
            raise DatasetError(f"{path} does not exist")
        batches = (
            _parquet_batches(path, kinds) if path.suffix == ".parquet" else _csv_batches(path, kinds, header)
        )
        num_rows = 0
        try:
            for batch in batches:
                columns = {name: _convert(batch[name], kinds[name], path, num_rows, name) for name in kinds}
                pieces.append(pa.table(columns))
                num_rows += batch.num_rows
        except (pa.ArrowException, OSError, EOFError) as error:
            where = f"{path} cannot be read after row {num_rows}"
            raise DatasetError(f"{where}: {str(error).splitlines()[0]}") from error
        if num_rows == 0:
            raise DatasetError(f"{path} holds no rows")
    try:
        table = pa.concat_tables(pieces)
    except pa.ArrowException as error:
        raise DatasetError(f"{paths[0]} and {paths[-1]} differ in the types of their ids") from error
    columns = {name: _ids(table[name]) if kinds[name] == "id" else table[name] for name in kinds}
    return pd.DataFrame({name: column.to_pandas() for name, column in columns.items()})


def _parquet_batches(path: Path, kinds: Mapping[str, Kind]) -> Iterator[pa.RecordBatch]:
    file = pq.ParquetFile(path)
    _require(path, kinds, file.schema_arrow.names)
    for group in range(file.num_row_groups):
        yield from file.iter_batches(row_groups=[group], columns=list(kinds))


def _csv_batches(
    path: Path, kinds: Mapping[str, Kind], header: Sequence[str] | None
) -> Iterator[pa.RecordBatch]:
    if header is None:
        with pa.csv.open_csv(path) as reader:
            _require(path, kinds, reader.schema.names)
    convert = pa.csv.ConvertOptions(
        include_columns=list(kinds),
        column_types=dict.fromkeys(kinds, pa.string()),
        strings_can_be_null=True,
        null_values=["", "NA", "NaN", "nan", "null"],
    )
    read = pa.csv.ReadOptions(column_names=list(header) if header else None)
    with pa.csv.open_csv(path, read_options=read, convert_options=convert) as reader:
        yield from reader


def _require(path: Path, columns: Mapping[str, Kind], present: Sequence[str]) -> None:
    for name in columns:
        try:
            check_name("column", name, present)
        except ConfigError as error:
            raise DatasetError(f"{path}: {error}") from error


def _convert(column: pa.Array, kind: Kind, path: Path, first_row: int, name: str) -> pa.Array:
    """The column in the type of its kind, every value checked."""

    def refuse(bad: pa.Array, expected: str) -> DatasetError:
        row = bad.to_pylist().index(True)
        value = "nothing" if column[row].as_py() is None else repr(column[row].as_py())
        return DatasetError(
            f"{path}: row {first_row + row + 1}, column {name!r} must be {expected}, got {value}"
        )

    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if kind in ("id", "time", "flag") and column.null_count:
        raise refuse(column.is_null(), {"id": "an id", "time": "a time", "flag": "0 or 1"}[kind])
    if kind == "id":
        is_text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
        return column.cast(pa.string() if is_text else pa.int64())
    if kind == "time" and pa.types.is_temporal(column.type):
        return column.cast(pa.timestamp("ms")).cast(pa.int64())
    try:
        converted = column.cast(_TYPES[kind])
    except pa.ArrowInvalid as error:
        if kind == "time" and (dates := _dates(column)) is not None:
            return dates
        expected = {"time": "an integer or a date", "flag": "0 or 1", "number": "a number"}[kind]
        raise refuse(_uncastable(column, _TYPES[kind]), expected) from error
    if kind == "flag" and (wrong := pc.invert(pc.is_in(converted, pa.array([0, 1], pa.int8())))).true_count:
        raise refuse(wrong, "0 or 1")
    return converted.fill_null(float("nan")) if kind == "number" else converted


def _dates(column: pa.Array) -> pa.Array | None:
    try:
        return column.cast(pa.timestamp("ms")).cast(pa.int64())
    except pa.ArrowException:
        return None


def _uncastable(column: pa.Array, to: pa.DataType) -> pa.Array:
    def fails(value: pa.Scalar) -> bool:
        try:
            value.cast(to)
        except pa.ArrowInvalid:
            return True
        return False

    return pa.array([fails(value) for value in column])


def _ids(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Text ids as integers where every one of them is written as one."""
    if pa.types.is_string(column.type) and pc.all(pc.match_substring_regex(column, _INTEGER)).as_py():
        return column.cast(pa.int64())
    return column
