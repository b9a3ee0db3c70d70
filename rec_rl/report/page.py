"""One self-contained HTML page per run: tables, figures, configuration, nothing fetched from anywhere."""

import base64
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader

from rec_rl.experiments.records import read_record, write_text
from rec_rl.report.figures import Curve, figures_by_family, save


def write_report(
    folder: Path,
    *,
    title: str,
    curves: Mapping[str, Sequence[Curve]],
    figures: Mapping[str, Path] | None = None,
    verdict: str | None = None,
) -> Path:
    """Writes ``report.html`` beside the run's ``record.json``.

    Args:
        folder: The run's folder; figures go into its ``figures``.
        title: Of the page.
        curves: Runs of every arm, drawn with intervals.
        figures: More PNG files by caption.
        verdict: What the run shows, in words.
    """
    drawn = {}
    for name, figure in figures_by_family(curves).items():
        drawn[caption(name)] = folder / "figures" / f"{name}.png"
        save(figure, drawn[caption(name)])
    drawn |= figures or {}
    page = render(read_record(folder / "record.json"), title=title, figures=drawn, verdict=verdict)
    path = folder / "report.html"
    write_text(path, page)
    return path


def rewrite_report(folder: Path) -> Path:
    """Writes ``report.html`` from the record and the PNG files that a run left."""
    record = read_record(folder / "record.json")
    figures = {caption(path.stem): path for path in sorted((folder / "figures").glob("*.png"))}
    path = folder / "report.html"
    write_text(path, render(record, title=folder.name, figures=figures))
    return path


def caption(stem: str) -> str:
    """What the page calls a figure, by its file's name without the ending."""
    return stem.replace("-", " ")


def render(
    record: Mapping[str, object], *, title: str, figures: Mapping[str, Path], verdict: str | None = None
) -> str:
    """The page's text."""
    return fill(
        "page.html",
        figures=figures,
        title=title,
        record=record,
        verdict=verdict,
        config=json.dumps(record["config"], indent=1),
    )


def fill(template: str, *, figures: Mapping[str, Path], **values: Any) -> str:
    """A template of this package with values, every string escaped, and with PNG files inside, by caption."""
    loader = PackageLoader("rec_rl.report", ".")
    environment = Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["estimate"] = _estimate
    images = {
        caption: "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()
        for caption, path in figures.items()
    }
    return environment.get_template(template).render(images=images, **values)


def _estimate(metric: Mapping[str, float | None] | None) -> str:
    if metric is None or metric.get("value") is None:
        return "–"
    low, high = metric.get("low"), metric.get("high")
    interval = f" [{low:,.4g}, {high:,.4g}]" if low is not None and high is not None else ""
    return f"{metric['value']:,.4g}{interval}"
