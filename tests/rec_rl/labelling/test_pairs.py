from dataclasses import replace

import numpy as np
import pytest

from envs.session_rollouts import record_log
from envs.session_world import SessionWorld
from rec_rl.data.sessions import SessionLog
from rec_rl.errors import DatasetError
from rec_rl.labelling.pairs import (
    LONGEST,
    active_choice,
    disagreement,
    new_pairs,
    random_choice,
    session_pairs,
    to_segments,
    to_sessions,
)


@pytest.fixture(scope="module")
def log() -> SessionLog:
    return record_log(SessionWorld(20, 0), 120).log


def test_pairs_are_two_readable_sessions_of_one_user_after_which_they_came_back(log: SessionLog):
    pairs = session_pairs(log, 500, np.random.default_rng(0))
    np.testing.assert_array_equal(*log.session_user_index[pairs].T)
    assert (pairs[:, 0] != pairs[:, 1]).all()
    assert log.depths[pairs].max() <= LONGEST
    assert not np.isnan(log.gaps[pairs]).any()
    assert len(np.unique(log.session_user_index[pairs])) == 20


def test_log_without_two_sessions_of_a_user_is_refused(log: SessionLog):
    with pytest.raises(DatasetError, match="two sessions of at most 0 requests"):
        session_pairs(log, 5, np.random.default_rng(0), longest=0)


def test_no_pair_is_asked_twice_in_either_order():
    drawn = np.array([[1, 2], [2, 1], [3, 4], [5, 6], [7, 8]])
    assert new_pairs(drawn, [(4, 3)], 2).tolist() == [[1, 2], [5, 6]]
    assert new_pairs(drawn, [], 9, one_per_user=np.array([0, 0, 0, 0, 0, 1, 1, 0, 0])).tolist() == [
        [1, 2],
        [5, 6],
    ]
    assert new_pairs(drawn, [(1, 2), (3, 4), (5, 6), (7, 8)], 3).shape == (0, 2)


def test_log_that_has_no_more_pairs_gives_fewer(log: SessionLog):
    known: list[tuple[int, int]] = []
    one = log.of_users(np.arange(20) == 3)
    one = replace(one)
    for step in range(200):
        chosen = random_choice(one, known, 50, np.random.default_rng(step))
        known += [(a, b) for a, b in chosen.tolist()]
    (counted,) = np.nonzero(~np.isnan(one.gaps) & (one.depths <= LONGEST))
    assert len(known) == len(counted) * (len(counted) - 1) // 2


def test_members_disagree_where_labels_say_nothing():
    """Feature 0 decides every label; feature 1 never varied, so that only its pairs are uncertain."""
    rng = np.random.default_rng(0)
    sums = np.zeros((202, 2))
    sums[:200, 0] = rng.standard_normal(200)
    sums[:200, 1] = 0.3 * rng.standard_normal(200)
    sums[200], sums[201] = [0, 3], [0, -3]
    labelled = np.arange(200).reshape(100, 2)
    label = (sums[labelled[:, 0], 0] > sums[labelled[:, 1], 0]).astype(np.float32)
    clear = np.array([[int(np.argmax(sums[:200, 0])), int(np.argmin(sums[:200, 0]))]])
    found = disagreement(sums, labelled, label, np.concatenate([clear, [[200, 201]]]), rng)
    assert found[1] > 3 * found[0]


def test_active_pairs_are_those_of_most_disagreement_one_a_user(log: SessionLog):
    sums = np.random.default_rng(1).standard_normal((len(log.depths), 3))
    labelled = session_pairs(log, 60, np.random.default_rng(2))
    label = (sums[labelled[:, 0], 0] > sums[labelled[:, 1], 0]).astype(np.float32)
    known = [(a, b) for a, b in labelled.tolist()]
    chosen = active_choice(log, sums, labelled, label, known, 6, np.random.default_rng(3))
    assert len(np.unique(log.session_user_index[chosen[:, 0]])) == 6
    dealt = random_choice(log, known, 400, np.random.default_rng(4))
    at = np.random.default_rng(5)
    values = disagreement(sums, labelled, label, np.concatenate([chosen, dealt]), at)
    assert values[:6].mean() > 2 * values[6:].mean()


def test_few_labels_leave_the_choice_to_chance(log: SessionLog):
    sums, labelled = np.zeros((len(log.depths), 3)), session_pairs(log, 5, np.random.default_rng(2))
    chosen = active_choice(log, sums, labelled, np.ones(5, np.float32), (), 6, np.random.default_rng(3))
    np.testing.assert_array_equal(chosen, random_choice(log, (), 6, np.random.default_rng(3)))


def test_segments_name_the_sessions_that_they_came_from(log: SessionLog):
    pairs = session_pairs(log, 50, np.random.default_rng(0))
    segments = to_segments(log, pairs)
    np.testing.assert_array_equal(to_sessions(log, segments), pairs)
    a, first = segments[0], pairs[0, 0]
    block = log.user_ids.tolist().index(a.user_a)
    assert log.user_starts[block] + a.start_a == log.session_starts[first]
    assert a.length_a == log.depths[first]
    with pytest.raises(DatasetError, match="no user 99"):
        to_sessions(log, [replace(a, user_a=99)])
