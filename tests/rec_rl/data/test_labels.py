import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from rec_rl.data.labels import Answer, Choice, LabelStore, SessionPair, load_answers, preferences_of
from rec_rl.errors import DatasetError

PAIRS = [
    SessionPair(user_a=7, start_a=0, length_a=3, user_b=7, start_b=5, length_b=2),
    SessionPair(user_a=9, start_a=4, length_a=1, user_b=9, start_b=0, length_b=4),
]
WRITER = """
import sys, time
from pathlib import Path
from rec_rl.data.labels import Answer, LabelStore
store = LabelStore(Path(sys.argv[1]), log_hash="h")
for place in range(5):
    store.record(Answer(annotator="ann", place=place, pair=0, a_on_left=True, is_repeat=False,
                        choice="left", seconds=1.0))
print("kept", flush=True)
time.sleep(60)
"""


def answer(
    place: int, choice: Choice, *, pair: int = 0, a_on_left: bool = True, repeat: bool = False
) -> Answer:
    return Answer(
        annotator="ann",
        place=place,
        pair=pair,
        a_on_left=a_on_left,
        is_repeat=repeat,
        choice=choice,
        seconds=1.5,
    )


@pytest.fixture
def store(tmp_path: Path) -> LabelStore:
    store = LabelStore(tmp_path / "labels.db", log_hash="h", seed=3)
    store.add_pairs(PAIRS)
    return store


@pytest.mark.parametrize(
    ("choice", "a_on_left", "label"),
    [("left", True, 1.0), ("left", False, 0.0), ("right", True, 0.0), ("right", False, 1.0)],
)
def test_label_does_not_depend_on_the_side(choice: Choice, a_on_left: bool, label: float):
    assert answer(0, choice, a_on_left=a_on_left).label == label


def test_file_gives_back_what_was_kept(store: LabelStore, tmp_path: Path):
    answers = [answer(0, "left"), answer(1, "skip", pair=1)]
    for kept in answers:
        store.record(kept)
    store.close()
    assert load_answers(tmp_path / "labels.db") == (PAIRS, answers)
    assert LabelStore(tmp_path / "labels.db", log_hash="h", seed=99).seed == 3  # the file's own


def test_skipped_pairs_and_repeats_are_no_preferences(store: LabelStore):
    answers = [
        answer(0, "left", a_on_left=False),
        answer(1, "equal", pair=1),
        answer(2, "skip", pair=1),
        answer(3, "left", repeat=True),
    ]
    preferences = preferences_of(PAIRS, answers)
    np.testing.assert_array_equal(preferences.label, [0, 0.5])
    np.testing.assert_array_equal(preferences.users, [[7, 7], [9, 9]])
    np.testing.assert_array_equal(preferences.starts, [[0, 5], [4, 0]])
    np.testing.assert_array_equal(preferences.lengths, [[3, 2], [1, 4]])
    assert preferences.annotators == ("ann", "ann")
    with pytest.raises(DatasetError, match="no answer to learn from"):
        preferences_of(PAIRS, answers[2:])


def test_an_answer_is_kept_once_and_can_be_taken_back(store: LabelStore):
    store.record(answer(0, "left"))
    with pytest.raises(ValueError, match="answer 0 of ann cannot be kept"):
        store.record(answer(0, "right"))
    assert store.answers() == [answer(0, "left")]
    store.take_back("ann", 0)
    assert store.answers() == []


def test_every_commit_is_synchronised(store: LabelStore):
    settings = {
        name: store._connection.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("journal_mode", "synchronous")
    }
    assert settings == {"journal_mode": "wal", "synchronous": 2}  # 2 is FULL


def test_killed_process_loses_no_answer(store: LabelStore, tmp_path: Path):
    store.close()
    command = [sys.executable, "-c", WRITER, str(tmp_path / "labels.db")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "kept\n"
        os.kill(process.pid, signal.SIGKILL)
    _, answers = load_answers(tmp_path / "labels.db")
    assert [kept.place for kept in answers] == [0, 1, 2, 3, 4]


def test_labels_of_another_log_or_of_something_else_are_refused(store: LabelStore, tmp_path: Path):
    with pytest.raises(DatasetError, match="holds labels of the log h, got the log other"):
        LabelStore(tmp_path / "labels.db", log_hash="other")
    with pytest.raises(DatasetError, match="holds labels of the log h, got the log other"):
        load_answers(tmp_path / "labels.db", log_hash="other")
    (tmp_path / "text.db").write_text("no database " * 100)
    with pytest.raises(DatasetError, match="is no file of labels"):
        load_answers(tmp_path / "text.db")
    with pytest.raises(DatasetError, match="cannot be used as a file of labels"):
        LabelStore(tmp_path / "text.db", log_hash="h")
    sqlite3.connect(tmp_path / "empty.db").close()
    with pytest.raises(DatasetError, match="no file of labels"):
        load_answers(tmp_path / "empty.db")
