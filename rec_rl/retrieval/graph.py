"""Approximate search over many items behind the interface of the exact one."""

from collections.abc import Callable

import numpy as np

from rec_rl.retrieval.index import ExactIndex, Found, check_search, scaled
from rec_rl.runtime.item_graph import NOTHING, Bools, Floats, Ints, ItemGraph

FEWEST_ALLOWED = 0.1
"""Share of items allowed under which a graph would mostly walk over masked ones: then all are scored."""
MARGIN = 1.5
"""Candidates beyond those expected to be allowed."""


class GraphIndex:
    """Approximate search over many items, see `rec_rl.runtime.item_graph`.

    Args:
        vectors: Of the items, shape [num_items, d], finite.
        metric: A name in `rec_rl.retrieval.index.METRICS`.
        on_progress: Called with (done, total) items while the graph is built.

    Attributes:
        exact: The same items, scored one by one.
        graph: What an artefact takes along.

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
        self.graph = ItemGraph.build(self.exact.vectors.numpy(), metric, on_progress)

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
        wanted = int((k + num_seen) / max(share, FEWEST_ALLOWED) * (1.0 if allowed is None else MARGIN))
        if share < FEWEST_ALLOWED or wanted >= num_items:
            return self.exact.search(queries, k, allowed=allowed, seen=seen)
        x = scaled(queries, self.exact.metric)
        items, scores = self.graph.search(x, k, wanted=wanted, allowed=allowed, seen=seen)
        short = np.flatnonzero(items[:, -1] == NOTHING)
        if len(short) > 0:
            rest = self.exact.search(
                queries[short], k, allowed=allowed, seen=None if seen is None else seen[short]
            )
            items[short], scores[short] = rest.items, rest.scores
        return Found(items, scores)
