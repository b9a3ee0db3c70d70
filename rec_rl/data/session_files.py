"""Session logs as Parquet files: one row per request, in order of user and time.

| column | type | meaning |
|---|---|---|
| user | int64 | who; a user's rows are adjacent |
| session | integer | a new number begins a new session of the user |
| request | integer | 0, 1, 2, ... within the session |
| time | float64 | hours since any origin, not falling within a user |
| state | list of S floats, or S float16 (little-endian) as fixed-size binary | normalised and clipped |
| action | list of A floats | what was served |
| behaviour_mean | list of A floats, optional | mean of the policy that served |
| behaviour_scale | list of A floats, optional | its noise's standard deviation, the same in every row |
| log_propensity | float, optional | log density of the served action |
| item | integer, optional | which item was served, as a code of a table of items |
| feedback_NAME | number, optional, null where not observed | a signal of the user |

``save_log`` writes the binary form of states, which is read ten times faster.
"""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from rec_rl.data.half import to_half
from rec_rl.data.sessions import SessionLog
from rec_rl.errors import DatasetError

CHUNK = 1 << 16
FEEDBACK = "feedback_"
TRAIN = "train.parquet"
"""Sessions of the training users in the folder of a converted log."""

_REQUIRED = ("user", "session", "request", "time", "state", "action")
_INTEGERS = ("user", "session", "request", "item")
_OPTIONAL = ("behaviour_mean", "behaviour_scale", "log_propensity", "item")


def save_log(log: SessionLog, path: str | Path) -> None:
    """Writes a log with its content hash; the file appears whole or not at all."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    sessions, users = log.session_index, log.user_index
    requests = np.arange(len(log)) - log.session_starts[sessions]
    try:
        writer: pq.ParquetWriter | None = None
        for start in range(0, len(log), CHUNK):
            rows = slice(start, start + CHUNK)
            table = _table_of_rows(log, rows, log.user_ids[users[rows]], sessions[rows], requests[rows])
            if writer is None:
                table = table.replace_schema_metadata({"content_hash": log.content_hash})
                writer = pq.ParquetWriter(temporary, table.schema, compression="zstd", compression_level=1)
            writer.write_table(table.cast(writer.schema))
        if writer is not None:
            writer.close()
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def load_log(path: str | Path) -> SessionLog:
    """Reads a log of the schema above, a chunk of rows at a time into its final place.

    Args:
        path: The file; or the folder of a converted log, which stands for its training users.

    Raises:
        DatasetError: If the file is missing, breaks the schema, or does not match the hash that it carries.
    """
    path = Path(path) / TRAIN if Path(path).is_dir() else Path(path)
    try:
        file = pq.ParquetFile(path)
    except (OSError, pa.ArrowException) as error:
        raise DatasetError(f"{path} cannot be read as Parquet: {error}") from error
    with file:
        names = file.schema_arrow.names
        if missing := [name for name in _REQUIRED if name not in names]:
            raise DatasetError(f"{path} is no session log: it has no column {', '.join(missing)}")
        if file.metadata.num_rows == 0:
            raise DatasetError(f"{path} has no rows")
        wanted = [n for n in names if n in _REQUIRED + _OPTIONAL or n.startswith(FEEDBACK)]
        columns = _read_columns(file, wanted, path)
        recorded = (file.schema_arrow.metadata or {}).get(b"content_hash", b"").decode()
    try:
        log = _log_of_columns(columns)
    except DatasetError as error:
        raise DatasetError(f"{path}: {error}") from error
    if recorded and log.content_hash != recorded:
        raise DatasetError(
            f"{path} is corrupt: content hash {log.content_hash[:12]}, recorded {recorded[:12]}"
        )
    return log


def _table_of_rows(
    log: SessionLog,
    rows: slice,
    users: NDArray[np.int64],
    sessions: NDArray[np.int64],
    requests: NDArray[np.int64],
) -> pa.Table:
    states = np.ascontiguousarray(log.states[rows], dtype="<f2")
    width = pa.binary(2 * states.shape[1])
    table = {
        "user": pa.array(users),
        "session": pa.array(sessions),
        "request": pa.array(requests.astype(np.int32)),
        "time": pa.array(log.times[rows]),
        "state": pa.FixedSizeBinaryArray.from_buffers(width, len(states), [None, pa.py_buffer(states)]),
        "action": _lists(log.actions[rows]),
    }
    if log.behaviour_mean is not None and log.behaviour_scale is not None:
        table["behaviour_mean"] = _lists(log.behaviour_mean[rows])
        table["behaviour_scale"] = _lists(np.tile(log.behaviour_scale, (len(states), 1)))
    if log.log_propensity is not None:
        table["log_propensity"] = pa.array(log.log_propensity[rows])
    if log.items is not None:
        table["item"] = pa.array(log.items[rows])
    for name, signal in log.feedback.items():
        table[FEEDBACK + name] = pa.array(signal[rows], from_pandas=True)
    return pa.table(table)


def _lists(array: NDArray[np.float32]) -> pa.FixedSizeListArray:
    return pa.FixedSizeListArray.from_arrays(pa.array(array.ravel()), array.shape[1])


def _read_columns(file: pq.ParquetFile, names: list[str], path: str | Path) -> dict[str, NDArray[Any]]:
    columns: dict[str, NDArray[Any]] = {}
    start = 0
    for batch in file.iter_batches(CHUNK, columns=names):
        for name in names:
            try:
                values = _values(name, batch.column(name))
            except (pa.ArrowException, ValueError, TypeError) as error:
                raise DatasetError(
                    f"{path}: column {name} of rows {start} and on cannot be read: {error}"
                ) from error
            if name not in columns:
                columns[name] = np.empty((file.metadata.num_rows, *values.shape[1:]), values.dtype)
            if columns[name].shape[1:] != values.shape[1:]:
                raise DatasetError(
                    f"{path}: column {name} must have {columns[name].shape[1:]} numbers a row, "
                    f"rows {start} and on have {values.shape[1:]}"
                )
            columns[name][start : start + len(values)] = values
        start += len(batch)
    return columns


def _values(name: str, column: pa.Array) -> NDArray[Any]:
    """A column's values in the type that the log holds them in, shape [rows] or [rows, width]."""
    if column.null_count and not name.startswith(FEEDBACK):
        row = int(np.argmax(column.is_null().to_numpy(zero_copy_only=False)))
        raise ValueError(f"it must not be null, the {row}th of these rows is")
    if name == "state" and pa.types.is_fixed_size_binary(column.type):
        width = column.type.byte_width // 2
        offset = column.offset * width
        flat = np.frombuffer(column.buffers()[1], dtype="<f2", count=len(column) * width, offset=2 * offset)
        return flat.reshape(len(column), width)
    if name in ("state", "action", "behaviour_mean", "behaviour_scale"):
        values = _matrix(column)
        return to_half(values) if name == "state" else values
    dtype = np.int64 if name in _INTEGERS else np.float64 if name == "time" else np.float32
    numbers: NDArray[Any] = column.to_numpy(zero_copy_only=False)
    if np.issubdtype(dtype, np.integer) and not np.issubdtype(numbers.dtype, np.integer):
        raise ValueError(f"it must hold integers, got {column.type}")
    return numbers.astype(dtype)


