from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rec_rl.errors import CheckpointError, ConfigError, DatasetError
from rec_rl.retrieval.graph import GraphIndex
from rec_rl.retrieval.index import ExactIndex
from rec_rl.runtime import item_graph
from rec_rl.runtime.item_graph import INNER_PRODUCT, NOTHING, ItemGraph

VECTORS = np.array([[1, 0], [0, 2], [3, 3], [-1, -1]], np.float32)


def test_inner_products_by_hand():
    found = ExactIndex(VECTORS).search(np.array([[1.0, 2.0]], np.float32), 3)
    # 1, 4, 9, -3
    assert found.items.tolist() == [[2, 1, 0]]
    assert found.scores.tolist() == [[9, 4, 1]]


def test_cosines_by_hand():
    found = ExactIndex(VECTORS, metric="cosine").search(np.array([[0.0, 5.0]], np.float32), 2)
    # 0, 1, .7071, -.7071: length counts for nothing
    assert found.items.tolist() == [[1, 2]]
    np.testing.assert_allclose(found.scores, [[1, 0.70710678]], rtol=1e-6)


def test_squared_distances_by_hand():
    found = ExactIndex(VECTORS, metric="euclidean").search(np.array([[0.0, 1.0]], np.float32), 3)
    # 1 + 1, 0 + 1, 9 + 4, 1 + 4
    assert found.items.tolist() == [[1, 0, 3]]
    assert found.scores.tolist() == [[-1, -2, -5]]


def test_fewer_allowed_items_than_asked_for_leave_places_empty():
    allowed = np.array([True, False, True, False])
    found = ExactIndex(VECTORS).search(
        np.array([[1.0, 2.0], [1.0, 0.0]], np.float32), 3, allowed=allowed, seen=np.array([[2], [NOTHING]])
    )
    assert found.items.tolist() == [[0, NOTHING, NOTHING], [2, 0, NOTHING]]
    assert found.scores[0].tolist() == [1, -np.inf, -np.inf]


@pytest.fixture(scope="module")
def items() -> np.ndarray:
    rng = np.random.default_rng(0)
    return (rng.normal(size=(3_000, 8)) * rng.lognormal(sigma=0.5, size=(3_000, 1))).astype(np.float32)


@pytest.fixture(scope="module")
def graph(items: np.ndarray) -> Iterator[GraphIndex]:
    pytest.importorskip("usearch")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(item_graph, "MOST_SCORED", 100)  # five layers, the longest 94 items are scored
        yield GraphIndex(items)


def test_a_graph_of_distances_finds_the_nearest_items(items: np.ndarray):
    pytest.importorskip("usearch")
    graph = GraphIndex(items, metric="euclidean")
    queries = np.random.default_rng(2).normal(size=(50, 8)).astype(np.float32)
    found, truth = graph.search(queries, 10), graph.exact.search(queries, 10)
    assert recall(found.items, truth.items) > 0.99
    same = (found.items == truth.items).all(axis=1)
    assert same.mean() > 0.9
    np.testing.assert_allclose(found.scores[same], truth.scores[same], rtol=1e-3, atol=1e-3)


def recall(found: np.ndarray, truth: np.ndarray) -> float:
    return float(np.mean([len(set(f) & set(t)) / len(t) for f, t in zip(found, truth, strict=True)]))


def test_the_graph_finds_the_largest_inner_products(graph: GraphIndex, items: np.ndarray):
    queries = np.random.default_rng(1).normal(size=(50, 8)).astype(np.float32)
    found, truth = graph.search(queries, 100), graph.exact.search(queries, 100)
    assert recall(found.items, truth.items) > 0.95
    np.testing.assert_allclose(
        found.scores, np.einsum("bd,bkd->bk", queries, items[found.items]), rtol=1e-4, atol=1e-5
    )
    assert (np.diff(found.scores, axis=1) <= 0).all()


