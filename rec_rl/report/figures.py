"""Figures with intervals, as matplotlib draws them without a screen."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from numpy.typing import ArrayLike, NDArray

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rec_rl.evaluation.intervals import mean_interval

Curve = Sequence[Mapping[str, float]]
"""Evaluations in order: {"step", "ectr", ...}."""

FIGURES = {"ectr": "eCTR", "satisfaction": "true satisfaction per page"}
"""Figures of an evaluation that are drawn, with their names on the axis."""

FEWEST_SEEDS_FOR_A_BAND = 3
"""Student's interval of two values is twelve times their spread: it hides the curves it is about."""

COLOURS = ("#3366aa", "#cc6633", "#55883b", "#8a4f9e", "#b33a3a", "#d06fa3", "#2a9d9d", "#a68a1d")


def training_curves(curves: Mapping[str, Sequence[Curve]], metric: str, label: str) -> Figure:
    """A share in [0, 1] over environment steps, as `draw_means` does (MTRec Fig. 2).

    Args:
        curves: Runs of every arm. Runs of one arm are evaluated at about the same steps.
        metric: Which figure of an evaluation.
        label: Its name on the axis.
    """
    figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    lines = {}
    for name, runs in curves.items():
        steps, values = values_of(runs, "step"), values_of(runs, metric)
        lines[name] = (steps.mean(axis=0), values)
    draw_means(axes, lines, within=(0, 1))
    axes.set(xlabel="environment steps", ylabel=label, ylim=(0, 1.02))
    return figure


def values_of(runs: Sequence[Curve], metric: str) -> NDArray[np.float64]:
    """A figure of every evaluation that all runs have, shape [runs, evaluations]."""
    num_points = min(len(run) for run in runs)
    return np.array([[point[metric] for point in run[:num_points]] for run in runs])


def draw_means(
    axes: Axes,
    lines: Mapping[str, tuple[NDArray[np.float64], NDArray[np.float64]]],
    *,
    within: tuple[float, float] = (-np.inf, np.inf),
) -> None:
    """Mean over runs, every run as a thin line, and from three runs on the 95 % interval of the mean.

    Args:
        axes: To draw on.
        lines: By name, where on the x axis, shape [p], and the runs' values, shape [runs, p].
        within: Least and largest value there can be, at which intervals end.
    """
    for i, (name, (x, values)) in enumerate(lines.items()):
        colour = COLOURS[i % len(COLOURS)]
        style = "-" if i < len(COLOURS) else "--"
        estimates = [mean_interval(column) for column in values.T]
        axes.plot(x, [e.value for e in estimates], style, color=colour, label=name, lw=2)
        axes.plot(x, values.T, style, color=colour, lw=0.6, alpha=0.6)
        if len(values) >= FEWEST_SEEDS_FOR_A_BAND:
            low, high = [e.low for e in estimates], [e.high for e in estimates]
            axes.fill_between(
                x, np.clip(low, *within), np.clip(high, *within), color=colour, alpha=0.15, lw=0
            )
    axes.grid(alpha=0.3)
    axes.legend(loc="best", fontsize=8, frameon=False)


def histogram(values: Mapping[str, ArrayLike], label: str) -> Figure:
    """Distributions on one axis."""
    figure, axes = plt.subplots(figsize=(8, 3.5), layout="constrained")
    every = np.concatenate([np.asarray(v).ravel() for v in values.values()])
    low, high = np.quantile(every, [0.001, 0.999]).tolist()
    bins = np.linspace(low, high, 60).tolist()
    for i, (name, sample) in enumerate(values.items()):
        axes.hist(np.asarray(sample).ravel(), bins, density=True, alpha=0.55, label=name, color=COLOURS[i])
    axes.set(xlabel=label, ylabel="density")
    axes.legend(fontsize=8, frameon=False)
    return figure


def save(figure: Figure, path: Path) -> None:
    """Writes a figure as PNG and closes it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def figures_by_family(curves: Mapping[str, Sequence[Curve]]) -> dict[str, Figure]:
    """A figure for each family of arms and way in which a reward enters, with the family's plain arm in each.

    Args:
        curves: By "family", "family/reward" or "family/reward/mode"; arms without a curve are left out.

    Returns:
        By file name without its ending.
    """
    groups: dict[tuple[str, ...], dict[str, Any]] = {}
    for name, runs in curves.items():
        if all(runs):
            family, *rest = name.split("/")
            groups.setdefault((family, *rest[1:]), {})[name] = runs
    with_modes = {family for family, *mode in groups if mode}
    figures: dict[str, Figure] = {}
    for (family, *mode), members in groups.items():
        if not mode and family in with_modes:
            continue
        drawn = (groups.get((family,), {}) if mode else {}) | members
        for metric, label in FIGURES.items():
            if all(metric in point for runs in drawn.values() for run in runs for point in run):
                words = " ".join([family, *mode, metric, "while training"])
                stem = "".join(c if c.isalnum() or c == "_" else "-" for c in words)
                figures[stem] = training_curves(drawn, metric, label)
    return figures
