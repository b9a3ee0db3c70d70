"""Items for an action: those whose vectors are nearest to it, or have the largest inner product with it."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

EUCLIDEAN, INNER_PRODUCT = "euclidean", "inner_product"
NOT_AN_ITEM = np.iinfo(np.uint64).max  # usearch's key where it found fewer


def best_rows(scores: Floats, k: int) -> Ints:
    """Rows of the k best finite scores, best first, ties by row; fewer where fewer are finite."""
    k = min(k, len(scores))
    cut = np.partition(scores, len(scores) - k)[len(scores) - k]
    rows = np.flatnonzero(scores >= cut)
    ordered = rows[np.argsort(-scores[rows], kind="stable")][:k]
    finite: Ints = ordered[np.isfinite(scores[ordered])]
    return finite


class ItemSearch:
    """The best items for actions, by a graph of near neighbours where there is one, else by scoring all.

    Args:
        vectors: Of the items, shape [n, d].
        metric: EUCLIDEAN or INNER_PRODUCT.
        graph: File of `rec_rl.retrieval.graph.GraphIndex` over the vectors; used where usearch is installed.
    """

    def __init__(self, vectors: Floats, metric: str, graph: Path | None = None) -> None:
        self._vectors = vectors
        self._squares = np.square(vectors).sum(axis=1) if metric == EUCLIDEAN else None
        self._graph = None if graph is None else _open_graph(graph)

    def search(self, action: Floats, k: int, excluded: Ints) -> tuple[Ints, Floats]:
        """Rows and scores of the k best items that are not excluded, best first.

        Args:
            action: Shape [d].
            k: At least 1.
            excluded: Rows, shape [m].

        Returns:
            Rows [j] and scores [j], j <= k: the inner product, or minus the squared distance.
        """
        rows = None if self._graph is None else self._near(action, k + len(excluded))
        if rows is not None:
            rows = rows[~np.isin(rows, excluded)]
            if len(rows) >= k:
                scores = self._scores(action, rows)
                best = best_rows(scores, k)
                return rows[best], scores[best]
        scores = self._scores(action, slice(None))
        scores[excluded] = -np.inf
        best = best_rows(scores, k)
        return best, scores[best]

    def _scores(self, action: Floats, rows: Ints | slice) -> Floats:
        products: Floats = self._vectors[rows] @ action
        if self._squares is None:
            return products
        distances: Floats = np.maximum(0, self._squares[rows] - 2 * products + np.square(action).sum())
        return -distances

    def _near(self, action: Floats, wanted: int) -> Ints | None:
        """What the graph finds; None where more than half of the items are asked for."""
        if 2 * wanted > len(self._vectors):
            return None
        assert self._graph is not None
        keys = self._graph.search(action, wanted).keys
        near: Ints = keys[keys != NOT_AN_ITEM].astype(np.int64)
        return near


def _open_graph(path: Path) -> Any:
    """The graph, read from where it lies; None without usearch."""
    try:
        from usearch.index import Index
    except ImportError:
        return None
    return Index.restore(str(path), view=True)
