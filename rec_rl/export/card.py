"""The model card: what the model is, what it was measured to do, what it is for and where it ends."""

from collections.abc import Mapping, Sequence
from typing import Any

from rec_rl.export.contents import Contents
from rec_rl.runtime.item_graph import EUCLIDEAN, INNER_PRODUCT

FOUND_BY = {EUCLIDEAN: "the nearest", INNER_PRODUCT: "those of largest inner product"}


def model_card(contents: Contents, description: Mapping[str, Any], record: Mapping[str, Any] | None) -> str:
    """The card as Markdown.

    Args:
        contents: What was exported.
        description: The content of ``artefact.json``.
        record: The run's record; None where it left none.
    """
    parts = [
        [f"# {contents.what[0].upper()}{contents.what[1:]}"],
        _source(description, record),
        _section("Intended use", [f"- {sentence}" for sentence in contents.intended_use]),
        _section("What was measured", _metrics(record)),
        _section("Limits", [f"- {sentence}" for sentence in (*contents.limits, *_record_limits(record))]),
        _section("Features", _features(contents)),
        _section("Graphs", _graphs(description)),
        _section("Items", _items(description)),
    ]
    return "\n\n".join("\n".join(lines) for lines in parts) + "\n"


def _section(title: str, lines: Sequence[str]) -> list[str]:
    return [f"## {title}", "", *lines]


def _source(description: Mapping[str, Any], record: Mapping[str, Any] | None) -> list[str]:
    source = description["source"]
    rows = [("run", source["run"]), ("rec_rl", source["rec_rl"])]
    if record is not None:
        packages = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
        rows += [
            ("command", f"`{record['command']}`"),
            ("data hash", f"`{record['data_hash']}`"),
            ("seeds", ", ".join(map(str, record["seeds"]))),
            ("commit", str(record.get("commit"))),
            ("trained with", packages),
        ]
    return ["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)]


def _metrics(record: Mapping[str, Any] | None) -> list[str]:
    if record is None or not record["metrics"]:
        return ["Nothing: the run left no metric, so nothing is claimed."]
    lines = ["| metric | value | 95 % interval | units | verdict |", "|---|---|---|---|---|"]
    for name, metric in record["metrics"].items():
        low, high = metric.get("low"), metric.get("high")
        interval = "none" if low is None or high is None else f"{low:.4g} to {high:.4g}"
        value = "-" if metric["value"] is None else f"{metric['value']:.4g}"
        lines.append(f"| {name} | {value} | {interval} | {metric['n']} | {metric.get('verdict') or '-'} |")
    return lines


def _record_limits(record: Mapping[str, Any] | None) -> list[str]:
    if record is None:
        return []
    missed = [f"Missed: {miss['bar']}, got {miss['value']} ({miss['reason']})." for miss in record["missed"]]
    return [*missed, *record["notes"]]


def _features(contents: Contents) -> list[str]:
    lines = ["| feature | type | required | meaning |", "|---|---|---|---|"]
    for name, feature in contents.features.items():
        size = feature.get("size") or f"at most {feature['most']}" if len(feature) > 3 else ""
        needed = "yes" if feature["required"] else "no"
        lines.append(f"| {name} | {feature['type']} {size} | {needed} | {feature['meaning']} |")
    return [
        *lines,
        "",
        f"Normalisation: {contents.normalisation}.",
        "",
        f"Unknown ids: {contents.unknown_ids}.",
    ]


def _graphs(description: Mapping[str, Any]) -> list[str]:
    lines = ["| graph | inputs | output | rows compared | largest error |", "|---|---|---|---|---|"]
    for graph in description["graphs"].values():
        inputs = ", ".join(
            f"{name} {each['type']} [{', '.join(map(str, each['shape']))}]"
            for name, each in graph["inputs"].items()
        )
        parity = graph["parity"]
        lines.append(
            f"| {graph['file']} | {inputs} | {graph['output']} | {parity['rows']:,} | "
            f"{parity['largest_error']:.1e} |"
        )
    return lines


def _items(description: Mapping[str, Any]) -> list[str]:
    items = description["items"]
    if items is None:
        return ["None: the graphs answer for themselves; `--items` adds a catalogue to a policy."]
    how = "by the graph of near neighbours, else exactly" if items["graph"] else "exactly"
    search = f"; an action finds {FOUND_BY[items['metric']]}, {how}" if items["metric"] else ""
    return [f"{items['count']:,}{search}."]
