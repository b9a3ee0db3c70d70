from dataclasses import asdict
from typing import Any

import numpy as np
import pytest

from rec_rl.experiments.click_study import QUICK
from rec_rl.experiments.click_world_seed import RunSize
from rec_rl.experiments.feedback_curve import (
    CLICKS_ONLY,
    CONTROLS,
    NUM_MODELS,
    SHARES,
    arm_name,
    curve_record,
    feedback_trial,
    shuffled,
)
from rec_rl.experiments.records import RunRecord


def record_of(*results: dict[str, Any], quick: bool = True) -> RunRecord:
    seeds = list(range(1, len(results) + 1))
    return curve_record(results, seeds=seeds, quick=quick, command="", seconds=0.0)


@pytest.fixture(scope="module")
def quick_events() -> list[dict[str, Any]]:
    return list(feedback_trial({"seed": 1, "size": asdict(QUICK)}))


@pytest.fixture(scope="module")
def quick_curve(quick_events: list[dict[str, Any]]) -> RunRecord:
    return record_of(quick_events[-1]["result"])


def test_curve_has_an_arm_per_share_and_both_truths(quick_curve: RunRecord):
    assert set(quick_curve.arms) == {"ce", *CLICKS_ONLY, *map(arm_name, SHARES)}
    assert set(quick_curve.controls) == set(CONTROLS)
    clicks = {"auc", "auc_gain", "auc_truth_b", "auc_truth_b_gain"}
    satisfaction = {f"satisfaction_{name}" for name in clicks}
    assert set(quick_curve.arms["feedback 2 %"]) == clicks | satisfaction


def test_trial_tells_of_every_model(quick_events: list[dict[str, Any]]):
    assert [event["step"] for event in quick_events[:-1]] == list(range(1, NUM_MODELS + 1))


def test_gains_are_differences_from_the_plain_click_model(quick_curve: RunRecord):
    for name in ("satisfaction_auc", "satisfaction_auc_truth_b"):
        rated, plain = (quick_curve.arms[arm][name].value for arm in ("feedback 5 %", "ce"))
        gain = quick_curve.arms["feedback 5 %"][f"{name}_gain"].value
        assert gain == pytest.approx(rated - plain)


def test_behaviour_is_the_same_without_feedback_and_answers_differ_with_it(quick_curve: RunRecord):
    silent, rated = (quick_curve.arms[arm] for arm in ("feedback 0 %", "feedback 10 %"))
    assert silent["auc"].value == silent["auc_truth_b"].value
    assert rated["auc"].value != rated["auc_truth_b"].value


def test_bars_are_judged_on_the_mean_over_seeds():
    arms = {"ce", *CLICKS_ONLY, *map(arm_name, SHARES), *CONTROLS}
    first, second = (
        {
            "metrics": {
                arm: {"satisfaction_auc_gain": a, "satisfaction_auc_truth_b_gain": b} for arm in arms
            },
            "data_hash": "",
        }
        for a, b in ((-0.01, 0.05), (0.02, 0.005))  # means .005 and .0275
    )
    missed = record_of(first, second, quick=False).missed
    assert [miss["bar"] for miss in missed] == ["feedback 2 %.satisfaction_auc_truth_b_gain >= 0.03"]
    assert missed[0]["value"] == pytest.approx(0.0275)


def test_shuffled_answers_stay_on_their_rows():
    answers = np.array([np.nan, 1, 0, np.nan, 0, 1, 1, 0, 0], np.float32)
    dealt = shuffled(answers, np.random.default_rng(0))
    np.testing.assert_array_equal(np.isnan(dealt), np.isnan(answers))
    assert np.nansum(dealt) == np.nansum(answers)
    assert not np.array_equal(dealt, answers, equal_nan=True)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_two_percent_of_feedback_reach_the_bar():
    *_, last = feedback_trial({"seed": 1, "size": asdict(RunSize())})
    curve = record_of(last["result"], quick=False)
    assert curve.missed == []
    gains = {
        arm: row["satisfaction_auc_truth_b_gain"].value for arm, row in curve.arms.items() if arm != "ce"
    }
    assert gains["feedback 0 %"] < 0 < gains["feedback 0.5 %"]
    assert curve.controls["feedback 2 %, answers shuffled"]["satisfaction_auc_truth_b_gain"].value < 0.01
