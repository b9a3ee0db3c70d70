import numpy as np
import pytest

from rec_rl.data.half import to_half
from rec_rl.data.interactions import Interactions, RawRows, build_interactions
from rec_rl.data.session_building import CLIP, SessionBuild, build_sessions
from rec_rl.errors import DatasetError

MINUTE = 60_000


def rows_of(num_users: int, *, sessions: np.ndarray | None = None, seed: int = 0) -> Interactions:
    """Users with 12 rows, a minute apart but for an hour after the seventh; some click each item."""
    rng = np.random.default_rng(seed)
    users = np.repeat(np.arange(num_users), 12)
    minutes = np.tile(np.arange(12) + 60 * (np.arange(12) >= 7), num_users) + 1440 * (users % 3)
    return build_interactions(
        RawRows(
            users=users,
            items=np.concatenate([rng.permutation(12) for _ in range(num_users)]),
            times=minutes * MINUTE,
            actions=(rng.random(12 * num_users) < 0.6).astype(np.int8),
            exposed=np.ones(12 * num_users, np.bool_),
            sessions=sessions,
        ),
        None,
    )


def test_gap_and_item_dim_are_the_callers():
    half_hour = build_sessions(rows_of(20), SessionBuild(item_dim=4))
    assert half_hour.log.depths.tolist() == [7, 5] * 20
    assert half_hour.log.actions.shape[1] == half_hour.vectors.shape[1] == 4
    two_hours = build_sessions(rows_of(20), SessionBuild(gap_minutes=120, item_dim=4))
    assert two_hours.log.depths.tolist() == [12] * 20


def test_sessions_that_the_log_names_are_kept():
    named = np.tile(np.repeat([0, 1, 2], 4), 20)
    assert (
        build_sessions(rows_of(20, sessions=named), SessionBuild(item_dim=4)).log.depths.tolist() == [4] * 60
    )


def test_log_names_the_item_behind_every_action():
    interactions = rows_of(20)
    built = build_sessions(interactions, SessionBuild(item_dim=4))
    assert built.log.items is not None
    np.testing.assert_array_equal(built.vectors[built.log.items], built.log.actions)
    np.testing.assert_array_equal(built.log.items, interactions.items - 1)


def test_users_held_out_change_nothing_for_the_others():
    interactions = rows_of(40)
    held_out = np.zeros(interactions.user_ids.num_codes, np.bool_)
    held_out[31:] = True
    built = build_sessions(interactions, SessionBuild(item_dim=4), fitted_on=~held_out)
    # the same first users, with others after them
    swapped = rows_of(40, seed=0)
    changed = swapped.actions.copy()
    changed[held_out[swapped.users]] ^= 1
    again = build_sessions(
        Interactions(**{**vars(swapped), "actions": changed}), SessionBuild(item_dim=4), fitted_on=~held_out
    )
    np.testing.assert_array_equal(built.vectors, again.vectors)
    first = ~held_out[built.log.session_users][built.log.session_index]
    np.testing.assert_array_equal(built.log.states[first], again.log.states[first])
    assert (built.log.states[~first] != again.log.states[~first]).any()


def test_next_state_is_what_the_log_says_when_the_user_comes_back():
    """The state at the log's end equals that of a request that really came then."""
    full = build_sessions(rows_of(21), SessionBuild(item_dim=4))
    interactions = rows_of(21)
    returns = interactions.times.max()
    user = int(interactions.users[-1])
    later = build_interactions(
        RawRows(
            users=np.append(interactions.users, user),
            items=np.append(interactions.items, 1),
            times=np.append(interactions.times, returns),
            actions=np.append(interactions.actions, np.int8(0)),
            exposed=np.ones(len(interactions) + 1, np.bool_),
        ),
        None,
    )
    fitted_on = np.ones(later.user_ids.num_codes, np.bool_)
    fitted_on[user] = False
    before = build_sessions(interactions, SessionBuild(item_dim=4), fitted_on=fitted_on)
    after = build_sessions(later, SessionBuild(item_dim=4), fitted_on=fitted_on)
    np.testing.assert_array_equal(to_half(before.next_states)[-1], after.log.states[-1])
    assert full.next_states.shape == (21, full.log.states.shape[1])
    assert np.abs(full.next_states).max() <= CLIP


def test_too_few_warm_items_are_refused_with_the_bound():
    with pytest.raises(
        DatasetError, match="vectors of 8 numbers need as many items that 5 users clicked, got 0"
    ):
        build_sessions(rows_of(4), SessionBuild())
