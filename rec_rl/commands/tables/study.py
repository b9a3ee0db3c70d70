"""What tables share on the command line: options, and how they end."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rec_rl.commands.options import estimate_text, print_json, print_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from rec_rl.experiments.records import RunRecord

Quick = Annotated[bool, typer.Option("--quick", help="The form of the study in a minute; no result.")]


def finish(
    record: "RunRecord",
    folder: Path,
    *,
    title: str,
    columns: Sequence[str],
    figures: Mapping[str, "Figure"],
    as_json: bool,
    each_seed: str | None = None,
) -> None:
    """Writes record, figures, Markdown and page into ``folder`` and prints the result.

    Args:
        record: Of the study.
        folder: Of the run.
        title: Of the table.
        columns: Metrics of the arms that the table shows; the record holds all.
        figures: By file name without its ending.
        as_json: Print the record instead of the table.
        each_seed: Metric of which the table shows the value of every seed, too.
    """
    from rec_rl.experiments.records import write_text
    from rec_rl.report.figures import save
    from rec_rl.report.page import caption, rewrite_report

    record.save(folder / "record.json")
    for name, figure in figures.items():
        save(figure, folder / "figures" / f"{name}.png")
    rewrite_report(folder)
    plain = record.to_dict()
    rows, header = _rows(plain, columns), ["arm", *columns]
    if each_seed is not None:
        header.append(f"{each_seed} by seed")
        rows = [
            [*row, _by_seed(arm, each_seed)] for row, arm in zip(rows, _arms(plain).values(), strict=True)
        ]
    captions = {name: caption(name) for name in figures}
    write_text(folder / "table.md", _markdown(plain, title, header, rows, captions))
    if as_json:
        print_json(plain)
        return
    print_table(title, header, rows)
    print("\n".join(_remarks(plain)))
    print(folder / "report.html")


def _rows(record: Mapping[str, Any], columns: Sequence[str]) -> list[list[str]]:
    return [
        [name, *(estimate_text(arm["metrics"].get(column), 4) for column in columns)]
        for name, arm in _arms(record).items()
    ]


def _arms(record: Mapping[str, Any]) -> dict[str, Any]:
    return {**record["arms"], **{f"{name} (control)": arm for name, arm in record["controls"].items()}}


def _by_seed(arm: Mapping[str, Any], metric: str) -> str:
    return ", ".join(f"{value:.4f}" for value in arm["metrics"].get(metric, {}).get("per_seed") or [])


def _remarks(record: Mapping[str, Any]) -> list[str]:
    """The record's metrics, what it missed and its notes, a line each."""
    return [
        *(f"{name}: {estimate_text(metric, 4)}" for name, metric in record["metrics"].items()),
        *(f"missed: {miss['bar']}: {miss['value']} ({miss['reason']})" for miss in record["missed"]),
        *record["notes"],
    ]


def _markdown(
    record: Mapping[str, Any],
    title: str,
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    captions: Mapping[str, str],
) -> str:
    seeds = ", ".join(map(str, record["seeds"]))
    lines = [
        f"# {title}",
        "",
        f"`{record['command']}`, seeds {seeds}, commit {record['commit']}, data {record['data_hash'][:12]}",
        "",
        f"| {' | '.join(header)} |",
        f"|{'---|' * len(header)}",
        *(f"| {' | '.join(row)} |" for row in rows),
        "",
        *(f"- {remark}" for remark in _remarks(record)),
        "",
        *(f"![{words}](figures/{name}.png)" for name, words in captions.items()),
    ]
    return "\n".join(lines) + "\n"
