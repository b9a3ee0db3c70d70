import subprocess
import sys
from contextlib import suppress

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rec_rl.data.tables import ColumnMap, load_table, read_columns
from rec_rl.errors import ConfigError, DatasetError

TEXT = """uid,iid,when,act,kind,stars,other
u2,7,30,1,red,5,x
u1,9,10,0,blue,,x
u2,8,20,1,,4.5,x
"""
MAPPING = ColumnMap.parse("user=uid,item=iid,time=when,action=act,category=kind,feedback=stars")


@pytest.fixture
def csv(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text(TEXT)
    return path


def test_a_csv_is_read_through_its_map(csv):
    log = load_table([csv], MAPPING)
    assert log.user_ids.decode(log.users).tolist() == ["u1", "u2", "u2"]
    assert log.item_ids.decode(log.items).tolist() == [9, 8, 7]  # written as integers, all of them
    assert log.actions.tolist() == [0, 1, 1]
    assert log.times.tolist() == [10, 20, 30]
    assert log.exposed.tolist() == [True, True, True]
    assert log.item_categories.tolist() == [0, 2, 0, 1]  # 7 red, 8 none, 9 blue
    np.testing.assert_array_equal(log.feedback["stars"], np.array([np.nan, 4.5, 5], np.float32))
    assert dict(log.notes) == {"rows out of time order, sorted": 1, "items without a category": 1}


def test_parquet_in_row_groups_gives_the_same_log(csv, tmp_path):
    frame = pd.read_csv(csv)
    pq.write_table(pa.Table.from_pandas(frame), tmp_path / "log.parquet", row_group_size=1)
    ours, theirs = load_table([tmp_path / "log.parquet"], MAPPING), load_table([csv], MAPPING)
    for name in ("users", "items", "actions", "times", "item_categories"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))


def test_without_an_action_column_every_row_is_an_action_that_was_not_shown(csv):
    log = load_table([csv], ColumnMap(user="uid", item="iid"))
    assert log.actions.tolist() == [1, 1, 1]
    assert not log.exposed.any()
    assert log.times.tolist() == [1, 0, 2]  # the order of the file


def test_dates_are_times(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("u,i,t\n1,1,2022-04-25 00:00:01\n1,2,2022-04-25 00:00:00\n")
    log = load_table([path], ColumnMap(user="u", item="i", time="t"))
    assert log.item_ids.decode(log.items).tolist() == [2, 1]
    assert np.diff(log.times).tolist() == [1000]


def test_ids_that_start_with_zero_stay_text(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("u,i\n1,007\n1,7\n")
    log = load_table([path], ColumnMap(user="u", item="i"))
    assert sorted(log.item_ids.decode(log.items)) == ["007", "7"]


def test_several_files_are_one_log(csv, tmp_path):
    second = tmp_path / "more.csv"
    second.write_text("uid,iid,when,act,kind,stars\nu3,7,1,1,red,1\n")
    assert len(load_table([csv, second], MAPPING)) == 4


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("u1,9", ",9", "row 2, column 'uid' must be an id, got nothing"),
        ("u1,9,10", "u1,9,soon", "row 2, column 'when' must be an integer or a date, got 'soon'"),
        ("8,20,1", "8,20,2", "row 3, column 'act' must be 0 or 1, got '2'"),
        ("8,20,1", "8,20,yes", "row 3, column 'act' must be 0 or 1, got 'yes'"),
        (",4.5,", ",good,", "row 3, column 'stars' must be a number, got 'good'"),
        ("uid,", "user,", "unknown column 'uid'"),
        ("u1,9,10,0,blue,,x", "u1,9", "cannot be read after row"),
    ],
)
def test_errors_name_file_row_and_column(csv, old, new, message):
    csv.write_text(TEXT.replace(old, new))
    with pytest.raises(DatasetError, match=message) as error:
        load_table([csv], MAPPING)
    assert str(csv) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [b"", b"uid,iid,when,act,kind,stars\n", b"PAR1", b"\xff\xfe\x00"])
@pytest.mark.parametrize("name", ["log.csv", "log.parquet", "log.csv.gz"])
def test_files_that_are_empty_or_no_tables_are_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DatasetError, match=name):
        load_table([tmp_path / name], MAPPING)


@given(st.binary(max_size=200))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_garbage_is_read_or_refused_in_one_line(tmp_path, content):
    path = tmp_path / "log.csv"
    path.write_bytes(b"uid,iid,when,act,kind,stars\n" + content)
    with suppress(DatasetError):
        assert len(load_table([path], MAPPING)) > 0


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DatasetError, match=r"gone\.csv does not exist"):
        load_table([tmp_path / "gone.csv"], MAPPING)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("user=a", "a column map needs user and item"),
        ("user=a,item", "a column map is role=column"),
        ("user=a,item=b,itm=c", "unknown role 'itm'; did you mean 'item'"),
        ("user=a,item=b,user=c", "role 'user' is mapped twice"),
    ],
)
def test_a_map_refuses_what_it_cannot_mean(text, message):
    with pytest.raises(ConfigError, match=message):
        ColumnMap.parse(text)


def test_a_column_cannot_have_two_kinds(csv):
    with pytest.raises(ConfigError, match="column 'iid' cannot be both"):
        load_table([csv], ColumnMap(user="uid", item="iid", time="iid"))


def test_a_header_can_be_given(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("a,1\nb,2\n")
    table = read_columns([path], {"item": "id", "user": "id"}, header=["user", "item"])
    assert table["user"].tolist() == ["a", "b"]
    assert table["item"].tolist() == [1, 2]


@pytest.mark.slow
def test_a_log_of_a_million_rows_fits_in_memory(tmp_path):
    n = 1_436_609
    rng = np.random.default_rng(0)
    columns = {
        "uid": rng.integers(0, 27_285, n),
        "iid": rng.integers(0, 7_551, n),
        "when": rng.permutation(n),
    }
    columns |= {"act": rng.integers(0, 2, n)} | {f"other{i}": rng.random(n) for i in range(20)}
    pq.write_table(pa.table(columns), tmp_path / "log.parquet", row_group_size=100_000)
    script = (
        "import resource, sys; from pathlib import Path;"
        "from rec_rl.data.tables import ColumnMap, load_table; from rec_rl.data.splits import exposure_split;"
        "data = exposure_split(load_table([Path(sys.argv[1])], ColumnMap.parse(sys.argv[2])));"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    command = [
        sys.executable,
        "-c",
        script,
        tmp_path / "log.parquet",
        "user=uid,item=iid,time=when,action=act",
    ]
    peak_kib = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert peak_kib < 1.5 * 2**20
