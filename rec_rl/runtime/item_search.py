"""Items for an action: those whose vectors are nearest to it, or have the largest inner product with it."""

from pathlib import Path

import numpy as np

from rec_rl.errors import ConfigError
from rec_rl.runtime.item_graph import EUCLIDEAN, NOTHING, Floats, Ints, ItemGraph


def best_rows(scores: Floats, k: int) -> Ints:
    """Rows of the k best finite scores, best first, ties by row; fewer where fewer are finite."""
    k = min(k, len(scores))
    cut = np.partition(scores, len(scores) - k)[len(scores) - k]
    rows = np.flatnonzero(scores >= cut)
    ordered = rows[np.argsort(-scores[rows], kind="stable")][:k]
    finite: Ints = ordered[np.isfinite(scores[ordered])]
    return finite


class ItemSearch:
    """The best items for actions, by graphs of near neighbours where there are any, else by scoring all.

    Args:
        vectors: Of the items, shape [n, d].
        metric: EUCLIDEAN or INNER_PRODUCT.
        graph: Where `rec_rl.runtime.item_graph.ItemGraph` was saved; used where usearch is installed.
    """

    def __init__(self, vectors: Floats, metric: str, graph: Path | None = None) -> None:
        self._vectors = vectors
        self._squares = np.square(vectors).sum(axis=1) if metric == EUCLIDEAN else None
        self._graph = None if graph is None else _open(graph, vectors, metric)

    def search(self, action: Floats, k: int, excluded: Ints) -> tuple[Ints, Floats]:
        """Rows and scores of the k best items that are not excluded, best first.

        Args:
            action: Shape [d].
            k: At least 1.
            excluded: Rows, shape [m].

        Returns:
            Rows [j] and scores [j], j <= k: the inner product, or minus the squared distance.
        """
        wanted = k + len(excluded)
        if self._graph is not None and 2 * wanted <= len(self._vectors):
            rows, scores = self._graph.search(action[None], k, wanted=wanted, seen=excluded[None])
            if rows[0, -1] != NOTHING:
                return rows[0], scores[0]
        every = self._scores(action)
        every[excluded] = -np.inf
        best = best_rows(every, k)
        return best, every[best]

    def _scores(self, action: Floats) -> Floats:
        products: Floats = self._vectors @ action
        if self._squares is None:
            return products
        distances: Floats = np.maximum(0, self._squares - 2 * products + np.square(action).sum())
        return -distances


def _open(path: Path, vectors: Floats, metric: str) -> ItemGraph | None:
    """The graphs; None without usearch."""
    try:
        return ItemGraph.open(path, vectors, metric)
    except ConfigError:
        return None
