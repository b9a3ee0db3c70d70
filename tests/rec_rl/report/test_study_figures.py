"""Every figure is drawn from a record of two seeds; what it shows is read off its axes."""

import numpy as np
import pytest
from matplotlib import pyplot as plt

from rec_rl.evaluation.ab_test import Lift, average
from rec_rl.evaluation.intervals import mean_interval
from rec_rl.experiments import ab_study, click_truth, feedback_curve, kappa_frontier
from rec_rl.experiments.records import RunRecord
from rec_rl.report.study_figures import (
    daily_lift_figure,
    feedback_figure,
    frontier_figure,
    reward_by_step_figure,
    reward_distributions_figure,
)

METRICS = ("auc", "satisfaction_auc", "satisfaction_auc_truth_b")


def record_of(arms: dict, config: dict | None = None) -> RunRecord:
    return RunRecord(command="", seeds=[1, 2], data_hash="", config=config or {}, arms=arms, controls=arms)


def test_feedback_figure_has_a_point_per_share():
    names = ["ce", *feedback_curve.CLICKS_ONLY, *feedback_curve.CONTROLS]
    names += map(feedback_curve.arm_name, feedback_curve.SHARES)
    arms = {
        arm: {f"{metric}_gain": mean_interval([0.01 * i, 0.02 * i], seeds=True) for metric in METRICS}
        for i, arm in enumerate(names)
    }
    figure = feedback_figure(record_of(arms))
    for axes in figure.axes:
        curve = axes.containers[0].lines[0]
        assert len(curve.get_xdata()) == len(feedback_curve.SHARES)
        assert curve.get_ydata()[0] == pytest.approx(0.015 * names.index("feedback 0 %"))
    plt.close(figure)


def test_frontier_figure_rings_the_recommended_kappa():
    kappas = (0.5, 1.0)
    arms = {}
    for method in ("ce", *kappa_frontier.METHODS):
        for i, kappa in enumerate((0.0, *kappas)):
            values = {
                "auc": 0.8 - 0.006 * i,
                "satisfaction_auc": 0.7 + 0.01 * i,
                "satisfaction_auc_truth_b": 0.7,
            }
            row = {name: mean_interval([value, value], seeds=True) for name, value in values.items()}
            for truth in ("A", "B"):
                arms[kappa_frontier._arm_of_truth(method, truth, kappa)] = row
    figure = frontier_figure(record_of(arms, {"kappas": kappas}))
    first, ring = figure.axes[0].lines[1:3]  # after the line at 0
    np.testing.assert_allclose(first.get_xdata(), [0, 0.75, 1.5])  # per cent of .8
    np.testing.assert_allclose([ring.get_xdata()[0], ring.get_ydata()[0]], [0.75, 0.01])  # 1.5 % is too much
    plt.close(figure)


def test_daily_lift_figure_is_in_per_cent():
    lift = average([Lift(value=0.05, standard_error=0.01)] * 2)
    row = {f"lift_day_{day}{truth}": lift for day in range(1, 8) for truth in ("", "_truth_b")}
    figure = daily_lift_figure(record_of(dict.fromkeys((*ab_study.ARMS, ab_study.A_A), row)))
    np.testing.assert_allclose(np.array(figure.axes[0].containers[0].lines[0].get_ydata(), float), 5.0)
    plt.close(figure)


def test_reward_figures_draw_every_arm_and_case():
    arms = (*click_truth.ARMS, "oracle")
    counts = dict.fromkeys(click_truth.CASES, np.arange(len(click_truth.EDGES) - 1))
    truth = {
        "by_step": {arm: [[1.0] * 10, [None] * 10] for arm in arms},  # NaN as a result keeps it
        "histograms": dict.fromkeys(arms, counts),
    }
    drawn = {"A": truth, "B": truth}
    steps, cases = reward_by_step_figure(drawn), reward_distributions_figure(drawn)
    assert len(steps.axes[1].get_legend().get_texts()) == len(arms)
    assert len(cases.axes) == 3 * len(click_truth.CASES)
    plt.close(steps)
    plt.close(cases)
