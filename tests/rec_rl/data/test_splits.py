from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from rec_rl.data.interactions import RawRows, build_interactions
from rec_rl.data.splits import (
    SAMPLED,
    NegativeSampler,
    exposure_split,
    hold_out_users,
    sampled_negative_split,
)
from rec_rl.errors import ConfigError, DatasetError


def log_of(rows, num_items=0):
    """Rows (user, item, time, action, exposed); a user 0 makes items up to num_items known."""
    rows = [*rows, *((0, item, 0, 0, False) for item in range(1, num_items + 1))]
    users, items, times, actions, exposed = zip(*rows, strict=True)
    raw = RawRows(
        users=np.array(users),
        items=np.array(items),
        times=np.array(times),
        actions=np.array(actions, np.int8),
        exposed=np.array(exposed),
    )
    return build_interactions(raw, None)


def actions_of(histories, num_items=20):
    rows = [
        (user, item, time, 1, False) for user, items in histories.items() for time, item in enumerate(items)
    ]
    return log_of(rows, num_items)


HISTORIES = {1: [1, 2, 3, 4], 2: [5, 6], 3: [7], 4: [8, 9, 10]}


def described(data, part):
    """(user, item, click, history) of each row, as ids; codes of users are ids + 1 here, of items the ids."""
    return [
        (int(u) - 1, int(i), int(c), data.history[s:e].tolist())
        for u, i, c, s, e in zip(part.users, part.items, part.clicks, part.starts, part.ends, strict=True)
    ]


def test_dins_protocol_by_hand():
    data = sampled_negative_split(actions_of(HISTORIES), seed=0, validation_share=0.4)
    rows = {name: described(data, getattr(data, name)) for name in ("train", "validation", "test")}
    positives = {name: [row for row in part if row[2] == 1] for name, part in rows.items()}
    assert positives["train"] == [(1, 2, 1, [1]), (1, 3, 1, [1, 2]), (4, 9, 1, [8])]
    last = [(1, 4, 1, [1, 2, 3]), (2, 6, 1, [5]), (4, 10, 1, [8, 9])]
    assert sorted(positives["validation"] + positives["test"]) == last
    validation_users = {row[0] for row in positives["validation"]}
    assert validation_users
    assert validation_users.isdisjoint(row[0] for row in positives["test"])
    assert data.notes["users with a single action, history only"] == 1


