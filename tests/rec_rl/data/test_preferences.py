import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from envs.session_rollouts import record_log
from envs.session_world import SessionWorld
from rec_rl.data.levels import session_levels
from rec_rl.data.preference_batches import PreferenceSampler, gather_pairs
from rec_rl.data.preferences import TEACHERS, PreferencePairs, locate_pairs, scripted_preferences
from rec_rl.data.sessions import SessionLog
from rec_rl.errors import CheckpointError, ConfigError, DatasetError

PAIRS = PreferencePairs(
    users=np.array([[7, 3], [3, 3], [9, 7]]),
    starts=np.array([[0, 1], [0, 1], [0, 0]]),
    lengths=np.array([[6, 2], [1, 2], [1, 1]]),
    label=np.array([1, 0.5, 0], np.float32),
    annotators=("ada", "ben", "scripted:mean"),
)


def log_of(depths: list[list[int]]) -> SessionLog:
    """Users 0, 1, ... with sessions of these depths, a request an hour and a day between sessions."""
    sessions = [(user, depth) for user, mine in enumerate(depths) for depth in mine]
    size = sum(depth for _, depth in sessions)
    times = np.concatenate([np.arange(depth) + 100.0 * i for i, (_, depth) in enumerate(sessions)])
    return SessionLog(
        states=np.arange(2 * size).reshape(size, 2).astype(np.float16),
        actions=np.zeros((size, 1), np.float32),
        times=times,
        session_starts=np.append(0, np.cumsum([depth for _, depth in sessions])[:-1]),
        session_users=np.array([user for user, _ in sessions]),
    )


@pytest.mark.parametrize("name", ["pairs.jsonl", "pairs.parquet"])
def test_pairs_come_back_as_they_were_saved(tmp_path: Path, name: str):
    PAIRS.save(tmp_path / name)
    loaded = PreferencePairs.load(tmp_path / name)
    for field in ("users", "starts", "lengths", "label"):
        np.testing.assert_array_equal(getattr(loaded, field), getattr(PAIRS, field))
    assert loaded.annotators == PAIRS.annotators
    assert [p.name for p in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "no preference pairs"),
        ('{"user_a": 1}', "line 2 must hold"),
        ("", "line 2 must hold"),
        (json.dumps(dict.fromkeys(("user_a", "start_a", "length_a", "user_b", "start_b", "length_b"), 1)
                    | {"label": 0.7, "annotator": "x"}), "label must be 0, .5 or 1, row 1"),
        (json.dumps(dict.fromkeys(("user_a", "start_a", "length_a", "user_b", "start_b"), 1)
                    | {"length_b": 0, "label": 1, "annotator": "x"}), "length must be >= 1, row 1"),
        (json.dumps(dict.fromkeys(("user_a", "start_a", "length_a", "start_b", "length_b"), 1)
                    | {"user_b": 1.5, "label": 1, "annotator": "x"}), "user_b must be integers"),
    ],
)  # fmt: skip
def test_load_names_the_pair_that_is_wrong(tmp_path: Path, line: str, message: str):
    path = tmp_path / "pairs.jsonl"
    PAIRS.rows(np.array([0])).save(path)
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(DatasetError, match=message):
        PreferencePairs.load(path)


def test_files_of_another_kind_are_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"preference file suffix '.csv'"):
        PAIRS.save(tmp_path / "pairs.csv")
    with pytest.raises(DatasetError, match="no preference pairs"):
        PreferencePairs.load(tmp_path / "none.jsonl")


def test_locate_finds_segments_and_counts_what_the_log_lacks():
    log = replace(log_of([[4, 2], [2, 1]]), session_users=np.array([7, 7, 3, 3]))
    located = locate_pairs(PAIRS, log)
    np.testing.assert_array_equal(located.first_rows, [[0, 7], [6, 7]])
    assert located.num_missing == 1  # user 9
    with pytest.raises(DatasetError, match="both segments of some pair"):
        locate_pairs(replace(PAIRS, users=PAIRS.users + 100), log)
    with pytest.raises(DatasetError, match="both segments of some pair"):
        locate_pairs(PAIRS.rows(np.array([0])), log_of([[5]]))


