from dataclasses import replace

import numpy as np
import pytest

from rec_rl.data.behaviour import GaussianBehaviour
from rec_rl.data.levels import (
    UserAverages,
    level_of_depth,
    level_of_gap,
    mean_level_of_users,
    session_levels,
    user_averages,
)
from rec_rl.data.sessions import SessionLog
from rec_rl.errors import DatasetError


def small_log(**changes: object) -> SessionLog:
    """Users 7, 3, 5 with sessions of 1, 3, 2 | 2, 1 | 1 requests."""
    rng = np.random.default_rng(0)
    columns = {
        "states": rng.standard_normal((10, 3)).astype(np.float16),
        "actions": rng.standard_normal((10, 2)).astype(np.float32),
        "times": np.array([0, 2, 2.5, 3, 11, 11.5, 0, 1, 5, 4], np.float64),
        "session_starts": np.array([0, 1, 4, 6, 8, 9]),
        "session_users": np.array([7, 7, 7, 3, 3, 5]),
    }
    return SessionLog(**(columns | changes))


def test_log_knows_its_users_depths_and_gaps():
    log = small_log()
    np.testing.assert_array_equal(log.user_ids, [7, 3, 5])
    np.testing.assert_array_equal(log.user_starts, [0, 6, 9, 10])
    np.testing.assert_array_equal(log.depths, [1, 3, 2, 2, 1, 1])
    np.testing.assert_array_equal(log.session_user_index, [0, 0, 0, 1, 1, 2])
    np.testing.assert_array_equal(log.session_index, [0, 1, 1, 1, 2, 2, 3, 3, 4, 5])
    np.testing.assert_array_equal(log.user_index, [0] * 6 + [1] * 3 + [2])
    # From a session's last request to the user's next: 2 - 0, 11 - 3, 5 - 1; last sessions have none.
    np.testing.assert_array_equal(log.gaps, [2, 8, np.nan, 4, np.nan, np.nan])


def test_next_state_is_the_next_row_of_the_same_user():
    np.testing.assert_array_equal(small_log().transition_rows, [0, 1, 2, 3, 4, 6, 7])


def test_levels_by_hand():
    levels = session_levels(small_log())
    # User 7 averages depth 2 and gap 5 over its two counted sessions, user 3 depth 2 and gap 4.
    np.testing.assert_array_equal(levels.depth, [0, 1, np.nan, 1, np.nan, np.nan])
    np.testing.assert_array_equal(levels.frequency, [2, 0, np.nan, 1, np.nan, np.nan])
    np.testing.assert_array_equal(levels.mixture, [1, 0.5, np.nan, 1, np.nan, np.nan])
    assert list(levels.exclusions.values()) == [3, 0, 0]
    np.testing.assert_array_equal(mean_level_of_users(small_log(), levels.mixture), [0.75, 1, np.nan])


def test_levels_are_clipped_at_five():
    np.testing.assert_array_equal(level_of_depth(np.array([1, 30, 10]), np.full(3, 2.0)), [0, 5, 5])
    np.testing.assert_array_equal(level_of_gap(np.array([1, 0.1, 3]), np.full(3, 2.0)), [2, 5, 0])


def test_levels_keep_the_averages_of_an_earlier_log():
    earlier = user_averages(small_log())
    longer = small_log(session_starts=np.array([0, 4, 6, 8, 9]), session_users=np.array([7, 7, 3, 3, 5]))
    levels = session_levels(longer, earlier)
    assert levels.depth[0] == 2  # 4 requests against the frozen average of 2
    with pytest.raises(DatasetError, match="user 5 is missing"):
        session_levels(longer, UserAverages(user_ids=np.array([7, 3]), depth=np.ones(2), gap=np.ones(2)))


def test_sessions_without_a_gap_or_an_average_are_counted_out():
    log = small_log(times=np.array([0, 0, 2.5, 3, 11, 11.5, 0, 1, 1, 4], np.float64))
    levels = session_levels(log)
    np.testing.assert_array_equal(np.isnan(levels.depth), [True, False, True, True, True, True])
    assert list(levels.exclusions.values()) == [3, 2, 0]
    later = session_levels(small_log(), user_averages(log))
    assert list(later.exclusions.values()) == [3, 0, 1]  # user 3 has no average in the earlier log