def _matrix(column: pa.Array) -> NDArray[np.float32]:
    flat = column.flatten()
    if flat.null_count:
        raise ValueError("its lists must not hold nulls")
    width, rest = divmod(len(flat), len(column))
    if not pa.types.is_fixed_size_list(column.type):
        lengths = column.value_lengths().to_numpy(zero_copy_only=False)
        if rest or (lengths != width).any():
            raise ValueError("its lists must have one length")
    values: NDArray[np.float32] = flat.to_numpy(zero_copy_only=False).astype(np.float32)
    return values.reshape(len(column), width)


def _log_of_columns(columns: dict[str, NDArray[Any]]) -> SessionLog:
    users, requests = columns["user"], columns["request"]
    opens = np.ones(len(users), np.bool_)
    opens[1:] = (np.diff(users) != 0) | (np.diff(columns["session"]) != 0)
    starts = np.flatnonzero(opens)
    expected = np.arange(len(users)) - np.repeat(starts, np.diff(starts, append=len(users)))
    if (wrong := requests != expected).any():
        row = int(np.argmax(wrong))
        raise DatasetError(f"request must be {expected[row]} in row {row}, got {requests[row]}")
    scale = columns.get("behaviour_scale")
    if scale is not None and (scale != scale[0]).any():
        row = int(np.argmax((scale != scale[0]).any(axis=1)))
        raise DatasetError(f"behaviour_scale must be the same in every row, row {row} differs from row 0")
    return SessionLog(
        states=columns["state"],
        actions=columns["action"],
        times=columns["time"],
        session_starts=starts,
        session_users=users[starts],
        behaviour_mean=columns.get("behaviour_mean"),
        behaviour_scale=None if scale is None else scale[0],
        log_propensity=columns.get("log_propensity"),
        items=columns.get("item"),
        feedback={n.removeprefix(FEEDBACK): v for n, v in columns.items() if n.startswith(FEEDBACK)},
    )
