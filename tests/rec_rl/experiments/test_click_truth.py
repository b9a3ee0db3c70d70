from dataclasses import asdict

import numpy as np
import pytest

from rec_rl.experiments.click_study import QUICK, WITH_FEEDBACK
from rec_rl.experiments.click_truth import (
    ARMS,
    CASES,
    EDGES,
    NUM_STEPS,
    by_step,
    click_findings,
    histograms,
    truth_record,
    truth_trial,
)

REWARDS = np.array([[0.0, 2.0], [0.0, -1.0], [0.5, 1.0], [1.0, 0.5]])
ACTIONS = np.array([1, 1, 0, 1])
STEPS = np.array([0, 1, 1, 12])


def test_by_step_averages_the_action_taken_and_leaves_late_steps_out():
    expected = np.full(NUM_STEPS, np.nan)
    expected[:2] = 2.0, (-1.0 + 0.5) / 2
    np.testing.assert_allclose(by_step(REWARDS, ACTIONS, STEPS), expected)


def test_histograms_tell_factual_from_counterfactual():
    counts = histograms(REWARDS, ACTIONS)

    def values(case: str) -> list[float]:
        centres = (EDGES[1:] + EDGES[:-1]) / 2
        return [centre for centre, count in zip(centres, counts[case], strict=True) for _ in range(count)]

    assert set(counts) == set(CASES)
    np.testing.assert_allclose(values("click | clicked"), [-1.0, 0.5, 2.0], atol=0.101)
    np.testing.assert_allclose(values("click | skipped"), [1.0], atol=1e-9)
    np.testing.assert_allclose(values("skip | skipped"), [0.5], atol=0.101)


def test_click_findings_look_at_clicks_alone():
    satisfied = np.array([True, False, True, False])
    found = click_findings(REWARDS, ACTIONS, STEPS, satisfied)
    assert found["mismatch"] == pytest.approx(2 / 3)  # differences of the clicks: 2, -1, -.5
    assert found["regret_auc"] == 1.0
    assert click_findings(REWARDS, ACTIONS, STEPS, ~satisfied)["regret_auc"] == 0.0


@pytest.fixture(scope="module")
def quick_result() -> dict:
    *_, last = truth_trial({"seed": 1, "size": asdict(QUICK)})
    return last["result"]


def test_record_holds_both_truths_and_what_the_figure_draws(quick_result: dict):
    results = [quick_result, quick_result]
    record, figures = truth_record(results, seeds=[1, 2], quick=True, command="", seconds=0.0)
    assert set(record.arms) == set(ARMS)
    assert set(record.controls) == {"shuffled", "q_difference", "oracle"}
    clicks_only, told = record.arms["anchored"], record.arms[WITH_FEEDBACK]
    assert clicks_only["mismatch"].value == clicks_only["mismatch_truth_b"].value
    assert told["regret_auc"].value != told["regret_auc_truth_b"].value
    # A click on a bait is truly worth 2.4 less in truth B.
    oracle = record.controls["oracle"]
    assert oracle["mismatch_truth_b"].value > oracle["mismatch"].value + 0.1
    assert oracle["regret_auc_truth_b"].value > 0.8 > 0.6 > record.controls["shuffled"]["regret_auc"].value
    assert np.shape(figures["B"]["by_step"]["anchored"]) == (2, NUM_STEPS)
    counts = quick_result["figures"]["B"]["anchored"]["histograms"]["click | clicked"]
    np.testing.assert_array_equal(
        figures["B"]["histograms"]["anchored"]["click | clicked"], 2 * np.array(counts)
    )
