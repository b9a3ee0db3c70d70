from dataclasses import asdict

import numpy as np
import pytest

from rec_rl.experiments.click_study import QUICK, WITH_FEEDBACK
from rec_rl.experiments.kappa_frontier import (
    METHODS,
    frontier,
    frontier_record,
    kappa_trial,
    recommendation,
    recommended,
)


def test_recommended_kappa_gains_most_among_those_within_the_loss():
    losses = np.array([0.0, 0.002, 0.009, 0.02])
    assert recommended(losses, np.array([0.0, 0.01, 0.03, 0.05])) == 2
    assert recommended(losses, np.array([0.0, -0.01, -0.03, 0.05])) == 0


def test_recommendation_measures_each_seed_at_the_choice_of_the_others():
    losses = np.zeros((2, 3))
    gains = np.array([[0.0, 0.02, 0.01], [0.0, 0.01, 0.04]])
    found = recommendation((0.0, 0.1, 0.5), losses, gains)
    assert found["recommended_kappa"].value == 0.5  # means .015 and .025
    assert found["recommended_kappa"].per_seed == (0.1, 0.5)
    assert found["gain_at_recommended_kappa"].value == pytest.approx(0.025)
    # Seed 1 at seed 2's choice .5 gains .01, seed 2 at seed 1's choice .1 gains .01.
    assert found["gain_chosen_elsewhere"].per_seed == pytest.approx((0.01, 0.01))


def test_one_seed_has_nothing_to_choose_elsewhere():
    found = recommendation((0.0, 0.1), np.zeros((1, 2)), np.array([[0.0, 0.02]]))
    assert set(found) == {"recommended_kappa", "gain_at_recommended_kappa", "loss_at_recommended_kappa"}


def test_frontier_starts_at_the_plain_model_and_has_every_method():
    kappas = (0.1, 1.0)
    events = list(kappa_trial({"seed": 1, "size": asdict(QUICK), "kappas": kappas}))
    assert events[-2]["step"] == events[-2]["total"] == len(events) - 1
    results = [events[-1]["result"]]
    record = frontier_record(results, seeds=[1], kappas=kappas, quick=True, command="", seconds=0.0)
    assert {name.split("/")[1] for name in record.metrics} == set(METHODS)
    arms = record.arms | record.controls
    losses, gains = frontier(arms, WITH_FEEDBACK, "B", (0.0, *kappas))
    assert losses[0, 0] == gains[0, 0] == 0
    at_one = arms[f"{WITH_FEEDBACK} of truth B, kappa 1"]
    assert gains[0, 2] == pytest.approx(at_one["satisfaction_auc_truth_b_gain"].value)
    assert losses[0, 2] == pytest.approx(-at_one["auc_gain"].value / arms["ce"]["auc"].value)
    assert set(record.controls) & set(record.arms) == set()
    assert "placebo, kappa 0.1" in record.controls
