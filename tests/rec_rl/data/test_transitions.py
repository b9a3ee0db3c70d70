from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rec_rl.data.transitions import UserTransitions
from rec_rl.errors import DatasetError


@pytest.fixture
def transitions() -> UserTransitions:
    return UserTransitions(
        states=np.arange(20, dtype=np.float32).reshape(10, 2),
        actions=np.array([0, 1, 0, 0, 1, 1, 0, 1, 0, 1]),
        next_states=np.arange(20, 40, dtype=np.float32).reshape(10, 2),
        terminated=np.array([0, 0, 1, 0, 1, 0, 0, 0, 0, 1], dtype=bool),
        truncated=np.array([0, 0, 0, 0, 0, 1, 0, 0, 1, 0], dtype=bool),
        users=np.array([3, 3, 3, 7, 7, 8, 9, 9, 9, 12]),
    )


def test_transitions_come_back_from_disk_as_they_were(transitions: UserTransitions, tmp_path: Path):
    rated = replace(transitions, feedback=np.array([np.nan] * 9 + [0.5], np.float32))
    anonymous = replace(transitions, users=None)
    assert len({data.content_hash for data in (transitions, rated, anonymous)}) == 3
    for name, data in (("with", transitions), ("without", anonymous), ("rated", rated)):
        path = tmp_path / "deep" / f"{name}.parquet"
        data.save(path)
        loaded = UserTransitions.load(path)
        assert loaded.content_hash == data.content_hash
        np.testing.assert_array_equal(loaded.next_states, data.next_states)
        assert (loaded.users is None) == (data.users is None)
        assert (loaded.feedback is None) == (data.feedback is None)
        assert data.feedback is None or np.array_equal(loaded.feedback, data.feedback, equal_nan=True)
        assert [file.name for file in path.parent.iterdir() if file.name.startswith(".")] == []


def test_load_names_what_is_wrong_with_a_file(transitions: UserTransitions, tmp_path: Path):
    path = tmp_path / "log.parquet"
    with pytest.raises(DatasetError, match="cannot be read"):
        UserTransitions.load(path)
    path.write_bytes(b"PAR1 not really")
    with pytest.raises(DatasetError, match="cannot be read"):
        UserTransitions.load(path)
    pq.write_table(pa.table({"actions": [1]}), path)
    with pytest.raises(DatasetError, match="states, next_states"):
        UserTransitions.load(path)
    transitions.save(path)
    table = pq.read_table(path)
    actions = pa.array(1 - transitions.actions)
    pq.write_table(table.set_column(table.column_names.index("actions"), "actions", actions), path)
    with pytest.raises(DatasetError, match="corrupt"):
        UserTransitions.load(path)


def test_split_keeps_users_whole_and_every_row_once(transitions: UserTransitions):
    rest, share = transitions.split(0.4, seed=0)
    assert len(np.unique(share.users)) == 2
    assert not set(rest.users) & set(share.users)
    assert len(rest) + len(share) == len(transitions)
    again = transitions.split(0.4, seed=0)[1]
    assert again.content_hash == share.content_hash
    assert {transitions.split(0.4, seed=seed)[1].content_hash for seed in range(9)} != {share.content_hash}


def test_split_draws_rows_where_users_are_unknown(transitions: UserTransitions):
    rest, share = replace(transitions, users=None).split(0.3, seed=1)
    assert (len(rest), len(share)) == (7, 3)


def test_split_refuses_an_empty_side(transitions: UserTransitions):
    with pytest.raises(DatasetError, match="too few users"):
        transitions.rows(np.arange(3)).split(0.4, seed=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"states": np.zeros((10, 0), np.float32)}, r"states must have shape \[n, d\]"),
        ({"states": np.zeros((10, 2))}, "states must be float32 of shape"),
        ({"next_states": np.zeros((9, 2), np.float32)}, r"next_states must be .*\(10, 2\).*got .*\(9, 2\)"),
        ({"states": np.full((10, 2), np.nan, np.float32)}, "states must be finite, row 0"),
        ({"actions": np.full(10, 2)}, r"actions must be 0 \(skip\) or 1 \(click\), got 2"),
        ({"terminated": np.ones(10)}, "terminated must be bool"),
        ({"terminated": np.ones(10, bool)}, "row 5 is both"),
        (
            {"feedback": np.array([np.nan] * 8 + [1, 4], np.float32)},
            r"feedback must be in \[0, 1\] or NaN, row 9 has 4",
        ),
        ({"users": np.zeros(9, np.int64)}, r"users must be int64 of shape \(10,\)"),
    ],
)
def test_transitions_refuse_rows_that_are_no_decisions(
    transitions: UserTransitions, change: dict[str, np.ndarray], message: str
):
    with pytest.raises(DatasetError, match=message):
        replace(transitions, **change)
