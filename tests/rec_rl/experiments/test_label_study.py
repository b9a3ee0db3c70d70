import numpy as np
import pytest

from rec_rl.experiments.label_study import ARMS, CONTROLS, label_trial, labels_needed
from rec_rl.labelling.desk import BLOCK

TINY = {"num_users": 45, "num_requests": 120, "num_labels": 3 * BLOCK}


@pytest.fixture(scope="module")
def result():
    events = list(label_trial({"seed": 5, "size": TINY}))
    assert [event["step"] for event in events[:-1]] == list(range(1, 10))
    return events[-1]["result"]


def test_every_arm_starts_from_the_same_labels_and_then_goes_its_way(result):
    curves = {arm: result["arms"][arm]["correlation"] for arm in (*ARMS, *CONTROLS)}
    assert {len(curve) for curve in curves.values()} == {3}
    assert len({curve[0] for curve in curves.values()}) == 1
    assert len({curve[-1] for curve in curves.values()}) == 3


def test_a_few_dozen_labels_already_teach_something(result):
    assert min(np.array(result["arms"][arm]["correlation"])[-1] for arm in ARMS) > 0.2


def test_the_rule_of_unequal_length_asks_about_more_requests_than_chance_does(result):
    arms = result["arms"]
    assert arms["longest and shortest"]["read"][-1] > 1.2 * arms["random"]["read"][-1]


def test_labels_needed_count_whole_blocks():
    curve = [0.1, 0.3, 0.5, 0.4]
    assert labels_needed(curve, 0.1) == BLOCK
    assert labels_needed(curve, 0.5) == 3 * BLOCK
    assert labels_needed(curve, 0.9) == 4 * BLOCK  # never: all of them
