import numpy as np
import pytest

from rec_rl.experiments.feedback_curve import SHARES, arm_name, run_curve


@pytest.fixture(scope="module")
def quick_curve() -> tuple[dict, list]:
    seen = []
    return run_curve(seeds=(1,), quick=True, on_progress=lambda *event: seen.append(event)), seen


def test_curve_has_an_arm_per_share_and_both_truths(quick_curve: tuple[dict, list]):
    curve, seen = quick_curve
    assert list(curve["arms"]) == ["ce", *map(arm_name, SHARES)]
    assert list(curve["controls"]) == ["oracle"]
    metrics = curve["arms"]["feedback 2 %"]["metrics"]
    clicks = {"auc", "auc_gain", "auc_truth_b", "auc_truth_b_gain"}
    satisfaction = {f"satisfaction_{name}" for name in clicks}
    assert set(metrics) == clicks | satisfaction
    assert [done for done, _, _ in seen] == list(range(1, seen[0][1] + 1))


def test_gains_are_differences_from_the_plain_click_model(quick_curve: tuple[dict, list]):
    arms = quick_curve[0]["arms"]
    for name in ("satisfaction_auc", "satisfaction_auc_truth_b"):
        gain = np.subtract(*(arms[arm]["metrics"][name].per_seed for arm in ("feedback 5 %", "ce")))
        np.testing.assert_allclose(arms["feedback 5 %"]["metrics"][f"{name}_gain"].per_seed, gain)


def test_behaviour_is_the_same_without_feedback_and_answers_differ_with_it(quick_curve: tuple[dict, list]):
    arms = quick_curve[0]["arms"]
    silent, rated = (arms[arm]["metrics"] for arm in ("feedback 0 %", "feedback 10 %"))
    assert silent["auc"].value == silent["auc_truth_b"].value
    assert rated["auc"].value != rated["auc_truth_b"].value


def test_curve_refuses_no_seeds():
    with pytest.raises(ValueError, match="at least one seed"):
        run_curve(seeds=())


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_two_percent_of_feedback_reach_the_bar():
    curve = run_curve(seeds=(1,))
    assert curve["missed"] == []
    gains = {
        arm: row["metrics"]["satisfaction_auc_truth_b_gain"].value
        for arm, row in curve["arms"].items()
        if arm != "ce"
    }
    assert gains["feedback 0 %"] < 0 < gains["feedback 0.5 %"]
