"""What retrieval costs: time and recall at a million items, and the value of serving items for actions.

MTRec and PrefRec serve actions; a platform serves items. Two costs lie between: the search, exact or by a
graph of near neighbours, and the distance from the action to the nearest item that exists.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rec_rl.data.hashing import content_hash
from rec_rl.evaluation.intervals import Estimate, bootstrap_interval, mean_interval
from rec_rl.experiments.records import RunRecord, to_plain
from rec_rl.experiments.retrieval_value import ServedItems, value_trial
from rec_rl.experiments.runner import Event, run_trials
from rec_rl.experiments.telling import telling
from rec_rl.progress import Progress
from rec_rl.retrieval.graph import GraphIndex
from rec_rl.retrieval.index import ExactIndex, Found, ItemIndex
from rec_rl.runtime.item_graph import NOTHING

Floats = NDArray[np.float32]

DIMENSIONS = (8, 64)
METRICS = ("inner_product", "cosine")
K = 100
BATCH = 64
RECALL_BAR = 0.95
ALLOWED_SHARE, NUM_SEEN = 0.5, 100
NUM_TOPICS = 1_000


@dataclass(frozen=True, kw_only=True)
class StudySize:
    """How much is measured.

    Attributes:
        num_items: Of the searches.
        num_queries: Single queries timed, on which recall is taken, too.
        num_batches: Batches of BATCH queries timed.
        catalogues: Numbers of items of the session worlds.
        num_users, num_requests: Of a session world.
    """

    num_items: int = 1_000_000
    num_queries: int = 300
    num_batches: int = 20
    catalogues: tuple[int, ...] = (1_000, 10_000, 100_000, 1_000_000)
    num_users: int = 600
    num_requests: int = 120


QUICK = StudySize(
    num_items=10_000,
    num_queries=60,
    num_batches=3,
    catalogues=(100, 1_000),
    num_users=60,
    num_requests=40,
)


def run_study(*, num_worlds: int, quick: bool, folder: Path, progress: Progress, command: str) -> RunRecord:
    """Runs what is not in ``folder`` yet, search by search and world by world.

    Searches are timed one at a time; worlds run on all cores.

    Args:
        num_worlds: Session worlds, over which the intervals of the change are.
        quick: The form of the study at 10,000 items.
        folder: Keeps finished trials.
        progress: Where progress is shown.
        command: For the record.
    """
    started = time.monotonic()
    size = QUICK if quick else StudySize()

    searches = {
        f"{dimension}-d {metric}": {"dimension": dimension, "metric": metric, "size": asdict(size)}
        for dimension in DIMENSIONS
        for metric in METRICS
    }
    found = run_trials(search_trial, searches, store=folder / "trials", progress=progress, max_concurrent=1)
    worlds = {
        f"world {seed}": asdict(
            ServedItems(
                seed=seed,
                catalogues=size.catalogues,
                num_users=size.num_users,
                num_requests=size.num_requests,
            )
        )
        for seed in range(num_worlds)
    }
    values = list(run_trials(value_trial, worlds, store=folder / "trials", progress=progress).values())
    arms = {
        f"{name} {index}": {metric: Estimate(**estimate) for metric, estimate in metrics.items()}
        for name, by_index in found.items()
        for index, metrics in by_index.items()
    }
    arms |= changes(values)
    return RunRecord(
        command=command,
        seeds=list(range(num_worlds)),
        data_hash=content_hash(np.array([value["data_hash"] for value in values])),
        config={"quick": quick, **asdict(size)},
        arms=arms,
        missed=_missed(arms, quick),
        seconds=time.monotonic() - started,
        notes=[
            f"Searches: k = {K}, one thread, milliseconds. Masked: half of the items are allowed and each "
            f"user has seen the {NUM_SEEN} best of them. 'leaked' counts masked items that came back.",
            f"Item vectors scatter around {NUM_TOPICS:,} topics and differ in length, as learned ones do; "
            "queries are drawn alike.",
            "Change: mean level of a session over test users, with items of a catalogue less without "
            "one, in the same lives; the catalogue is drawn like what is served. Intervals are over "
            "worlds. 'served': the item nearest to the action with its serving noise. 'mean': the item "
            "nearest to the policy's mean, and the noise on top, which is what a log can judge.",
        ],
    )


def search_trial(spec: Mapping[str, Any]) -> Iterator[Event]:
    """`measure_search`; ``spec`` is {"dimension", "metric", "size": values of a StudySize}."""
    size = StudySize(**{**spec["size"], "catalogues": tuple(spec["size"]["catalogues"])})

    def work(tell: Callable[[Event], None]) -> dict[str, Any]:
        plain: dict[str, Any] = to_plain(measure_search(spec["dimension"], spec["metric"], size, tell))
        return plain

    yield from telling(work)


def measure_search(
    dimension: int, metric: str, size: StudySize, tell: Callable[[Event], None]
) -> dict[str, dict[str, Estimate]]:
    """Build time, recall and latencies of the exact index and of the graph, each with and without masks."""
    import torch

    torch.set_num_threads(1)
    rng = np.random.default_rng([dimension, METRICS.index(metric)])
    drawn = topical_vectors(size.num_items + size.num_queries + BATCH * size.num_batches, dimension, rng)
    items, queries, rest = np.split(drawn, [size.num_items, size.num_items + size.num_queries])
    batches = rest.reshape(size.num_batches, BATCH, dimension)

    started = time.perf_counter()
    exact = ExactIndex(items, metric=metric)
    exact_seconds = time.perf_counter() - started
    started = time.perf_counter()
    graph = GraphIndex(
        items, metric=metric, on_progress=lambda done, total: tell({"step": done, "total": total})
    )
    graph_seconds = time.perf_counter() - started

    allowed = rng.random(size.num_items) < ALLOWED_SHARE
    results: dict[str, dict[str, Estimate]] = {}
    for masked in (False, True):
        mask = allowed if masked else None
        best = exact.search(queries, K + NUM_SEEN, allowed=mask)
        seen = best.items[:, :NUM_SEEN] if masked else None
        truth = best.items[:, NUM_SEEN:] if masked else best.items[:, :K]
        for name, index, seconds in (("exact", exact, exact_seconds), ("graph", graph, graph_seconds)):
            metrics = _measured(index, queries, batches, truth, mask, seen)
            metrics["build_seconds"] = _number(seconds)
            results[f"{name} masked" if masked else name] = metrics
    return results


def topical_vectors(num: int, dimension: int, rng: np.random.Generator) -> Floats:
    """Vectors around NUM_TOPICS topics, of lengths that differ, shape [num, dimension]."""
    topics = rng.standard_normal((NUM_TOPICS, dimension), dtype=np.float32)
    vectors = topics[rng.integers(0, NUM_TOPICS, num)]
    vectors += np.float32(0.5) * rng.standard_normal((num, dimension), dtype=np.float32)
    lengths: Floats = rng.lognormal(sigma=0.3, size=(num, 1)).astype(np.float32)
    return vectors * lengths


def _measured(
    index: ItemIndex,
    queries: Floats,
    batches: Floats,
    truth: NDArray[np.int64],
    allowed: NDArray[np.bool_] | None,
    seen: NDArray[np.int64] | None,
) -> dict[str, Estimate]:
    """Recall of single queries, masked items among their answers, and latencies."""
    singles, found = [], []
    for row in range(len(queries)):
        mine = None if seen is None else seen[row : row + 1]
        started = time.perf_counter()
        found.append(index.search(queries[row : row + 1], K, allowed=allowed, seen=mine))
        singles.append(1e3 * (time.perf_counter() - started))
    together = []
    for i, batch in enumerate(batches):
        mine = None if seen is None else seen[(i * BATCH + np.arange(BATCH)) % len(seen)]
        started = time.perf_counter()
        index.search(batch, K, allowed=allowed, seen=mine)
        together.append(1e3 * (time.perf_counter() - started))
    recall = [
        np.isin(answer.items[0], best).sum() / len(best) for answer, best in zip(found, truth, strict=True)
    ]
    return {
        "recall": mean_interval(recall),
        "p50_ms": _quantile(singles, 0.5),
        "p99_ms": _quantile(singles, 0.99),
        "batch_p50_ms": _quantile(together, 0.5),
        "batch_p99_ms": _quantile(together, 0.99),
        "leaked": _number(float(sum(_leaked(answer, i, allowed, seen) for i, answer in enumerate(found)))),
    }


def _leaked(
    answer: Found, row: int, allowed: NDArray[np.bool_] | None, seen: NDArray[np.int64] | None
) -> int:
    """Items of one answer that its masks forbid."""
    items = answer.items[answer.items != NOTHING]
    forbidden = np.zeros(len(items), np.bool_)
    if allowed is not None:
        forbidden |= ~allowed[items]
    if seen is not None:
        forbidden |= np.isin(items, seen[row])
    return int(forbidden.sum())


def changes(values: list[dict[str, Any]]) -> dict[str, dict[str, Estimate]]:
    """Mean over worlds of each arm's level less that without a catalogue, by policy, catalogue and way.

    Args:
        values: Results of `rec_rl.experiments.retrieval_value.value_trial`.
    """
    return {
        arm: {
            f"{task}_change": mean_interval(
                [value["levels"][arm][task] - value["levels"][value["free"][arm]][task] for value in values],
                seeds=True,
            )
            for task in values[0]["levels"][arm]
        }
        for arm in values[0]["free"]
    }


def _missed(arms: Mapping[str, Mapping[str, Estimate]], quick: bool) -> list[dict[str, Any]]:
    missed = []
    for arm, metrics in arms.items():
        if "recall" not in metrics:
            continue
        if metrics["recall"].value < RECALL_BAR:
            bar = f"{arm}: recall@{K} >= {RECALL_BAR}"
            reason = "a quick run" if quick else "measured so"
            missed.append({"bar": bar, "value": metrics["recall"].value, "reason": reason})
        if metrics["leaked"].value > 0:
            bar = f"{arm}: no masked item comes back"
            missed.append({"bar": bar, "value": metrics["leaked"].value, "reason": "a fault"})
    return missed


def _quantile(values: list[float], level: float) -> Estimate:
    sample = np.array(values)
    return bootstrap_interval(
        lambda rows: float(np.quantile(sample[rows], level)), len(sample), np.random.default_rng(0), draws=200
    )


def _number(value: float) -> Estimate:
    return Estimate(value=value, low=float("nan"), high=float("nan"), n=1)
