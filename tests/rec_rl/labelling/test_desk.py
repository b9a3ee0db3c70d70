from pathlib import Path

import numpy as np
import pytest

from rec_rl.data.labels import load_answers, preferences_of
from rec_rl.data.preferences import locate_pairs
from rec_rl.data.session_files import load_log
from rec_rl.errors import ConfigError, DatasetError
from rec_rl.labelling.cards import span
from rec_rl.labelling.desk import DeskConfig, LabellingDesk, open_desk


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    return tmp_path / "labels.db"


def desk_of(converted: Path, labels: Path, **config: object) -> LabellingDesk:
    return open_desk(converted, labels, DeskConfig(**config), seed=1)  # type: ignore[arg-type]


def test_page_shows_two_sessions_of_one_user_in_words(converted: Path, labels: Path):
    page = desk_of(converted, labels, num_pairs=20).page("ann")
    assert (page["done"], page["total"], page["per_minute"], page["can_undo"]) == (0, 22, None, False)
    left, right = page["question"]["left"], page["question"]["right"]
    assert left["user"] == right["user"]
    assert left["user"].startswith("user ")
    assert left["requests"] == len(left["cards"]) == len(left["lanes"][0]["values"])
    assert left["cards"][0]["after"] == "0 s"
    assert left["after"].startswith("came back after ")
    assert "2025" in left["when"]
    clicks = [int("click" in card["feedback"]) for card in left["cards"]]
    assert left["lanes"][0] == {"name": "click", "values": clicks}


def test_answers_become_preferences_of_the_sessions_that_were_shown(converted: Path, labels: Path):
    desk = desk_of(converted, labels, num_pairs=12)
    shown = []
    for place in range(13):
        question = desk.page("ann")["question"]
        longer = "left" if question["left"]["requests"] >= question["right"]["requests"] else "right"
        shown.append({question["left"]["requests"], question["right"]["requests"]})
        desk.answer("ann", place, longer, 1.0)
    assert desk.page("ann")["question"] is None
    log = load_log(converted)
    pairs, answers = load_answers(labels, log_hash=log.content_hash)
    located = locate_pairs(preferences_of(pairs, answers), log)
    assert located.num_missing == 0
    assert len(located) == 12  # 13 questions, one of them a repeat
    asked = [lengths for lengths, answer in zip(shown, answers, strict=True) if not answer.is_repeat]
    assert [set(lengths.tolist()) for lengths in located.lengths] == asked
    a, b = located.lengths.T
    np.testing.assert_array_equal(located.label[a != b], (a > b)[a != b])


def test_annotators_are_asked_about_the_same_pairs_and_go_on_where_they_were(converted: Path, labels: Path):
    desk = desk_of(converted, labels, num_pairs=20)
    for place in range(5):
        desk.answer("ann", place, "left", 1.0)
    desk.answer("ben", 0, "equal", 1.0)
    _, answers = load_answers(labels)
    assert [a.pair for a in answers] == [0, 1, 2, 3, 4, 0]
    again = desk_of(converted, labels, num_pairs=20)
    assert again.page("ann") == desk.page("ann")
    assert again.page("ben") == desk.page("ben")


def test_undo_asks_the_same_question_again(converted: Path, labels: Path):
    desk = desk_of(converted, labels, num_pairs=20)
    before = desk.page("ann")
    desk.undo("ann")  # nothing to take back
    desk.answer("ann", 0, "left", 1.0)
    desk.undo("ann")
    assert desk.page("ann") == before
    assert load_answers(labels)[1] == []


def test_an_answer_sent_twice_is_kept_once_and_none_is_taken_ahead(converted: Path, labels: Path):
    desk = desk_of(converted, labels, num_pairs=20)
    desk.answer("ann", 0, "left", 1.0)
    desk.answer("ann", 0, "right", 1.0)
    assert [a.choice for a in load_answers(labels)[1]] == ["left"]
    with pytest.raises(ValueError, match="place must be 1, the next question, got 2"):
        desk.answer("ann", 2, "left", 1.0)


def test_active_desk_asks_on_and_stops_where_the_log_has_no_more_pairs(converted: Path, labels: Path):
    desk = desk_of(converted, labels, num_pairs=5000, choosing="active")
    place = 0
    while place < 60 and (question := desk.page("ann")["question"]) is not None:
        shorter = "left" if question["left"]["requests"] < question["right"]["requests"] else "right"
        desk.answer("ann", place, shorter, 1.0)
        place += 1
    pairs, _ = load_answers(labels)
    keys = {frozenset([(p.user_a, p.start_a), (p.user_b, p.start_b)]) for p in pairs}
    assert place == 60
    assert len(keys) == len(pairs) == 54


def test_settings_and_labels_of_another_log_are_refused(converted: Path, labels: Path):
    with pytest.raises(ConfigError, match="num_pairs must be >= 1, got 0"):
        DeskConfig(num_pairs=0)
    with pytest.raises(ConfigError, match="unknown way of choosing pairs 'actively'; did you mean 'active'"):
        DeskConfig(choosing="actively")  # type: ignore[arg-type]
    desk_of(converted, labels)
    with pytest.raises(DatasetError, match="holds labels of the log"):
        open_desk(converted / "test.parquet", labels, DeskConfig(), seed=0)


@pytest.mark.parametrize(
    ("hours", "words"),
    [
        (0, "0 s"),
        (40 / 3600, "40 s"),
        (0.2, "12 min"),
        (3 + 5 / 60, "3 h 5 min"),
        (2, "2 h"),
        (52, "2 d 4 h"),
    ],
)
def test_spans_are_told_in_words(hours: float, words: str):
    assert span(hours) == words
