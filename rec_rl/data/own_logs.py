"""Logs as people have them: rows that cannot be understood are dropped, and counted by reason.

`load_table` refuses a file at its first wrong value. Here every value is read as text first, so that a log
with a few broken rows can be used, and what became of each row can be told.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rec_rl.data.interactions import Interactions, RawRows, build_interactions
from rec_rl.data.tables import ColumnMap, Kind, read_columns
from rec_rl.errors import ConfigError, DatasetError, check_name

Bools = NDArray[np.bool_]

TIME_UNITS = {"ns": 1e-6, "us": 1e-3, "ms": 1.0, "s": 1e3, "min": 6e4, "h": 3.6e6}
"""Milliseconds of a unit of time."""

DATES = "dates"
_SMALLEST = {"ns": 1e17, "us": 1e14, "ms": 1e11}  # since 1970 these numbers are dates of 1973 and later
_FLAGS = {"0": 0, "1": 1, "0.0": 0, "1.0": 1, "false": 0, "true": 1}


@dataclass(frozen=True, kw_only=True)
class OwnLog:
    """A log as it was understood.

    Attributes:
        interactions: The rows that were kept, times in milliseconds.
        titles: Of each item in the order of their codes, "" where it has none.
        num_rows: Rows of the files.
        dropped: Rows that were dropped, by reason.
        examples: The first row that was dropped for a reason, in words, by reason.
        repaired: What else was changed, and how often.
        time_unit: What the times were read as, a name in TIME_UNITS or DATES.
    """

    interactions: Interactions
    titles: tuple[str, ...]
    num_rows: int
    dropped: Mapping[str, int]
    examples: Mapping[str, str]
    repaired: Mapping[str, int]
    time_unit: str


def read_own_log(path: Path, mapping: ColumnMap, *, time_unit: str | None = None) -> OwnLog:
    """Reads a CSV or Parquet file, or a folder of them.

    Times may be dates or numbers; numbers are since 1970 or any other origin. Without an action column every
    row is taken as shown and acted on.

    Args:
        path: The file or folder.
        mapping: Roles of its columns; user, item and time are needed.
        time_unit: Of times that are numbers, a name in TIME_UNITS; None goes by their size.

    Raises:
        ConfigError: If the mapping has no time, or the unit is unknown.
        DatasetError: If there is no such file or column, or no row can be understood.
    """
    if mapping.time is None:
        raise ConfigError("sessions need the time of every row: map a column to time")
    if time_unit is not None:
        check_name("time unit", time_unit, TIME_UNITS)
    kinds: dict[str, Kind] = dict.fromkeys(mapping.kinds, "text")
    table = read_columns(_files(path), kinds)
    times, unit = _milliseconds(table[mapping.time], time_unit)
    reasons = _reasons(table, mapping, times)
    kept = np.ones(len(table), np.bool_)
    dropped: dict[str, int] = {}
    examples: dict[str, str] = {}
    for reason, column, wrong in reasons:
        rows = wrong & kept
        if rows.any():
            first = int(np.argmax(rows))
            value = table[column].iloc[first]
            dropped[reason] = int(rows.sum())
            examples[reason] = f"row {first + 1}, {column}: {'nothing' if pd.isna(value) else repr(value)}"
        kept &= ~rows
    if not kept.any():
        told = "; ".join(f"{count:,}: {reason} ({examples[reason]})" for reason, count in dropped.items())
        raise DatasetError(f"{path}: no row can be understood: {told}")
    return _understood(table[kept], times[kept], mapping, len(table), dropped, examples, unit)


def _understood(
    table: pd.DataFrame,
    times: NDArray[np.float64],
    mapping: ColumnMap,
    num_rows: int,
    dropped: dict[str, int],
    examples: dict[str, str],
    unit: str,
) -> OwnLog:
    repaired: dict[str, int] = {}
    feedback = {}
    for name in mapping.feedback:
        numbers = pd.to_numeric(table[name], errors="coerce")
        lost = int((numbers.isna() & table[name].notna()).sum())
        if lost:
            repaired[f"values of {name} that are no numbers, left out"] = lost
        feedback[name] = numbers.to_numpy(np.float32)
    ones = np.ones(len(table), np.int8)
    raw = RawRows(
        users=_ids(table[mapping.user]),
        items=_ids(table[mapping.item]),
        times=times.astype(np.int64),
        actions=ones if mapping.action is None else _flags(table[mapping.action]).astype(np.int8),
        exposed=(ones if mapping.exposed is None else _flags(table[mapping.exposed])).astype(np.bool_),
        sessions=None if mapping.session is None else table[mapping.session],
        feedback=feedback,
    )
    categories = None
    if mapping.category is not None:
        named = table[mapping.category].notna().to_numpy()
        categories = (raw.items[named], table[mapping.category][named])
    interactions = build_interactions(raw, categories)
    notes = dict(interactions.notes)
    if (repeats := notes.pop("repeated rows, dropped", 0)) > 0:
        dropped["repeats user, item and time of another row"] = repeats
    titles = np.full(interactions.item_ids.num_codes, "", object)
    if mapping.title is not None:
        codes = interactions.item_ids.encode(raw.items)[::-1]  # the first one wins
        titles[codes] = table[mapping.title].fillna("").to_numpy()[::-1]
    return OwnLog(
        interactions=interactions,
        titles=tuple(titles[1:]),
        num_rows=num_rows,
        dropped=dropped,
        examples=examples,
        repaired=repaired | notes,
        time_unit=unit,
    )


def _files(path: Path) -> Sequence[Path]:
    if not path.exists():
        raise DatasetError(f"{path} does not exist")
    files = sorted([*path.glob("*.parquet"), *path.glob("*.csv")]) if path.is_dir() else [path]
    if not files:
        raise DatasetError(f"{path} holds no .csv or .parquet file")
    return files


def _reasons(
    table: pd.DataFrame, mapping: ColumnMap, times: NDArray[np.float64]
) -> list[tuple[str, str, Bools]]:
    """Why rows are dropped, in the order in which they are counted: (reason, column, which rows)."""
    assert mapping.time is not None
    reasons = [
        ("no user", mapping.user, table[mapping.user].isna().to_numpy()),
        ("no item", mapping.item, table[mapping.item].isna().to_numpy()),
        ("no time", mapping.time, table[mapping.time].isna().to_numpy()),
        ("a time that is neither a date nor a number", mapping.time, np.isnan(times)),
    ]
    for name, column in (("click", mapping.action), ("exposed", mapping.exposed)):
        if column is not None:
            reasons.append((f"{name} is neither 0 nor 1", column, _flags(table[column]) < 0))
    if mapping.session is not None:
        reasons.append(("no session", mapping.session, table[mapping.session].isna().to_numpy()))
    return reasons


def _milliseconds(column: pd.Series, unit: str | None) -> tuple[NDArray[np.float64], str]:
    """Times in milliseconds, NaN where they cannot be read, and what they were read as."""
    numbers = pd.to_numeric(column, errors="coerce").to_numpy(np.float64, copy=True)
    numbers[np.isinf(numbers)] = np.nan
    if unit is None and np.isnan(numbers).mean() > 0.5:
        dates = pd.to_datetime(column, errors="coerce", utc=True, format="ISO8601")
        if dates.isna().mean() > 0.5:
            dates = pd.to_datetime(column, errors="coerce", utc=True, format="mixed")
        if not dates.isna().all():
            stamps = dates.dt.as_unit("ms")
            known = stamps.notna().to_numpy()
            return np.where(known, stamps.astype("int64").to_numpy(), np.nan), DATES
    if unit is None:
        size = float(np.nanmedian(numbers)) if not np.isnan(numbers).all() else 0.0
        unit = next((name for name, smallest in _SMALLEST.items() if size >= smallest), "s")
    return numbers * TIME_UNITS[unit], unit


def _flags(column: pd.Series) -> NDArray[np.int64]:
    """0 or 1, -1 where it is neither."""
    known = column.str.strip().str.lower().map(_FLAGS)
    return np.asarray(known.fillna(-1), np.int64)


def _ids(column: pd.Series) -> NDArray[Any]:
    """Text ids as integers where every one of them is written as one."""
    if column.str.fullmatch(r"0|-?[1-9][0-9]{0,17}").all():
        return column.astype(np.int64).to_numpy()
    return column.to_numpy()
