"""Off-policy estimates against the truth, as a figure."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from rec_rl.data.levels import TASKS
from rec_rl.evaluation.off_policy import CAUTION, NOT_SUPPORTED, SUPPORTED
from rec_rl.report.figures import COLOURS

VERDICT_COLOURS = {SUPPORTED: COLOURS[2], CAUTION: COLOURS[7], NOT_SUPPORTED: COLOURS[4]}


def truth_figure(studies: Sequence[Mapping[str, Any]], kind: str) -> Figure:
    """One estimator against the online level of every policy in every world, by task and verdict.

    Args:
        studies: `TruthStudy` of each world, as plain values.
        kind: Name of the estimator.
    """
    figure, panels = plt.subplots(1, len(TASKS), figsize=(12, 4), layout="constrained")
    for task, axes in zip(TASKS, panels, strict=True):
        for word, colour in VERDICT_COLOURS.items():
            points = [
                (policy["estimates"][kind][task]["value"], policy["online"][task]["value"])
                for study in studies
                for policy in study["policies"]
                if policy["support"]["verdict"].partition(":")[0] == word
            ]
            if points:
                estimated, online = np.array(points, dtype=np.float64).T
                axes.scatter(estimated, online, s=16, color=colour, label=word, alpha=0.8)
        rank = np.mean([study["spearman"][kind][task] for study in studies])
        axes.set(xlabel=f"{kind} of {task}", title=f"mean Spearman {rank:.2f}")
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("true online level")
    panels[0].legend(fontsize=8, frameon=False)
    return figure
