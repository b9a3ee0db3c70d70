from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rec_rl.data.interactions import RawRows, Vocabulary, build_interactions
from rec_rl.errors import DatasetError


def raw_rows(users, items, times, actions=None, **columns):
    n = len(users)
    return RawRows(
        users=np.array(users),
        items=np.array(items),
        times=np.array(times, np.int64),
        actions=np.ones(n, np.int8) if actions is None else np.array(actions, np.int8),
        exposed=np.zeros(n, np.bool_),
        **columns,
    )


def test_vocabulary_gives_zero_to_what_it_does_not_know():
    vocabulary = Vocabulary(pd.Series(["a", "c"]))
    assert vocabulary.encode(np.array(["c", "b", "a"])).tolist() == [2, 0, 1]
    assert vocabulary.decode(np.array([2, 1])).tolist() == ["c", "a"]
    assert vocabulary.num_codes == 3
    with pytest.raises(ValueError, match=r"codes must be in 1\.\.2, got 0"):
        vocabulary.decode(np.array([0, 1]))


def test_rows_are_coded_sorted_and_counted():
    raw = raw_rows(
        users=[20, 10, 20, 10, 20, 20],
        items=["b", "a", "c", "b", "b", "a"],
        times=[5, 1, 3, 2, 5, 9],  # the fifth row repeats the first, the third is out of order
        feedback={"stars": np.array([1, 2, 3, 4, 5, np.nan], np.float32)},
        sessions=np.array(["x", "y", "x", "y", "x", "z"]),
    )
    log = build_interactions(raw, (np.array(["a", "b", "a", "z"]), np.array(["red", "blue", "green", "red"])))
    assert log.users.tolist() == [1, 1, 2, 2, 2]
    assert log.items.tolist() == [1, 2, 3, 2, 1]
    assert log.times.tolist() == [1, 2, 3, 5, 9]
    assert log.feedback["stars"].tolist()[:4] == [2, 4, 3, 1]
    assert np.isnan(log.feedback["stars"][4])
    assert log.sessions is not None
    assert log.sessions.tolist() == [2, 2, 1, 1, 3]
    assert log.user_offsets.tolist() == [0, 0, 2, 5]
    # categories: blue 1, green 2, red 3; item a keeps its first one, c has none
    assert log.item_categories.tolist() == [0, 3, 1, 0]
    assert dict(log.notes) == {
        "repeated rows, dropped": 1,
        "rows out of time order, sorted": 1,
        "items without a category": 1,
    }


def test_rows_of_the_same_time_keep_their_order():
    log = build_interactions(raw_rows([1, 1, 1], [3, 1, 2], [0, 0, 0]), None)
    assert log.items.tolist() == [3, 1, 2]


rows = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=30)


@given(rows)
def test_any_rows_come_back_once_and_in_order(triples):
    users, items, times = (list(column) for column in zip(*triples, strict=True))
    log = build_interactions(raw_rows(users, items, times), None)
    decoded = zip(
        log.user_ids.decode(log.users), log.times.tolist(), log.item_ids.decode(log.items), strict=True
    )
    kept = [(int(u), t, int(i)) for u, t, i in decoded]
    assert sorted(kept) == sorted({(u, t, i) for u, i, t in triples})
    assert [row[:2] for row in kept] == sorted(row[:2] for row in kept)
    assert log.notes.get("repeated rows, dropped", 0) == len(triples) - len(kept)


def test_a_subset_keeps_vocabularies():
    log = build_interactions(raw_rows([1, 1, 2], [5, 6, 5], [0, 1, 0]), None).rows(
        np.array([False, True, True])
    )
    assert log.users.tolist() == [1, 2]
    assert log.item_ids.decode(log.items).tolist() == [6, 5]


def test_broken_columns_are_refused():
    raw = raw_rows([1, 1], [5, 6], [0, 1], actions=[0, 2])
    with pytest.raises(DatasetError, match=r"actions must be in 0\.\.1, row 1 has 2"):
        build_interactions(raw, None)
    log = build_interactions(raw_rows([1, 1], [5, 6], [0, 1]), None)
    with pytest.raises(DatasetError, match=r"feedback stars must have shape \(2,\), got \(1,\)"):
        replace(log, feedback={"stars": np.zeros(1, np.float32)})
    with pytest.raises(DatasetError, match="rows must be in the order of users and times"):
        replace(log, times=np.array([1, 0]))
    with pytest.raises(DatasetError, match="row 0 has 3"):
        replace(log, items=np.array([3, 1], np.int32))
