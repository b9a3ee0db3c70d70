"""Approximate search for items, in graphs of near neighbours (HNSW, by the library usearch).

One graph holds all items where all are alike in length, or distances count. For inner products the items are
divided by length: the shorter half, the shorter half of the rest, and so on, each in a graph of directions;
the longest few thousand are scored one by one. Layers are searched from the longest items down, up to the
one whose longest item cannot come in any more. A single graph on inner products seldom reaches the long
items, and one more coordinate that makes all equally long (Bachrach et al. 2014) outweighs the others.
Source: Malkov and Yashunin 2020 (HNSW); Yan et al. 2018 (Norm-Ranging LSH), who divide items by length.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rec_rl.errors import CheckpointError, ConfigError

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

EUCLIDEAN, INNER_PRODUCT = "euclidean", "inner_product"
NOTHING = -1
"""Stands where fewer than k items are found or allowed."""
MOST_SCORED = 8_192
"""The longest items, which are scored one by one."""
CONNECTIVITY = 32  # neighbours of a node
EXPANSION_ADD = 128  # candidates looked at when a node is linked
EXPANSION_SEARCH = 256  # candidates looked at in a search, at least
BUILD_CHUNK = 50_000


@dataclass(frozen=True)
class Layer:
    """A graph of some of the items, by their rows, and the most that a product with them can be.

    Attributes:
        graph: Of usearch.
        reach: Length of the longest item; infinite where lengths do not matter.
    """

    graph: Any
    reach: float


class ItemGraph:
    """Graphs over the rows of an array of vectors.

    Args:
        vectors: Of the items, shape [n, d].
        metric: EUCLIDEAN, INNER_PRODUCT, or "cosine" of vectors that all have length 1.
        layers: From the longest items down.
        scored: Rows in no layer, ascending.
    """

    def __init__(self, vectors: Floats, metric: str, layers: list[Layer], scored: Ints) -> None:
        self._vectors, self._metric, self._layers = vectors, metric, layers
        self._scored, self._scored_vectors = scored, vectors[scored]

    @classmethod
    def build(
        cls, vectors: Floats, metric: str, on_progress: Callable[[int, int], None] | None = None
    ) -> "ItemGraph":
        """Links all items; ``on_progress`` is called with (done, total) of them.

        Raises:
            ConfigError: If usearch is not installed.
        """
        lengths = np.linalg.norm(vectors, axis=1)
        parts, scored = _divide(lengths, metric)
        layers, done = [], len(scored)
        for rows in parts:
            layer = Layer(_empty_graph(vectors.shape[1], metric), _reach(lengths[rows], metric))
            for start in range(0, len(rows), BUILD_CHUNK):
                some = rows[start : start + BUILD_CHUNK]
                linked = vectors[some]
                if metric == INNER_PRODUCT:
                    linked = linked / np.maximum(lengths[some, None], np.finfo(np.float32).tiny)
                layer.graph.add(some, linked)
                done += len(some)
                if on_progress is not None:
                    on_progress(done, len(vectors))
            layers.append(layer)
        return cls(vectors, metric, layers, scored)

    @classmethod
    def open(cls, stem: Path, vectors: Floats, metric: str) -> "ItemGraph":
        """What ``save`` wrote, read from where it lies, for the same vectors.

        Raises:
            CheckpointError: If a file is missing or of other vectors.
            ConfigError: If usearch is not installed.
        """
        lengths = np.linalg.norm(vectors, axis=1)
        parts, scored = _divide(lengths, metric)
        layers = []
        for i, rows in enumerate(parts):
            path, graph = _file(stem, i), _empty_graph(vectors.shape[1], metric)
            try:
                graph.view(str(path))
            except (OSError, RuntimeError, ValueError) as error:
                raise CheckpointError(f"{path} is no item graph: {error}") from error
            if (len(graph), graph.ndim) != (len(rows), vectors.shape[1]):
                raise CheckpointError(
                    f"{path} must hold {len(rows)} vectors of size {vectors.shape[1]}, "
                    f"got {len(graph)} of {graph.ndim}"
                )
            layers.append(Layer(graph, _reach(lengths[rows], metric)))
        return cls(vectors, metric, layers, scored)

    def save(self, stem: Path) -> None:
        """Writes STEM-0.usearch and so on, without the vectors; each file appears whole or not at all."""
        for i, layer in enumerate(self._layers):
            path = _file(stem, i)
            temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
            try:
                layer.graph.save(str(temporary))
                os.replace(temporary, path)
            finally:
                temporary.unlink(missing_ok=True)

    def search(
        self,
        queries: Floats,
        k: int,
        *,
        wanted: int,
        allowed: Bools | None = None,
        seen: Ints | None = None,
    ) -> tuple[Ints, Floats]:
        """The k best items that were found for each query, best first.

        Args:
            queries: Shape [B, d].
            k: At least 1.
            wanted: Candidates taken from each layer: k, and as many as masks may strike out.
            allowed: Items that may be returned, shape [n]; None: all.
            seen: Items that each query must not get, shape [B, m], padded with NOTHING; None for none.

        Returns:
            Rows and scores, both of shape [B, k]; NOTHING and -inf where fewer were found.
        """
        items, scores = self._best_scored(queries, k, allowed, seen)
        lengths = np.linalg.norm(queries, axis=1).clip(min=np.finfo(np.float32).tiny)  # 0 * inf is no bound
        for layer in self._layers:
            rows = np.flatnonzero(scores[:, -1] < lengths * layer.reach)
            if len(rows) == 0:
                break  # shorter ones come in even less
            candidates = _candidates(layer.graph, queries[rows], min(wanted, len(layer.graph)))
            if allowed is not None:
                candidates[~allowed[candidates]] = NOTHING  # which indexes the last item and stays NOTHING
            if seen is not None:
                candidates[_is_in(candidates, seen[rows])] = NOTHING
            found = np.concatenate([items[rows], candidates], axis=1)
            values = np.concatenate([scores[rows], self._scores(queries[rows], candidates)], axis=1)
            items[rows], scores[rows] = _best(found, values, k)
        return items, scores

    def _best_scored(
        self, queries: Floats, k: int, allowed: Bools | None, seen: Ints | None
    ) -> tuple[Ints, Floats]:
        """The best of the items that are in no graph."""
        scored = self._scored
        values = queries @ self._scored_vectors.T
        if allowed is not None:
            values[:, ~allowed[scored]] = -np.inf
        if seen is not None and len(scored) > 0:
            at = np.searchsorted(scored, seen).clip(max=len(scored) - 1)
            row, column = np.nonzero(scored[at] == seen)
            values[row, at[row, column]] = -np.inf
        room = max(0, k - len(scored))
        values = np.pad(values, ((0, 0), (0, room)), constant_values=-np.inf)
        items = np.broadcast_to(np.pad(scored, (0, room), constant_values=NOTHING), values.shape)
        if values.shape[1] > 4 * k:  # a partition is cheaper than a sort
            kept = np.argpartition(-values, k, axis=1)[:, :k]
            items, values = np.take_along_axis(items, kept, 1), np.take_along_axis(values, kept, 1)
        return _best(items, values, k)

    def _scores(self, queries: Floats, candidates: Ints) -> Floats:
        """Exact scores of each query's candidates, shape [B, c]."""
        vectors = self._vectors[candidates]
        if self._metric == EUCLIDEAN:
            scores = -np.square(queries[:, None] - vectors).sum(axis=2)
        else:
            scores = np.einsum("bd,bcd->bc", queries, vectors)
        scores[candidates == NOTHING] = -np.inf
        exact: Floats = scores
        return exact