def test_every_action_stands_beside_one_negative_of_the_same_history():
    data = sampled_negative_split(actions_of(HISTORIES), seed=0, validation_share=0.4)
    for part in (data.train, data.validation, data.test):
        assert part.clicks.tolist() == [1, 0] * (len(part) // 2)
        for column in (part.users, part.starts, part.ends):
            np.testing.assert_array_equal(column[::2], column[1::2])
        assert (part.sources[1::2] == SAMPLED).all()
        assert (part.sources[::2] >= 0).all()
        for user, item, click, _ in described(data, part):
            assert click == (item in HISTORIES[user])


def test_sources_name_the_rows_of_the_log():
    log = actions_of(HISTORIES)
    data = sampled_negative_split(log, seed=0, validation_share=0.4)
    source = data.train.sources[::2]
    np.testing.assert_array_equal(log.items[source], data.train.items[::2])
    np.testing.assert_array_equal(log.users[source], data.train.users[::2])


def test_histories_keep_their_latest_items():
    data = sampled_negative_split(actions_of(HISTORIES), seed=0, validation_share=0.4, max_history=2)
    assert all(len(history) <= 2 for *_, history in described(data, data.test))
    everyone = described(data, data.test) + described(data, data.validation)
    assert (1, 4, 1, [2, 3]) in everyone


def test_negatives_are_uniform_over_what_the_user_never_acted_on():
    users, items = np.repeat(1, 3).astype(np.int32), np.array([1, 2, 3], np.int32)
    sampler = NegativeSampler(users, items, num_items=8)
    drawn = Counter(sampler.draw(np.ones(8000, np.int32), np.random.default_rng(0)).tolist())
    assert set(drawn) == {4, 5, 6, 7}
    assert all(abs(count - 2000) < 5 * 39 for count in drawn.values())  # five standard deviations


def test_a_user_who_acted_on_everything_is_refused():
    with pytest.raises(DatasetError, match="user code 2 acted on all 3 items"):
        sampled_negative_split(actions_of({1: [1, 2, 3], 2: [1]}, num_items=3), seed=0, validation_share=0.5)


def test_the_hash_follows_data_split_and_settings():
    log = actions_of(HISTORIES)
    settings = {"seed": 0, "validation_share": 0.4}
    data = sampled_negative_split(log, **settings)
    assert data.content_hash == sampled_negative_split(log, **settings).content_hash
    others = [
        sampled_negative_split(log, seed=1, validation_share=0.4),
        sampled_negative_split(log, **settings, test_seed=5),
        sampled_negative_split(log, **settings, max_history=50),
        sampled_negative_split(actions_of({**HISTORIES, 4: [8, 9, 11]}), **settings),
    ]
    assert len({data.content_hash, *(other.content_hash for other in others)}) == 5


def test_another_test_seed_changes_the_test_negatives_only():
    histories = {user: [3 * user, 3 * user + 1, 3 * user + 2] for user in range(1, 9)}
    log = actions_of(histories, num_items=60)
    first = sampled_negative_split(log, seed=0, validation_share=0.5, test_seed=1)
    second = sampled_negative_split(log, seed=0, validation_share=0.5, test_seed=2)
    for name in ("train", "validation"):
        np.testing.assert_array_equal(getattr(first, name).items, getattr(second, name).items)
    np.testing.assert_array_equal(first.test.items[::2], second.test.items[::2])
    assert (first.test.items[1::2] != second.test.items[1::2]).any()


EXPOSURES = [
    # user, item, time, action, exposed
    (1, 1, 0, 1, False),
    (1, 2, 10, 0, True),
    (1, 3, 20, 1, True),
    (1, 4, 20, 1, True),
    (2, 5, 25, 0, True),
    (1, 6, 30, 0, True),
    (2, 7, 40, 1, True),
    (2, 8, 50, 0, True),
    (1, 9, 60, 1, True),
    (2, 1, 70, 0, True),
    (1, 2, 70, 1, True),
    (2, 3, 80, 1, True),
]


def test_exposures_by_hand():
    data = exposure_split(log_of(EXPOSURES), validation_share=0.2, test_share=0.3)
    code = {user: log_of(EXPOSURES).user_ids.encode(np.array([user]))[0] for user in (1, 2)}
    rows = [
        (u, i, c, data.history[s:e].tolist())
        for part in (data.train, data.validation, data.test)
        for u, i, c, s, e in zip(part.users, part.items, part.clicks, part.starts, part.ends, strict=True)
    ]
    assert rows == [
        (code[1], 2, 0, [1]),
        (code[1], 3, 1, [1]),  # items clicked at the same moment are not its history
        (code[1], 4, 1, [1]),
        (code[2], 5, 0, []),
        (code[1], 6, 0, [1, 3, 4]),
        (code[2], 7, 1, []),
        (code[2], 8, 0, [7]),
        (code[1], 9, 1, [1, 3, 4]),
        (code[1], 2, 1, [1, 3, 4, 9]),
        (code[2], 1, 0, [7]),
        (code[2], 3, 1, [7]),
    ]
    assert [len(data.train), len(data.validation), len(data.test)] == [5, 2, 4]
    assert data.notes["rows without an exposure, history only"] == 1


def test_one_moment_is_never_in_two_parts():
    data = exposure_split(log_of(EXPOSURES), validation_share=0.2, test_share=0.2)
    log = log_of(EXPOSURES)
    times = [set(log.times[part.sources]) for part in (data.train, data.validation, data.test)]
    assert max(times[0]) < min(times[1])
    assert max(times[1]) < min(times[2])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"actions": 1}, "11 exposures hold no skip"),
        ({"actions": 0}, "11 exposures hold no click"),
        ({"exposed": False}, "the log records no exposures"),
    ],
)
def test_logs_without_decisions_are_refused(change, message):
    log = log_of(EXPOSURES)
    columns = {name: np.full_like(getattr(log, name), value) for name, value in change.items()}
    with pytest.raises(DatasetError, match=message):
        exposure_split(replace(log, **columns))


def test_a_log_that_is_too_small_is_refused():
    with pytest.raises(DatasetError, match="no train rows are left"):
        sampled_negative_split(actions_of({1: [1, 2], 2: [3, 4]}), seed=0, validation_share=0.4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_history": 0}, "max_history must be >= 1, got 0"),
        ({"validation_share": 0.0}, r"shares of the split must be in \(0, 1\), got 0"),
        ({"validation_share": 1.5}, r"shares of the split must be in \(0, 1\), got 1.5"),
    ],
)
def test_settings_out_of_bounds_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        sampled_negative_split(actions_of(HISTORIES), seed=0, **settings)


def test_held_out_users_train_nothing_and_keep_every_row():
    data = sampled_negative_split(actions_of({u: [u, u + 1, u + 2, u + 3] for u in range(1, 11)}), seed=0)
    held = hold_out_users(data, 0.3, seed=0)
    moved = set(data.train.users) - set(held.train.users)
    assert len(moved) == 3
    assert not moved & set(held.train.users)
    assert len(held.train) + len(held.test) == len(data.train) + len(data.test)
    assert described(held, held.test)[: len(data.test)] == described(data, data.test)
    assert {int(user) for user in held.test.users[len(data.test) :]} == moved
    assert held.content_hash != data.content_hash
    with pytest.raises(DatasetError, match="no train rows are left"):
        hold_out_users(data, 0.99, seed=0)
