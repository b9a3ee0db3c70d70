"""A sweep at a glance: one line per trial across its settings, coloured by what it reached."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

LOGARITHMIC_SPAN = 20.0


def parallel_coordinates(trials: Sequence[Mapping[str, Any]], metric: str) -> Figure:
    """One vertical axis per setting and one for the metric.

    Args:
        trials: Settings and the metric of every trial, by name; numbers or words.
        metric: Name of the last axis and of the colour.

    Raises:
        ValueError: If there are no trials.
    """
    if not trials:
        raise ValueError("parallel coordinates need one trial or more, got none")
    names = [name for name in trials[0] if name != metric] + [metric]
    axes_values = [axis_positions([trial[name] for trial in trials]) for name in names]
    scores = np.array([float(trial[metric]) for trial in trials])
    colours = plt.get_cmap("viridis")
    span = Normalize(float(scores.min()), float(max(scores.max(), scores.min() + 1e-9)))
    figure, axes = plt.subplots(figsize=(1.6 * len(names) + 2, 4.5), layout="constrained")
    for trial in np.argsort(scores):  # the best on top
        line = [positions[trial] for positions, _ in axes_values]
        axes.plot(range(len(names)), line, color=colours(span(scores[trial])), lw=1.6, alpha=0.85)
    for x, (_, ticks) in enumerate(axes_values):
        axes.axvline(x, color="0.7", lw=0.8, zorder=0)
        for text, y in ticks.items():
            box = {"boxstyle": "round,pad=0.1", "fc": "white", "ec": "none", "alpha": 0.8}
            axes.annotate(
                text, (x, y), xytext=(4, 0), textcoords="offset points", fontsize=8, va="center", bbox=box
            )
    axes.set(xticks=range(len(names)), xticklabels=names, yticks=[], xlim=(-0.1, len(names) - 0.6))
    for spine in axes.spines.values():
        spine.set_visible(False)
    figure.colorbar(ScalarMappable(span, colours), ax=axes, label=metric, pad=0.01)
    return figure


def axis_positions(values: Sequence[Any]) -> tuple[list[float], dict[str, float]]:
    """Heights of values on an axis from 0 to 1, and the heights of its labels.

    Words and few whole numbers are spread evenly; a wide span of positive numbers is logarithmic.
    """
    distinct = sorted(set(values), key=_natural)
    if any(isinstance(v, str) for v in distinct) or all(isinstance(v, int) for v in distinct):
        heights = np.linspace(0, 1, len(distinct)) if len(distinct) > 1 else np.array([0.5])
        where = dict(zip(distinct, heights.tolist(), strict=True))
        return [where[v] for v in values], {str(v): where[v] for v in distinct}
    numbers = np.array([float(v) for v in values])
    low, high = float(numbers.min()), float(numbers.max())
    if low == high:
        return [0.5] * len(numbers), {f"{low:.3g}": 0.5}
    scaled = np.log(numbers) if low > 0 and high / low > LOGARITHMIC_SPAN else numbers
    heights = (scaled - scaled.min()) / (scaled.max() - scaled.min())
    return heights.tolist(), {f"{low:.3g}": 0.0, f"{high:.3g}": 1.0}


def _natural(value: Any) -> list[tuple[float, str]]:
    """Order of numbers, and of the numbers inside words: [64, 64] comes before [128, 128]."""
    parts = re.findall(r"[\d.]+|[^\d.]+", str(value)) if isinstance(value, str) else [value]
    return [(float(part), "") if _is_number(part) else (float("inf"), str(part)) for part in parts]


def _is_number(part: Any) -> bool:
    return not isinstance(part, str) or part.replace(".", "", 1).isdigit()