def _divide(lengths: Floats, metric: str) -> tuple[list[Ints], Ints]:
    """Rows of each layer, those of the longest items first, and the rows that are in none, ascending."""
    if metric != INNER_PRODUCT:
        return [np.arange(len(lengths))], np.zeros(0, np.int64)
    rest = np.argsort(lengths, kind="stable")
    layers: list[Ints] = []
    while len(rest) > MOST_SCORED:
        half = len(rest) // 2
        layers.insert(0, rest[:half])
        rest = rest[half:]
    return layers, np.sort(rest)


def _reach(lengths: Floats, metric: str) -> float:
    return float(lengths.max()) if metric == INNER_PRODUCT else np.inf


def _file(stem: Path, layer: int) -> Path:
    return stem.with_name(f"{stem.name}-{layer}.usearch")


def _candidates(graph: Any, queries: Floats, wanted: int) -> Ints:
    """Near neighbours of each query, shape [B, wanted]; NOTHING where the graph found fewer."""
    graph.expansion_search = max(EXPANSION_SEARCH, 2 * wanted)
    found = graph.search(queries, wanted)
    if len(queries) == 1:  # answered by a plain list of matches
        keys = found.keys.astype(np.int64)
        return np.pad(keys, (0, wanted - len(keys)), constant_values=NOTHING)[None]
    rows: Ints = found.keys.astype(np.int64)
    rows[np.arange(wanted) >= found.counts[:, None]] = NOTHING
    return rows


def _best(items: Ints, scores: Floats, k: int) -> tuple[Ints, Floats]:
    """The k best columns of each row, best first; what scores -inf is NOTHING."""
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    best, values = np.take_along_axis(items, order, 1), np.take_along_axis(scores, order, 1)
    best[np.isneginf(values)] = NOTHING
    return best, values


def _is_in(candidates: Ints, seen: Ints) -> Bools:
    """Which candidates are among the row's seen items."""
    if seen.shape[1] == 0:
        return np.zeros(candidates.shape, np.bool_)
    ordered = np.sort(seen, axis=1)
    # One sorted array for all rows: shift every row into a range of its own.
    span = int(max(candidates.max(), ordered.max())) + 2
    shift = np.arange(len(candidates))[:, None] * span
    flat = (ordered + 1 + shift).ravel()
    wanted = (candidates + 1 + shift).ravel()
    at = np.searchsorted(flat, wanted).clip(max=len(flat) - 1)
    inside: Bools = (flat[at] == wanted).reshape(candidates.shape)
    return inside


def _empty_graph(size: int, metric: str) -> Any:
    try:
        from usearch.index import Index
    except ImportError as error:
        raise ConfigError("the item graph needs usearch: pip install 'rec_rl[ann]'") from error
    return Index(
        ndim=size,
        metric="l2sq" if metric == EUCLIDEAN else "ip",
        dtype="f32",
        connectivity=CONNECTIVITY,
        expansion_add=EXPANSION_ADD,
        expansion_search=EXPANSION_SEARCH,
    )
