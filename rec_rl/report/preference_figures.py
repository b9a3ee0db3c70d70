"""Accuracy and loss of a reward model while it learns from preferences (PrefRec Fig. 6, 7)."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from rec_rl.report.figures import COLOURS

WINDOW = 10  # steps of a moving mean


def fit_figure(curves: Mapping[str, Sequence[Mapping[str, ArrayLike]]]) -> Figure:
    """Moving means of the pair accuracy and the loss of each batch: mean over seeds, and every seed.

    Args:
        curves: By kind of label, {"accuracy", "loss"} of every seed, one value a step.
    """
    figure, panels = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    for axes, metric in zip(panels, ("accuracy", "loss"), strict=True):
        for i, (name, runs) in enumerate(curves.items()):
            smooth = np.array([_moving_mean(run[metric]) for run in runs])
            steps = np.arange(smooth.shape[1]) + WINDOW
            axes.plot(steps, smooth.mean(axis=0), color=COLOURS[i], lw=2, label=name)
            axes.plot(steps, smooth.T, color=COLOURS[i], lw=0.6, alpha=0.5)
        axes.set(xlabel="gradient steps", ylabel=f"{metric} of the batch, mean of {WINDOW} steps")
        axes.grid(alpha=0.3)
    panels[0].legend(fontsize=8, frameon=False)
    return figure


def _moving_mean(values: ArrayLike) -> NDArray[np.float64]:
    """Means of WINDOW values, [n] to [n - WINDOW + 1]; a batch of ties alone has no accuracy and is .5."""
    known = np.nan_to_num(np.asarray(values, dtype=np.float64), nan=0.5)
    return np.convolve(known, np.full(WINDOW, 1 / WINDOW), mode="valid")
