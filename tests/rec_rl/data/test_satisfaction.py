import numpy as np
import pytest

from rec_rl.data.interactions import RawRows, build_interactions
from rec_rl.data.satisfaction import Label, known_labels
from rec_rl.errors import ConfigError


def log(**feedback):
    raw = RawRows(
        users=np.array([1, 1, 2]),
        items=np.array([1, 2, 1]),
        times=np.arange(3),
        actions=np.ones(3, np.int8),
        exposed=np.zeros(3, np.bool_),
        feedback={name: np.array(values, np.float32) for name, values in feedback.items()},
    )
    return build_interactions(raw, None)


@pytest.mark.parametrize(
    ("text", "column", "least"),
    [("rating", "rating", 4), ("rating >= 4.5", "rating", 4.5), ("is_like", "is_like", 1), ("x", "x", 1)],
)
def test_a_label_is_read(text: str, column: str, least: float):
    label = Label.parse(text)
    assert (label.column, label.least) == (column, least)
    assert Label.parse(str(label)) == label


def test_a_label_without_a_number_is_refused():
    with pytest.raises(ConfigError, match="got 'rating>=good'"):
        Label.parse("rating>=good")


def test_answers_by_hand():
    answers = Label.parse("rating").answers(log(rating=[4, np.nan, 3.5]), np.array([2, 1, 0, 0]))
    np.testing.assert_array_equal(answers, [0, np.nan, 1, 1])


def test_a_column_that_is_not_there_is_refused_with_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'rating'"):
        Label.parse("ratings").answers(log(rating=[1, 2, 3]), np.arange(3))


def test_known_labels_are_those_of_the_log():
    assert known_labels(log(long_view=[0, 1, 0], mood=[1, 2, 3])) == (Label(column="long_view", least=1),)
    with pytest.raises(ConfigError, match=r"no explicit feedback of the log is known: .*\['mood'\]"):
        known_labels(log(mood=[1, 2, 3]))
