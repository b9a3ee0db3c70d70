from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from rec_rl.data.own_logs import DATES, read_own_log
from rec_rl.data.tables import ColumnMap
from rec_rl.errors import ConfigError, DatasetError

MAP = "user=who,item=what,time=at,click=hit,title=name,category=kind,feedback=stars"
HEADER = "who,what,at,hit,name,kind,stars\n"


def write(path: Path, *rows: str) -> Path:
    path.write_text(HEADER + "".join(f"{row}\n" for row in rows))
    return path


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return write(
        tmp_path / "log.csv",
        "ann,p1,2025-03-03T10:00:00Z,1,Kettle,kitchen,4",
        "ann,p2,2025-03-03T10:01:00Z,false,Rug,,",
        "ben,p1,2025-03-03 09:00:00,TRUE,Other name,kitchen,many",
        ",p1,2025-03-03T10:00:00Z,1,,,",
        "ann,,2025-03-03T10:00:00Z,1,,,",
        "ann,p1,,1,,,",
        "ann,p1,soon,1,,,",
        "ann,p1,2025-03-03T11:00:00Z,maybe,,,",
        "ann,p1,2025-03-03T11:00:00Z,,,,",
        "ann,p1,2025-03-03T10:00:00Z,0,Kettle,kitchen,",
    )


def test_rows_that_cannot_be_understood_are_counted_by_their_first_reason(log: Path):
    own = read_own_log(log, ColumnMap.parse(MAP))
    assert own.num_rows == 10
    assert own.dropped == {
        "no user": 1,
        "no item": 1,
        "no time": 1,
        "a time that is neither a date nor a number": 1,
        "click is neither 0 nor 1": 2,
        "repeats user, item and time of another row": 1,
    }
    assert own.examples["a time that is neither a date nor a number"] == "row 7, at: 'soon'"
    assert own.examples["click is neither 0 nor 1"] == "row 8, hit: 'maybe'"
    assert sum(own.dropped.values()) + len(own.interactions) == own.num_rows


def test_rows_that_are_kept_mean_what_the_file_says(log: Path):
    own = read_own_log(log, ColumnMap.parse(MAP))
    rows = own.interactions
    assert own.time_unit == DATES
    assert rows.user_ids.decode(rows.users).tolist() == ["ann", "ann", "ben"]
    assert rows.item_ids.decode(rows.items).tolist() == ["p1", "p2", "p1"]
    assert rows.times.tolist() == [1740996000000, 1740996060000, 1740992400000]
    assert rows.actions.tolist() == [1, 0, 1]
    np.testing.assert_array_equal(rows.feedback["stars"], [4, np.nan, np.nan])
    assert own.repaired["values of stars that are no numbers, left out"] == 1
    assert own.titles == ("Kettle", "Rug")  # the first title of an item is its title


@pytest.mark.parametrize(
    ("number", "unit", "milliseconds"),
    [
        ("1740996000", "s", 1740996000000),
        ("1740996000.5", "s", 1740996000500),
        ("1740996000000", "ms", 1740996000000),
        ("1740996000000000", "us", 1740996000000),
        ("1740996000000000000", "ns", 1740996000000),
        ("12", "s", 12000),
    ],
)
def test_numbers_are_read_as_times_by_their_size(tmp_path: Path, number: str, unit: str, milliseconds: int):
    own = read_own_log(write(tmp_path / "log.csv", f"u,i,{number},1,,,"), ColumnMap.parse(MAP))
    assert own.time_unit == unit
    assert own.interactions.times.tolist() == [milliseconds]


def test_a_unit_that_is_given_is_taken(tmp_path: Path):
    own = read_own_log(write(tmp_path / "log.csv", "u,i,12,1,,,"), ColumnMap.parse(MAP), time_unit="h")
    assert own.interactions.times.tolist() == [12 * 3_600_000]


def test_parquet_reads_as_csv_does(log: Path, tmp_path: Path):
    own = read_own_log(log, ColumnMap.parse(MAP))
    rows = own.interactions
    path = tmp_path / "log.parquet"
    pd.DataFrame(
        {
            "who": rows.user_ids.decode(rows.users),
            "what": rows.item_ids.decode(rows.items),
            "at": pd.to_datetime(rows.times, unit="ms"),
            "hit": rows.actions.astype(bool),
        }
    ).to_parquet(path)
    again = read_own_log(path, ColumnMap.parse("user=who,item=what,time=at,click=hit"))
    for name in ("users", "items", "times", "actions"):
        np.testing.assert_array_equal(getattr(again.interactions, name), getattr(rows, name))
    assert not again.dropped


def test_log_without_any_good_row_is_refused_with_the_reasons(tmp_path: Path):
    path = write(tmp_path / "log.csv", "u,i,soon,1,,,", "u,i,later,1,,,")
    with pytest.raises(DatasetError, match=r"no row can be understood: 2: a time .*row 1, at: 'soon'"):
        read_own_log(path, ColumnMap.parse(MAP))


def test_misspelt_columns_and_roles_are_named(log: Path):
    with pytest.raises(DatasetError, match="unknown column 'whom'; did you mean 'who'"):
        read_own_log(log, ColumnMap.parse("user=whom,item=what,time=at"))
    with pytest.raises(ConfigError, match="map a column to time"):
        read_own_log(log, ColumnMap.parse("user=who,item=what"))
    with pytest.raises(ConfigError, match="unknown role 'clicks'; did you mean 'click'"):
        ColumnMap.parse("user=who,item=what,clicks=hit")
    with pytest.raises(ConfigError, match="unknown time unit"):
        read_own_log(log, ColumnMap.parse(MAP), time_unit="weeks")
