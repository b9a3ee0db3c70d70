"""The k items that score highest for an action, exactly or approximately, never one that is masked.

A score is the inner product of query and item vector, their cosine, or minus their squared distance.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from rec_rl.errors import DatasetError, check_name
from rec_rl.runtime.item_graph import EUCLIDEAN, INNER_PRODUCT, NOTHING, Bools, Floats, Ints

METRICS = (INNER_PRODUCT, "cosine", EUCLIDEAN)
CHUNK_SCORES = 1 << 25  # scores held at once by an exact search, so that memory stays bounded


@dataclass(frozen=True)
class Found:
    """The best items of each query, best first.

    Attributes:
        items: Row numbers of items, shape [B, k]; NOTHING where fewer are allowed.
        scores: Shape [B, k]; -inf where there is no item.
    """

    items: Ints
    scores: Floats


class ItemIndex(Protocol):
    """Answers which items are best for a query."""

    def search(
        self, queries: Floats, k: int, *, allowed: Bools | None = None, seen: Ints | None = None
    ) -> Found:
        """The k best items of each query among those that are allowed and not seen.

        Args:
            queries: Shape [B, d], finite.
            k: At least 1.
            allowed: In stock and within every rule, for all queries alike, shape [num_items]; None: all.
            seen: Items that each query's user has seen, shape [B, m], padded with NOTHING; None for none.
        """


class ExactIndex:
    """Scores every item. The device of ``search`` is that of the vectors given.

    Args:
        vectors: Of the items, shape [num_items, d], finite.
        metric: A name in METRICS.
        device: Where the scores are computed.

    Raises:
        DatasetError: If the vectors are empty or not finite, or one is zero where the metric is cosine.
    """

    def __init__(self, vectors: Floats, *, metric: str = "inner_product", device: str = "cpu") -> None:
        self.vectors = torch.from_numpy(scaled(checked_vectors(vectors), metric)).to(device)
        self.metric = metric
        self._squares = self.vectors.square().sum(dim=1)

    @torch.inference_mode()
    def search(
        self, queries: Floats, k: int, *, allowed: Bools | None = None, seen: Ints | None = None
    ) -> Found:
        """See `ItemIndex.search`."""
        num_items, device = len(self.vectors), self.vectors.device
        check_search(queries, k, allowed, seen, num_items=num_items, size=self.vectors.shape[1])
        blocked = None if allowed is None else torch.from_numpy(~allowed).to(device)
        taken = min(k, num_items)
        parts = []
        rows_at_once = max(1, CHUNK_SCORES // num_items)
        for start in range(0, len(queries), rows_at_once):
            rows = slice(start, start + rows_at_once)
            x = torch.from_numpy(scaled(queries[rows], self.metric)).to(device)
            scores = x @ self.vectors.T
            if self.metric == "euclidean":
                scores = 2 * scores - self._squares - x.square().sum(dim=1, keepdim=True)
            if blocked is not None:
                scores.masked_fill_(blocked, -torch.inf)
            if seen is not None:
                row, column = np.nonzero(seen[rows] != NOTHING)
                scores[torch.from_numpy(row), torch.from_numpy(seen[rows][row, column])] = -torch.inf
            parts.append(torch.topk(scores, taken, dim=1))
        best = torch.cat([part.values for part in parts]).cpu().numpy()
        items = torch.cat([part.indices for part in parts]).cpu().numpy()
        items[np.isneginf(best)] = NOTHING
        return padded(items, best, k)


def checked_vectors(vectors: Floats) -> Floats:
    """The vectors in float32.

    Raises:
        DatasetError: If they are not [n, d] with n, d >= 1, or not finite.
    """
    if vectors.ndim != 2 or 0 in vectors.shape:
        raise DatasetError(f"item vectors must have shape [n, d] with n, d >= 1, got {vectors.shape}")
    if not np.isfinite(vectors).all():
        row = int(np.argmin(np.isfinite(vectors).all(axis=1)))
        raise DatasetError(f"item vectors must be finite, that of item {row} is not")
    return np.ascontiguousarray(vectors, np.float32)


def scaled(vectors: Floats, metric: str) -> Floats:
    """The vectors as the metric takes them: themselves, or of length 1 for the cosine.

    Raises:
        ConfigError: If the metric is unknown.
        DatasetError: If a vector of length 0 has no cosine.
    """
    if check_name("metric", metric, METRICS) != "cosine":
        return np.ascontiguousarray(vectors, np.float32)
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not length.all():
        raise DatasetError(f"vector {int(np.argmin(length))} has length 0 and so no cosine")
    return np.asarray(vectors / length, np.float32)


def check_search(
    queries: Floats, k: int, allowed: Bools | None, seen: Ints | None, *, num_items: int, size: int
) -> None:
    """Raises ValueError on arguments of `ItemIndex.search` that do not fit the index."""
    if queries.ndim != 2 or queries.shape[1] != size or not np.isfinite(queries).all():
        raise ValueError(f"queries must be finite of shape [B, {size}], got {queries.shape}")
    if k < 1:
        raise ValueError(f"k must be >= 1, got {k}")
    if allowed is not None and allowed.shape != (num_items,):
        raise ValueError(f"allowed must have shape [{num_items}], got {allowed.shape}")
    if seen is not None:
        if seen.ndim != 2 or len(seen) != len(queries):
            raise ValueError(f"seen must have shape [{len(queries)}, m], got {seen.shape}")
        if seen.size and (seen.min() < NOTHING or seen.max() >= num_items):
            raise ValueError(f"seen must be in {NOTHING}..{num_items - 1}, got {seen.min()}..{seen.max()}")


def padded(items: Ints, scores: Floats, k: int) -> Found:
    """Found with k columns, the missing ones NOTHING."""
    missing = k - items.shape[1]
    return Found(
        np.pad(items, ((0, 0), (0, missing)), constant_values=NOTHING),
        np.pad(scores, ((0, 0), (0, missing)), constant_values=-np.inf).astype(np.float32),
    )
