from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from envs.session_rollouts import record_log
from envs.session_world import SessionWorld
from rec_rl.data import session_files
from rec_rl.data.session_files import load_log, save_log
from rec_rl.errors import DatasetError

LOG = record_log(SessionWorld(6, 0), 25).log


def plain_columns() -> dict[str, list[object]]:
    """A log as another tool would write it."""
    return {
        "user": [1, 1, 1, 2, 2],
        "session": [1, 1, 2, 1, 2],
        "request": [0, 1, 0, 0, 0],
        "time": [0.0, 0.5, 9.0, 1.0, 4.0],
        "state": [[0.25, float(i)] for i in range(5)],
        "action": [[float(i)] for i in range(5)],
    }


def write(path: Path, **changes: object) -> Path:
    pq.write_table(pa.table({k: v for k, v in (plain_columns() | changes).items() if v is not None}), path)
    return path


def test_log_comes_back_as_it_was_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(session_files, "CHUNK", 40)  # several row groups
    save_log(LOG, tmp_path / "log.parquet")
    loaded = load_log(tmp_path / "log.parquet")
    assert loaded.content_hash == LOG.content_hash
    assert [p.name for p in tmp_path.iterdir()] == ["log.parquet"]


def test_feedback_that_was_not_observed_comes_back_as_nan(tmp_path: Path):
    path = write(tmp_path / "log.parquet", feedback_like=[1.0, None, 0.0, None, 1.0])
    np.testing.assert_array_equal(
        load_log(path).feedback["like"], np.array([1, np.nan, 0, np.nan, 1], np.float32)
    )


def test_load_reads_plain_lists(tmp_path: Path):
    log = load_log(write(tmp_path / "log.parquet"))
    np.testing.assert_array_equal(log.states[:, 1], np.arange(5))
    np.testing.assert_array_equal(log.session_starts, [0, 2, 3, 4])
    np.testing.assert_array_equal(log.session_users, [1, 1, 2, 2])
    assert log.behaviour is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"action": None}, "no column action"),
        ({"request": [0, 2, 0, 0, 0]}, "request must be 1 in row 1, got 2"),
        ({"time": [0.0, 0.5, 0.25, 1.0, 4.0]}, "row 2 is earlier"),
        ({"user": [1, 2, 1, 2, 2], "request": [0] * 5}, "rows must be adjacent"),
        ({"user": [1.0, 1.0, 1.0, 2.0, 2.0]}, "column user .* must hold integers"),
        ({"state": [[0.0], [0.0, 1.0], [0.0], [0.0], [0.0]]}, "column state .* one length"),
        ({"state": [[float("nan"), 0.0]] * 5}, "states must be finite"),
        ({"state": [[1e6, 0.0]] * 5}, "within float16, row 0 column 0"),
        ({"time": [0.0, None, 9.0, 1.0, 4.0]}, "column time .* must not be null, the 1th"),
        ({"action": [["a"]] * 5}, "column action"),
        (
            {"behaviour_mean": [[0.0]] * 5, "behaviour_scale": [[1.0]] * 4 + [[2.0]]},
            "the same in every row, row 4",
        ),
        ({"log_propensity": [0.0, float("nan"), 0.0, 0.0, 0.0]}, "log_propensity must be finite, row 1"),
    ],
)
def test_load_names_what_breaks_the_schema(tmp_path: Path, changes: dict[str, object], message: str):
    with pytest.raises(DatasetError, match=message) as error:
        load_log(write(tmp_path / "log.parquet", **changes))
    assert "log.parquet" in str(error.value)


def test_load_refuses_a_missing_an_empty_and_an_altered_file(tmp_path: Path):
    with pytest.raises(DatasetError, match="cannot be read"):
        load_log(tmp_path / "none.parquet")
    pq.write_table(pa.table(plain_columns()).slice(0, 0), tmp_path / "empty.parquet")
    with pytest.raises(DatasetError, match="no rows"):
        load_log(tmp_path / "empty.parquet")
    save_log(LOG, tmp_path / "log.parquet")
    table = pq.read_table(tmp_path / "log.parquet")
    altered = table.set_column(3, "time", pa.array(np.asarray(table["time"]) + 1))
    pq.write_table(altered, tmp_path / "log.parquet")
    with pytest.raises(DatasetError, match="corrupt"):
        load_log(tmp_path / "log.parquet")
