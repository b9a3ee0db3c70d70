"""One self-contained HTML page that compares runs: curves, differences, and what the runs differ in."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from rec_rl.data.levels import TASKS
from rec_rl.experiments.compare_runs import Arm, difference_of
from rec_rl.experiments.records import RunRecord, write_text
from rec_rl.report.figures import FIGURES, Curve, draw_means, save, training_curves, values_of
from rec_rl.report.offline_figures import curves_figure
from rec_rl.report.page import fill

VALIDATION_AUC = "validation_auc"


def write_comparison(path: Path, arms: Sequence[Arm], record: RunRecord) -> None:
    """Writes the page.

    Args:
        path: Of the page.
        arms: The runs.
        record: What `compare_runs` made of them.
    """
    differences = {arm.name: difference_of(arms[0], arm) for arm in arms[1:]}
    found = [row[name] for row in record.arms.values() for name in differences.values() if name in row]
    with_interval = [difference for difference in found if not np.isnan(difference.low)]
    curves = {arm.name: [read_curve(folder) for folder in arm.folders] for arm in arms}
    with TemporaryDirectory() as folder:
        page = fill(
            "comparison.html",
            figures=save_curves(curves, Path(folder)),
            title=" and ".join(arm.name for arm in arms),
            record=record.to_dict(),
            arms=arms,
            differences=differences,
            judged=any(estimate.verdict for row in record.arms.values() for estimate in row.values()),
            num_intervals=len(with_interval),
            num_apart=sum(each.low > 0 or each.high < 0 for each in with_interval),
        )
    write_text(path, page)


def read_curve(folder: Path) -> Curve:
    """The evaluations on the way that a run left in ``metrics.csv``; none where it left no such file."""
    path = folder / "metrics.csv"
    if not path.is_file():
        return []
    return [{str(name): value for name, value in row.items()} for _, row in pd.read_csv(path).iterrows()]


def save_curves(curves: Mapping[str, Sequence[Curve]], folder: Path) -> dict[str, Path]:
    """A figure of everything by which all runs that have a curve were evaluated on the way.

    Returns:
        Paths by caption.
    """
    drawn = {name: runs for name, runs in curves.items() if all(runs)}
    if not drawn:
        return {}
    shared = set.intersection(*(set(run[0]) for runs in drawn.values() for run in runs))
    figures: dict[str, Figure] = {}
    for metric, label in FIGURES.items():
        if metric in shared:
            figures[f"{label} while training"] = training_curves(drawn, metric, label)
    for task in TASKS:
        if f"ncis_{task}" in shared:
            figures[f"NCIS of {task} on validation users while training, supported or not"] = curves_figure(
                drawn, task
            )
    if VALIDATION_AUC in shared:
        figures["AUC on validation rows by epoch"] = _epochs_figure(drawn)
    paths = {caption: folder / f"{i}.png" for i, caption in enumerate(figures)}
    for caption, figure in figures.items():
        save(figure, paths[caption])
    return paths


def _epochs_figure(curves: Mapping[str, Sequence[Curve]]) -> Figure:
    figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    lines = {
        name: (values_of(runs, "epoch")[0], values_of(runs, VALIDATION_AUC)) for name, runs in curves.items()
    }
    draw_means(axes, lines)
    axes.set(xlabel="epoch", ylabel="AUC on validation rows")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure
