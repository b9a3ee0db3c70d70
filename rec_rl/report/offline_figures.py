"""Figures of PrefRec's experiments: learning curves, proportions of levels, the table as bars."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from rec_rl.data.levels import Task
from rec_rl.evaluation.intervals import Estimate
from rec_rl.report.figures import COLOURS, Curve, draw_means, values_of


def curves_figure(curves: Mapping[str, Sequence[Curve]], task: Task) -> Figure:
    """NCIS on validation users over the share of training, as `draw_means` does (Fig. 5).

    Algorithms take different numbers of gradient steps; the axis is each one's own share.
    """
    figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    lines = {}
    for name, runs in curves.items():
        if all(runs):
            values = values_of(runs, f"ncis_{task}")
            points = values.shape[1]
            lines[name] = (np.arange(1, points + 1) / points, values)
    draw_means(axes, lines)
    axes.set(xlabel="share of the gradient steps", ylabel=f"NCIS of {task} on validation users")
    return figure


def level_shares_figure(shares: Mapping[str, Sequence[Sequence[float]]]) -> Figure:
    """Share of sessions at each level, mean over logs (Fig. 4).

    Args:
        shares: By kind of level, the shares of every log.
    """
    figure, axes = plt.subplots(figsize=(6, 3.5), layout="constrained")
    width = 0.8 / len(shares)
    for i, (name, rows) in enumerate(shares.items()):
        mean = np.mean(rows, axis=0)
        axes.bar(np.arange(len(mean)) + (i - (len(shares) - 1) / 2) * width, mean, width, label=name)
    axes.set(xlabel="level", ylabel="share of sessions")
    axes.legend(frameon=False)
    return figure


def values_figure(values: Mapping[str, Mapping[str, Estimate]], tasks: Sequence[Task]) -> Figure:
    """True mean level of a session by algorithm and task, with intervals over seeds (Table 2)."""
    figure, panels = plt.subplots(
        1, len(tasks), figsize=(4 * len(tasks), 4), layout="constrained", sharey=True, squeeze=False
    )
    for task, axes in zip(tasks, panels[0], strict=True):
        for at, metrics in enumerate(values.values()):
            if task in metrics:
                estimate = metrics[task]
                axes.plot(estimate.value, at, "o", color=COLOURS[0])
                axes.plot([estimate.low, estimate.high], [at, at], color=COLOURS[0], lw=2)
        axes.set_yticks(range(len(values)), list(values))
        axes.set_xlabel(f"true {task} of the policy trained for it")
        axes.grid(alpha=0.3, axis="x")
    panels[0][0].invert_yaxis()
    return figure
