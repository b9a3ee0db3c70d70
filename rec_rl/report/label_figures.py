"""What a reward learned from ever more labels is worth, by how the pairs were chosen."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from rec_rl.evaluation.intervals import mean_interval
from rec_rl.report.figures import COLOURS, FEWEST_SEEDS_FOR_A_BAND


def labels_figure(curves: Mapping[str, Sequence[Sequence[float]]], block: int) -> Figure:
    """Within-user correlation by number of labels: mean over worlds, every world, and the 95 % interval.

    Args:
        curves: By way of choosing, the correlation after each block, world by world.
        block: Labels of a block.
    """
    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    for colour, (name, worlds) in zip(COLOURS, curves.items(), strict=False):
        values = np.array(worlds)
        labels = block * np.arange(1, values.shape[1] + 1)
        axes.plot(labels, values.mean(axis=0), color=colour, lw=2, label=name)
        if len(values) >= FEWEST_SEEDS_FOR_A_BAND:
            intervals = [mean_interval(column) for column in values.T]
            axes.fill_between(
                labels, [i.low for i in intervals], [i.high for i in intervals], color=colour, alpha=0.2
            )
        axes.plot(labels, values.T, color=colour, lw=0.4, alpha=0.3)
    axes.set(xlabel="labelled pairs", ylabel="correlation with levels, within users not trained on")
    axes.legend(fontsize=9, frameon=False, title="pairs chosen", loc="lower right")
    axes.grid(alpha=0.3)
    return figure
