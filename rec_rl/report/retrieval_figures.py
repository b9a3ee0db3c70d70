"""Figures of the retrieval study, drawn from its record."""

from collections.abc import Sequence

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from numpy.typing import NDArray

from rec_rl.data.levels import TASKS
from rec_rl.evaluation.intervals import Estimate
from rec_rl.experiments.records import RunRecord
from rec_rl.experiments.retrieval_value import CLOSED_FORM, LOGGING, MEAN, SERVED
from rec_rl.report.figures import COLOURS


def latency_figure(record: RunRecord) -> Figure:
    """Median and 99th percentile of one query and of a batch, exact against graph."""
    searches = {name: metrics for name, metrics in record.arms.items() if "recall" in metrics}
    figure, panels = plt.subplots(1, 2, figsize=(11, 4.5), sharey=True, layout="constrained")
    places = np.arange(len(searches))
    for axes, prefix, title in zip(panels, ("", "batch_"), ("one query", "a batch of 64"), strict=True):
        for quantile, colour, offset in (("p50", COLOURS[0], -0.15), ("p99", COLOURS[1], 0.15)):
            found = [metrics[f"{prefix}{quantile}_ms"] for metrics in searches.values()]
            axes.barh(
                places + offset,
                [e.value for e in found],
                0.3,
                color=colour,
                label=quantile,
                xerr=_ends(found),
            )
        axes.set(xscale="log", xlabel="milliseconds", title=title)
        axes.grid(axis="x", alpha=0.3)
    labels = [f"{name} (recall {metrics['recall'].value:.3f})" for name, metrics in searches.items()]
    panels[0].set_yticks(places, labels, fontsize=8)
    panels[0].invert_yaxis()
    panels[1].legend(fontsize=8, frameon=False)
    return figure


def loss_figure(record: RunRecord) -> Figure:
    """What items instead of actions cost, over the size of the catalogue, by task."""
    sizes = record.config["catalogues"]
    figure, panels = plt.subplots(1, len(TASKS), figsize=(12, 4), layout="constrained")
    for task, axes in zip(TASKS, panels, strict=True):
        for i, (policy, way) in enumerate(((LOGGING, SERVED), (CLOSED_FORM, SERVED), (CLOSED_FORM, MEAN))):
            found = [record.arms[f"{policy}, {size:,} items, {way}"][f"{task}_change"] for size in sizes]
            axes.errorbar(
                sizes,
                [e.value for e in found],
                _ends(found),
                fmt="-o" if way == SERVED else "--s",
                ms=4,
                capsize=3,
                color=COLOURS[i],
                label=f"{policy}, {way}",
            )
        axes.axhline(0, color="grey", lw=0.8)
        axes.set(xscale="log", xlabel="items of the catalogue", title=task)
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("level with a catalogue less that without")
    panels[-1].legend(fontsize=8, frameon=False)
    return figure


def _ends(estimates: Sequence[Estimate]) -> NDArray[np.float64]:
    """Distances from the values to the intervals' ends, shape [2, n]; 0 where there is no interval."""
    below = [e.value - e.low for e in estimates]
    above = [e.high - e.value for e in estimates]
    ends: NDArray[np.float64] = np.maximum(0, np.nan_to_num([below, above]))
    return ends
