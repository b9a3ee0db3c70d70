"""Figures of the studies on the click world, each drawn from its record."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from envs.click_world import TRUTHS
from rec_rl.evaluation.intervals import Estimate
from rec_rl.experiments import ab_study, click_truth, feedback_curve, kappa_frontier
from rec_rl.experiments.click_study import METRIC_OF_TRUTH, ORACLE, Q_DIFFERENCE, SHUFFLED, WITH_FEEDBACK
from rec_rl.experiments.records import RunRecord
from rec_rl.report.figures import COLOURS

TRUTH_NAMES = {"A": "truth A: what is perceived is true", "B": "truth B: baits are regretted after the click"}


def feedback_figure(record: RunRecord) -> Figure:
    """Satisfaction gain over the share of clicked rows with feedback: mean, interval and every seed."""
    figure, panels = _two_truths("satisfaction AUC, gain over clicks alone")
    names = [feedback_curve.arm_name(share) for share in feedback_curve.SHARES]
    for truth, axes in zip(TRUTHS, panels, strict=True):
        metric = f"{METRIC_OF_TRUTH[truth]}_gain"
        gains = [record.arms[name][metric] for name in names]
        _line(axes, np.arange(float(len(names))), gains, COLOURS[0], "anchored, by share of feedback")
        for i, arm in enumerate(feedback_curve.CLICKS_ONLY, start=1):
            _mark(axes, 0, record.arms[arm][metric], COLOURS[i], f"{arm}, clicks alone")
        at_bar = feedback_curve.SHARES.index(feedback_curve.BAR_SHARE)
        dealt = record.controls[feedback_curve.SHUFFLED_ANSWERS][metric]
        _mark(axes, at_bar, dealt, COLOURS[5], "2 %, answers shuffled (control)")
        oracle = record.controls[ORACLE][metric].value
        axes.axhline(oracle, color="black", ls="--", lw=1, label="oracle: the true reward")
        axes.set_xticks(range(len(names)), [f"{100 * share:g}" for share in feedback_curve.SHARES])
        axes.set_xlabel("clicked rows with feedback, %")
    panels[0].legend(fontsize=8, frameon=False)
    return figure


def reward_by_step_figure(figures: Mapping[str, Any]) -> Figure:
    """Mean reward of the action taken by step of the session, learned and true (MTRec Fig. 3a)."""
    figure, panels = _two_truths("mean reward of the action taken")
    for truth, axes in zip(TRUTHS, panels, strict=True):
        curves = figures[truth]["by_step"]
        for i, arm in enumerate(click_truth.ARMS):
            values = np.array(curves[arm], dtype=np.float64)
            steps = np.arange(1, values.shape[1] + 1)
            style = "--" if arm == "qr_iql" else "-"  # it lies on iq_learn
            axes.plot(steps, values.mean(axis=0), style, color=COLOURS[i], label=arm, lw=2)
            axes.plot(steps, values.T, color=COLOURS[i], lw=0.6, alpha=0.6)
        true = np.array(curves[ORACLE], dtype=np.float64).mean(axis=0)
        axes.plot(steps, true, "--", color="black", lw=1, label="true reward")
        axes.set_xlabel("step of the session")
    panels[1].legend(fontsize=8, frameon=False)
    return figure


def reward_distributions_figure(figures: Mapping[str, Any]) -> Figure:
    """Rewards of the action taken and of the other one, learned and true in truth B (MTRec Fig. 3b-e)."""
    histograms = figures["B"]["histograms"]
    arms = ("qr_iql", "anchored", WITH_FEEDBACK)
    figure, grid = plt.subplots(
        len(arms), len(click_truth.CASES), figsize=(12, 7), sharex=True, layout="constrained"
    )
    edges = click_truth.EDGES
    for row, arm in zip(grid, arms, strict=True):
        for axes, case in zip(row, click_truth.CASES, strict=True):
            axes.stairs(
                _density(histograms[arm][case]),
                edges,
                fill=True,
                color=COLOURS[0],
                alpha=0.6,
                label="learned",
            )
            axes.stairs(_density(histograms[ORACLE][case]), edges, color="black", lw=1, label="true")
            axes.axvline(0, color="grey", lw=0.6)
            axes.set_yticks([])
        row[0].set_ylabel(arm)
    for axes, case in zip(grid[0], click_truth.CASES, strict=True):
        axes.set_title(f"r*({case})", fontsize=10)
    grid[0, 0].legend(fontsize=8, frameon=False)
    figure.supxlabel("reward; true ones are means over noise, in truth B", fontsize=9)
    return figure


def frontier_figure(record: RunRecord) -> Figure:
    """Satisfaction gain against the loss of click AUC over kappa, with the recommended kappas marked."""
    figure, panels = _two_truths("satisfaction AUC, gain over clicks alone")
    kappas = (0.0, *record.config["kappas"])
    arms = record.arms | record.controls
    shown = (*kappa_frontier.CLICKS_ONLY, WITH_FEEDBACK, ORACLE, SHUFFLED, Q_DIFFERENCE)
    for truth, axes in zip(TRUTHS, panels, strict=True):
        for i, method in enumerate(shown):
            losses, gains = kappa_frontier.frontier(arms, method, truth, kappas)
            style = "--" if method in kappa_frontier.CONTROLS else "-"
            x, y = 100 * losses.mean(axis=0), gains.mean(axis=0)
            axes.plot(x, y, f"{style}o", ms=3, color=COLOURS[i], label=method)
            best = kappa_frontier.recommended(losses.mean(axis=0), y)
            axes.plot(x[best], y[best], "o", ms=9, mfc="none", color=COLOURS[i])
        axes.axvline(100 * kappa_frontier.LARGEST_LOSS, color="grey", ls=":", lw=1)
        axes.set_xlabel("loss of click AUC, %; a ring marks the recommended kappa")
    panels[1].legend(fontsize=8, frameon=False)
    return figure


def daily_lift_figure(record: RunRecord) -> Figure:
    """Lift of viewing time per day of the test, with intervals (MTRec Fig. 4)."""
    figure, panels = _two_truths("viewing minutes per user, lift over plain DCN, %")
    rows = record.arms | record.controls
    for truth, axes in zip(TRUTHS, panels, strict=True):
        suffix = "" if truth == "A" else "_truth_b"
        for i, arm in enumerate((*ab_study.ARMS, ab_study.A_A)):
            days = [_percent(rows[arm][f"lift_day_{day}{suffix}"]) for day in range(1, ab_study.DAYS + 1)]
            colour = "black" if arm == ab_study.A_A else COLOURS[i]
            at = np.arange(1, ab_study.DAYS + 1) + 0.06 * (i - 1.5)
            _line(axes, at, days, colour, arm, each_seed=False)
        axes.set_xlabel("day of the test")
    panels[0].legend(fontsize=8, frameon=False)
    return figure


def _two_truths(label: str) -> tuple[Figure, list[Axes]]:
    figure, panels = plt.subplots(1, 2, figsize=(11, 4.5), sharey=True, layout="constrained")
    for truth, axes in zip(TRUTHS, panels, strict=True):
        axes.set_title(TRUTH_NAMES[truth], fontsize=10)
        axes.axhline(0, color="grey", lw=0.8)
        axes.grid(alpha=0.3)
    panels[0].set_ylabel(label)
    return figure, list(panels)


def _line(
    axes: Axes,
    x: NDArray[np.floating],
    estimates: Sequence[Estimate],
    colour: str,
    label: str,
    *,
    each_seed: bool = True,
) -> None:
    """Values with their intervals, and every seed as a thin line."""
    axes.errorbar(
        x,
        [e.value for e in estimates],
        _half(estimates),
        color=colour,
        label=label,
        lw=2,
        elinewidth=1,
        capsize=2,
    )
    if each_seed:
        axes.plot(x, np.array([e.per_seed for e in estimates]), color=colour, lw=0.6, alpha=0.6)


def _mark(axes: Axes, x: float, estimate: Estimate, colour: str, label: str) -> None:
    axes.errorbar(
        [x], [estimate.value], _half([estimate]), fmt="s", ms=4, color=colour, label=label, capsize=3
    )


def _half(estimates: Sequence[Estimate]) -> NDArray[np.float64]:
    """Half widths; none for a single seed."""
    return np.nan_to_num([(e.high - e.low) / 2 for e in estimates])


def _density(counts: Any) -> NDArray[np.float64]:
    total: NDArray[np.float64] = np.asarray(counts, dtype=np.float64)
    return total / max(1.0, float(total.sum()))


def _percent(estimate: Estimate) -> Estimate:
    return Estimate(
        value=100 * estimate.value, low=100 * estimate.low, high=100 * estimate.high, n=estimate.n
    )
