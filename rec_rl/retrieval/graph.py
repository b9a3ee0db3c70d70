"""Approximate search in a graph of near neighbours (HNSW, by the library usearch).

For inner products the graph is built on the inner product itself. Making all items equally long by one more
coordinate, so that the largest product becomes the nearest neighbour (Bachrach et al. 2014), finds half as
much in 64 dimensions: the new coordinate outweighs the others.
Source: Malkov and Yashunin 2020 (HNSW); Morozov and Babenko 2018 (graphs on inner products).
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from rec_rl.errors import CheckpointError, ConfigError
from rec_rl.retrieval.index import (
    NOTHING,
    Bools,
    ExactIndex,
    Floats,
    Found,
    Ints,
    check_search,
    checked_vectors,
    padded,
    scaled,
)

CONNECTIVITY = 32  # neighbours of a node
EXPANSION_ADD = 128  # candidates looked at when a node is linked
EXPANSION_SEARCH = 512  # candidates looked at in a search, at least
FEWEST_ALLOWED = 0.1
"""Share of items allowed under which the graph would mostly walk over masked ones: then all are scored."""
BUILD_CHUNK = 50_000


class GraphIndex:
    """Approximate search over many items.

    Args:
        vectors: Of the items, shape [num_items, d], finite.
        metric: A name in `rec_rl.retrieval.index.METRICS`.
        on_progress: Called with (done, total) items while the graph is built.

    Raises:
        ConfigError: If usearch is not installed.
        DatasetError: As `ExactIndex`.
    """

    def __init__(
        self,
        vectors: Floats,
        *,
        metric: str = "inner_product",
        on_progress: Callable[[int, int], None] | None = None,
    ) -> None:
        self.exact = ExactIndex(vectors, metric=metric)
        linked = self.exact.vectors.numpy()
        self._graph = _empty_graph(linked.shape[1], metric)
        for start in range(0, len(linked), BUILD_CHUNK):
            part = linked[start : start + BUILD_CHUNK]
            self._graph.add(np.arange(start, start + len(part)), part)
            if on_progress is not None:
                on_progress(start + len(part), len(linked))

    def search(
        self, queries: Floats, k: int, *, allowed: Bools | None = None, seen: Ints | None = None
    ) -> Found:
        """See `rec_rl.retrieval.index.ItemIndex`.

        Masked items are dropped from more candidates than k; a query left with too few of them is searched
        exactly.
        """
        num_items, size = self.exact.vectors.shape
        check_search(queries, k, allowed, seen, num_items=num_items, size=size)
        share = 1.0 if allowed is None else float(allowed.mean())
        num_seen = 0 if seen is None else seen.shape[1]
        wanted = int((k + num_seen) / max(share, FEWEST_ALLOWED) * (1.0 if allowed is None else 1.5))
        if share < FEWEST_ALLOWED or wanted >= num_items:
            return self.exact.search(queries, k, allowed=allowed, seen=seen)
        candidates = self._candidates(scaled(queries, self.exact.metric), wanted)
        if allowed is not None:
            candidates[~allowed[candidates]] = NOTHING  # NOTHING indexes the last item and stays NOTHING
        if seen is not None:
            candidates[_is_in(candidates, seen)] = NOTHING
        found = self._best(queries, candidates, k)
        short = np.flatnonzero(found.items[:, -1] == NOTHING)
        if len(short) > 0:
            rest = self.exact.search(
                queries[short], k, allowed=allowed, seen=None if seen is None else seen[short]
            )
            found.items[short], found.scores[short] = rest.items, rest.scores
        return found

    def save(self, path: Path) -> None:
        """Writes the graph without the vectors; the file appears whole or not at all."""
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            self._graph.save(str(temporary))
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: Path, vectors: Floats, *, metric: str = "inner_product") -> "GraphIndex":
        """Reads what ``save`` wrote, for the same vectors.

        Raises:
            CheckpointError: If the file is missing or of another number or size of vectors.
        """
        index = cls.__new__(cls)
        index.exact = ExactIndex(checked_vectors(vectors), metric=metric)
        num_items, size = index.exact.vectors.shape
        index._graph = _empty_graph(size, metric)
        try:
            index._graph.load(str(path))
        except (OSError, RuntimeError, ValueError) as error:
            raise CheckpointError(f"{path} is no item index: {error}") from error
        if (len(index._graph), index._graph.ndim) != (num_items, size):
            raise CheckpointError(
                f"{path} must hold {num_items} vectors of size {size}, "
                f"got {len(index._graph)} of {index._graph.ndim}"
            )
        return index

    def _candidates(self, queries: Floats, wanted: int) -> Ints:
        """Near neighbours of each query, shape [B, wanted]; NOTHING where the graph found fewer."""
        self._graph.expansion_search = max(EXPANSION_SEARCH, 2 * wanted)
        found = self._graph.search(queries, wanted)
        if len(queries) == 1:  # answered by a plain list of matches
            return np.pad(found.keys.astype(np.int64), (0, wanted - len(found)), constant_values=NOTHING)[
                None
            ]
        keys: Ints = found.keys.astype(np.int64)
        keys[np.arange(wanted) >= found.counts[:, None]] = NOTHING
        return keys

    def _best(self, queries: Floats, candidates: Ints, k: int) -> Found:
        """The k best candidates by their exact score."""
        vectors = self.exact.vectors.numpy()[candidates]
        x = scaled(queries, self.exact.metric)
        if self.exact.metric == "euclidean":
            scores = -np.square(x[:, None] - vectors).sum(axis=2)
        else:
            scores = np.einsum("bd,bcd->bc", x, vectors)
        scores[candidates == NOTHING] = -np.inf
        taken = min(k, candidates.shape[1])
        order = np.argsort(-scores, axis=1, kind="stable")[:, :taken]
        items, best = np.take_along_axis(candidates, order, 1), np.take_along_axis(scores, order, 1)
        return padded(items, best, k)


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
        metric="l2sq" if metric == "euclidean" else "ip",
        dtype="f32",
        connectivity=CONNECTIVITY,
        expansion_add=EXPANSION_ADD,
        expansion_search=EXPANSION_SEARCH,
    )