def test_split_keeps_users_whole():
    log = small_log(
        log_propensity=np.arange(10, dtype=np.float32), feedback={"like": np.arange(10, dtype=np.float32)}
    )
    kept, held = log.split(1 / 3, seed=0)
    assert sorted([*kept.user_ids, *held.user_ids]) == [3, 5, 7]
    for part in (kept, held):
        for position, user in enumerate(part.user_ids):
            rows = slice(part.user_starts[position], part.user_starts[position + 1])
            whole = log.user_starts[log.user_ids.tolist().index(user)]
            expected = slice(whole, whole + rows.stop - rows.start)
            np.testing.assert_array_equal(part.states[rows], log.states[expected])
            np.testing.assert_array_equal(part.feedback["like"][rows], log.feedback["like"][expected])
    with pytest.raises(DatasetError, match="too few users"):
        log.split(0.1, seed=0)


def test_log_ratio_uses_recorded_propensities_where_there_are_any():
    behaviour = GaussianBehaviour(mean=np.zeros((10, 2), np.float32), scale=np.ones(2, np.float32))
    target = np.full((10, 2), 0.5, np.float32)
    plain, recorded = small_log(), small_log(log_propensity=np.full(10, -3, np.float32))
    np.testing.assert_array_equal(
        plain.log_ratio(target, behaviour), behaviour.log_ratio(plain.actions, target)
    )
    expected = plain.log_ratio(target, behaviour) + behaviour.log_density(plain.actions) + 3
    np.testing.assert_allclose(recorded.log_ratio(target, behaviour), expected, atol=1e-5)


def test_user_blocks_hold_whole_users_and_all_rows():
    log = small_log()
    assert list(log.user_blocks(7)) == [slice(0, 6), slice(6, 10)]
    assert list(log.user_blocks(2)) == [slice(0, 6), slice(6, 9), slice(9, 10)]
    assert list(log.user_blocks()) == [slice(0, 10)]


def test_content_hash_follows_every_column():
    log = small_log()
    assert log.content_hash == small_log().content_hash
    states = log.states.copy()
    states[4, 1] += 1
    assert replace(log, states=states).content_hash != log.content_hash
    assert replace(log, feedback={"like": np.zeros(10, np.float32)}).content_hash != log.content_hash


def test_three_million_transitions_fit():
    """States are stored once, in float16: 245 + 8 columns with times and means in 1.7 GB."""
    log = small_log()
    per_request = 245 * 2 + 8 * 4 + 8 * 4 + 8  # state, action, behaviour mean, time
    assert 3e6 * (per_request + 16 / 8) < 1.7e9  # and two int64 per session of 8 requests
    assert log.num_bytes == 10 * (3 * 2 + 2 * 4 + 8) + 6 * 16


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"times": np.array([0, 2, 1, 3, 11, 11.5, 0, 1, 5, 4], np.float64)}, "row 2 is earlier"),
        ({"session_users": np.array([7, 3, 7, 3, 3, 5])}, "those of user (3|7) are not"),
        ({"session_starts": np.array([0, 1, 4, 4, 8, 9])}, "session_starts must rise"),
        ({"actions": np.full((10, 2), np.nan, np.float32)}, "actions must be finite, row 0"),
        ({"actions": np.zeros((10, 2))}, "actions must be float32"),
        ({"log_propensity": np.array([0, np.nan] * 5, np.float32)}, "row 1 is not; without the column"),
        ({"behaviour_mean": np.zeros((10, 2), np.float32)}, "must come together"),
        (
            {"behaviour_mean": np.zeros((10, 2), np.float32), "behaviour_scale": np.zeros(2, np.float32)},
            "behaviour_scale must be > 0",
        ),
        ({"feedback": {"like": np.zeros(9, np.float32)}}, "feedback like must be float32 of shape"),
    ],
)
def test_log_refuses_what_breaks_the_schema(changes: dict[str, np.ndarray], message: str):
    with pytest.raises(DatasetError, match=message):
        small_log(**changes)


def test_log_refuses_states_that_are_not_finite():
    states = small_log().states.copy()
    for bad in (np.nan, np.inf):
        states[4, 1] = bad
        with pytest.raises(DatasetError, match="row 4 column 1 is not"):
            small_log(states=states)