@given(
    seed=st.integers(0, 10_000),
    share=st.sampled_from([0.0, 0.02, 0.2, 0.7, 1.0]),
    num_seen=st.integers(0, 40),
    k=st.sampled_from([1, 7, 60]),
)
@settings(max_examples=40, deadline=None)
def test_a_masked_item_is_never_returned(graph: GraphIndex, seed: int, share: float, num_seen: int, k: int):
    rng = np.random.default_rng(seed)
    num_items = len(graph.exact.vectors)
    queries = rng.normal(size=(3, 8)).astype(np.float32)
    allowed = rng.random(num_items) < share
    # What would be best has been seen already: the hardest case.
    best = graph.exact.search(queries, num_seen or 1, allowed=allowed).items
    seen = best[:, :num_seen]
    for index in (graph, graph.exact):
        items = index.search(queries, k, allowed=allowed, seen=seen).items
        for row, unwanted in zip(items, seen, strict=True):
            given_items = row[row != NOTHING]
            assert allowed[given_items].all()
            assert not set(given_items) & set(unwanted)
            assert len(set(given_items)) == len(given_items)
            left = allowed.sum() - len(set(unwanted) - {NOTHING})
            assert len(given_items) == min(k, left)


def test_a_saved_graph_answers_alike(graph: GraphIndex, items: np.ndarray, tmp_path: Path):
    graph.graph.save(tmp_path / "items")
    again = ItemGraph.open(tmp_path / "items", items, INNER_PRODUCT)
    queries = items[:5]
    together, _ = graph.graph.search(queries, 9, wanted=9)
    np.testing.assert_array_equal(again.search(queries, 9, wanted=9)[0], together)
    np.testing.assert_array_equal(again.search(queries[:1], 9, wanted=9)[0], together[:1])
    with pytest.raises(CheckpointError, match=r"items-0\.usearch must hold 62 vectors of size 8, got 94"):
        ItemGraph.open(tmp_path / "items", items[:2000], INNER_PRODUCT)
    with pytest.raises(CheckpointError, match=r"missing-0\.usearch is no item graph"):
        ItemGraph.open(tmp_path / "missing", items, INNER_PRODUCT)


def test_layers_of_short_items_are_not_searched_where_they_cannot_reach(
    graph: GraphIndex, items: np.ndarray, monkeypatch: pytest.MonkeyPatch
):
    asked: list[int] = []
    candidates = item_graph._candidates

    def counted(layer: Any, queries: np.ndarray, wanted: int) -> np.ndarray:
        asked.append(len(queries))
        return candidates(layer, queries, wanted)

    monkeypatch.setattr(item_graph, "_candidates", counted)
    queries = items[:50]
    rows, _ = graph.graph.search(queries, 1, wanted=1)
    assert recall(rows, graph.exact.search(queries, 1).items) > 0.95
    assert asked == sorted(asked, reverse=True)
    assert sum(asked) < 3 * len(queries)  # of five layers
    asked.clear()
    graph.graph.search(queries, 1000, wanted=1000)  # all that the longer layers hold does not fill 1000
    assert asked[:4] == [len(queries)] * 4


def test_bad_input_is_refused():
    with pytest.raises(DatasetError, match="that of item 1 is not"):
        ExactIndex(np.array([[1.0], [np.nan]], np.float32))
    with pytest.raises(DatasetError, match=r"shape \[n, d\].*got \(0, 3\)"):
        ExactIndex(np.zeros((0, 3), np.float32))
    with pytest.raises(DatasetError, match="vector 1 has length 0"):
        ExactIndex(np.array([[1.0], [0.0]], np.float32), metric="cosine")
    with pytest.raises(ConfigError, match="did you mean 'cosine'"):
        ExactIndex(VECTORS, metric="cosin")
    index = ExactIndex(VECTORS)
    for arguments, match in (
        ({"queries": VECTORS[:, :1], "k": 1}, r"shape \[B, 2\], got \(4, 1\)"),
        ({"queries": VECTORS, "k": 0}, "k must be >= 1, got 0"),
        ({"queries": VECTORS, "k": 1, "allowed": np.ones(3, bool)}, r"shape \[4\], got \(3,\)"),
        ({"queries": VECTORS, "k": 1, "seen": np.full((4, 1), 4)}, r"in -1\.\.3, got 4\.\.4"),
    ):
        with pytest.raises(ValueError, match=match):
            index.search(**arguments)
