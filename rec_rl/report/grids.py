"""Records whose arms are named "<row>/<arm>": as a Markdown grid, and as a figure of their gains."""

from collections.abc import Mapping
from typing import Any

from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from rec_rl.report.figures import COLOURS

Record = Mapping[str, Any]
"""As ``RunRecord.to_dict`` gives it."""


def markdown_grid(record: Record, metric: str, title: str) -> str:
    """The metric of every row and arm, its gain over the first arm with interval, and the notes."""
    cells = _cells(record)
    arms = list(dict.fromkeys(arm for _, arm in cells))
    lines = [f"# {title}", "", f"    {record['command']}", ""]
    lines += [
        f"{metric}, and its gain with a 95 % interval. Seeds {', '.join(map(str, record['seeds']))}; data "
        f"{record['data_hash'][:12]}; {record['seconds'] / 60:.0f} minutes."
    ]
    lines += ["", "| | " + " | ".join(arms) + " |", "|---" * (len(arms) + 1) + "|"]
    for row in dict.fromkeys(row for row, _ in cells):
        texts = [_cell(cells.get((row, arm)), metric) for arm in arms]
        lines.append(f"| {row} | " + " | ".join(texts) + " |")
    lines += ["", *(f"- {note}" for note in record["notes"])]
    return "\n".join(lines) + "\n"


def gain_figure(record: Record, metric: str, label: str) -> Figure:
    """The gains of every arm with intervals, one group a row; controls in grey.

    Args:
        record: What to draw.
        metric: The metric's name without ``_gain``.
        label: Of the axis.
    """
    cells = {key: row[f"{metric}_gain"] for key, row in _cells(record).items() if f"{metric}_gain" in row}
    controls = {name.partition("/")[2] for name in record["controls"]}
    arms = list(dict.fromkeys(arm for _, arm in cells))
    rows = list(dict.fromkeys(row for row, _ in cells))
    figure, axes = plt.subplots(figsize=(8, 1.2 + 0.16 * len(cells)), layout="constrained")
    height = 0.8 / max(1, len(arms))
    greys = iter(("#222222", "#777777", "#aaaaaa", "#cccccc"))
    colours = {arm: next(greys) if arm in controls else COLOURS[i] for i, arm in enumerate(arms)}
    for i, arm in enumerate(arms):
        drawn = [(y, cells[row, arm]) for y, row in enumerate(rows) if (row, arm) in cells]
        values = [e["value"] for _, e in drawn]
        ends = [[v - e["low"] for v, (_, e) in zip(values, drawn, strict=True)]]
        ends += [[e["high"] - v for v, (_, e) in zip(values, drawn, strict=True)]]
        places = [y + (i - (len(arms) - 1) / 2) * height for y, _ in drawn]
        axes.errorbar(values, places, xerr=ends, fmt="o", ms=3.5, lw=1.2, color=colours[arm], label=arm)
    axes.axvline(0, color="black", lw=0.8)
    axes.set(xlabel=label, yticks=range(len(rows)), yticklabels=rows)
    axes.invert_yaxis()
    axes.grid(axis="x", alpha=0.3)
    axes.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def _cells(record: Record) -> dict[tuple[str, str], Mapping[str, Any]]:
    """Metrics of every arm and control by (row, arm)."""
    both = {**record["arms"], **record["controls"]}
    parts = {name: name.partition("/") for name in both}
    return {(row, arm): both[name]["metrics"] for name, (row, _, arm) in parts.items()}


def _cell(metrics: Mapping[str, Any] | None, metric: str) -> str:
    if metrics is None or metrics[metric]["value"] is None:
        return "–"
    text = f"{metrics[metric]['value']:.4f}"
    gain = metrics.get(f"{metric}_gain")
    if gain is None:
        return text
    return f"{text} ({gain['value']:+.4f} [{gain['low']:+.4f}, {gain['high']:+.4f}])"