def test_teachers_score_segments_by_hand():
    # One user, levels 1, 3, 0: requests carry 1 | 3 3 3 | 0 0, then a session without a level.
    log = log_of([[1, 3, 2, 4]])
    level = np.array([1, 3, 0, np.nan])
    labels = {}
    for teacher in TEACHERS:
        pairs = scripted_preferences(
            log, level, teacher=teacher, num_pairs=400, segment_length=2, min_requests=5, seed=0
        )
        assert pairs.annotators[0] == f"scripted:{teacher}"
        assert pairs.starts.max() == 4  # nothing of the last session
        labels[teacher] = {
            tuple(s): float(y) for s, y in zip(pairs.starts.tolist(), pairs.label, strict=True)
        }
    # starts 0..4 score 4, 6, 6, 3, 0 by request; 4, 3, 3, 3, 0 by session; 2, 3, 3, 1.5, 0 by mean
    assert labels["request"][0, 1] == 0
    assert labels["session"][0, 1] == 1
    assert labels["mean"][0, 1] == 0
    assert labels["mean"][0, 3] == 1
    assert all(found[1, 2] == 0.5 for found in labels.values())
    assert labels["session"][1, 3] == 0.5


def test_mean_labels_compare_segments_of_one_user_and_the_others_do_not():
    log = record_log(SessionWorld(10, 0), 60).log
    level = session_levels(log).mixture
    for teacher, same in (("mean", 1.0), ("request", 0.1)):
        pairs = scripted_preferences(
            log, level, teacher=teacher, num_pairs=500, segment_length=10, min_requests=20, seed=1
        )
        assert (pairs.users[:, 0] == pairs.users[:, 1]).mean() == pytest.approx(same, abs=0.06)
        assert locate_pairs(pairs, log).num_missing == 0
    with pytest.raises(DatasetError, match="none of 10 has"):
        scripted_preferences(log, level, seed=0)
    with pytest.raises(ConfigError, match="did you mean 'mean'"):
        scripted_preferences(log, level, teacher="meen", seed=0)  # type: ignore[arg-type]


def test_batches_pad_short_segments_with_a_mask():
    log = log_of([[4, 2], [2, 1]])
    pairs = locate_pairs(
        PreferencePairs(
            users=np.array([[0, 1]]),
            starts=np.array([[1, 0]]),
            lengths=np.array([[3, 1]]),
            label=np.ones(1, np.float32),
            annotators=("ada",),
        ),
        log,
    )
    batch = gather_pairs(log, pairs, np.array([0]))
    np.testing.assert_array_equal(batch.states[0, 0], log.states[1:4])
    np.testing.assert_array_equal(batch.states[0, 1, 0], log.states[6])
    np.testing.assert_array_equal(batch.mask[0], [[1, 1, 1], [1, 0, 0]])
    assert batch.actions.shape == (1, 2, 3, 1)


def test_sampler_shows_each_pair_once_a_pass_and_goes_on_from_its_state():
    log = record_log(SessionWorld(10, 0), 60).log
    pairs = locate_pairs(
        scripted_preferences(
            log, session_levels(log).mixture, num_pairs=10, segment_length=5, min_requests=20, seed=1
        ),
        log,
    )
    sampler = PreferenceSampler(log, pairs, batch_size=5, seed=0)
    first = [sampler.next_batch().states[:, 0, 0].numpy() for _ in range(2)]
    expected = np.sort(log.states[pairs.first_rows[:, 0], 0].astype(np.float32))
    np.testing.assert_array_equal(np.sort(np.concatenate(first)[:, 0]), expected)
    state = sampler.get_state()
    later = [sampler.next_batch() for _ in range(5)]
    other = PreferenceSampler(log, pairs, batch_size=5, seed=9)
    other.set_state(state)
    for batch in later:
        np.testing.assert_array_equal(batch.states, other.next_batch().states)
    with pytest.raises(ValueError, match=r"batch_size must be in \[1, 10\], got 11"):
        PreferenceSampler(log, pairs, batch_size=11, seed=0)
    state["order"] = np.arange(20)
    with pytest.raises(CheckpointError, match="other pairs than these 10"):
        sampler.set_state(state)
