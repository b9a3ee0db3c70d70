"""Two records side by side, only where they rest on the same data."""

import math
from collections.abc import Mapping
from typing import Any

from rec_rl.errors import DatasetError
from rec_rl.evaluation.intervals import Estimate, paired_difference
from rec_rl.experiments.records import RunRecord

Record = Mapping[str, Any]


def compare_records(first: Record, second: Record, *, names: tuple[str, ...], command: str) -> RunRecord:
    """A record whose arms are the metrics that both have, with "first", "second" and "difference".

    The difference has an interval where both have a value for each of the same seeds: the same seed is the
    same split, so that they are paired. Elsewhere it is a bare number.

    Args:
        first, second: As `read_record` gives them.
        names: What to call them.
        command: For the record.

    Raises:
        DatasetError: If they rest on different data, splits or preprocessing, or share no metric.
    """
    require_same_data(first, second, names)
    a, b = (_with_value(estimates_of(record)) for record in (first, second))
    shared = [name for name in a if name in b]
    if not shared:
        raise DatasetError(f"{names[0]} and {names[1]} share no metric")
    same_seeds = first["seeds"] == second["seeds"]
    left_out = sorted({*a, *b} - {*shared})
    notes = [f"In one of the two only: {', '.join(left_out)}."] if left_out else []
    if not same_seeds:
        notes.append("The seeds differ, so that differences have no interval.")
    return RunRecord(
        command=command,
        seeds=sorted({*first["seeds"], *second["seeds"]}),
        data_hash=first["data_hash"],
        config={"first": names[0], "second": names[1]},
        arms={
            name: {
                "first": a[name],
                "second": b[name],
                "difference": difference(a[name], b[name], paired=same_seeds),
            }
            for name in shared
        },
        notes=notes,
    )


def require_same_data(first: Record, second: Record, names: tuple[str, ...]) -> None:
    """Raises DatasetError if two records rest on different data, splits or preprocessing."""
    hashes = [record.get("data_hash") or "" for record in (first, second)]
    if hashes[0] != hashes[1] or not hashes[0]:
        raise DatasetError(
            f"results compare only on the same data and split, got data hash {hashes[0][:12] or 'none'} in "
            f"{names[0]} and {hashes[1][:12] or 'none'} in {names[1]}"
        )


def estimates_of(record: Record) -> dict[str, Estimate]:
    """Every estimate, "<metric>" of the run itself and "<arm>: <metric>" of its arms; NaN where refused."""
    named = {"": record["metrics"]}
    for part in ("arms", "controls"):
        named |= {f"{arm}: ": row["metrics"] for arm, row in record.get(part, {}).items()}
    return {
        f"{prefix}{name}": _estimate(metric)
        for prefix, metrics in named.items()
        for name, metric in metrics.items()
    }


def difference(first: Estimate, second: Estimate, *, paired: bool) -> Estimate:
    """Second less first; with an interval where ``paired`` and both have values of two seeds or more."""
    a, b = (estimate.per_seed or () for estimate in (first, second))
    if paired and len(a) == len(b) > 1:
        return paired_difference(b, a)
    nan = float("nan")
    return Estimate(value=second.value - first.value, low=nan, high=nan, n=min(first.n, second.n))


def _with_value(estimates: Mapping[str, Estimate]) -> dict[str, Estimate]:
    return {name: estimate for name, estimate in estimates.items() if not math.isnan(estimate.value)}


def _estimate(metric: Mapping[str, Any]) -> Estimate:
    value, low, high = (
        float("nan") if metric.get(name) is None else metric[name] for name in ("value", "low", "high")
    )
    return Estimate(
        value=value,
        low=low,
        high=high,
        n=metric["n"],
        per_seed=tuple(metric["per_seed"]) if metric.get("per_seed") else None,
        verdict=metric.get("verdict"),
    )
