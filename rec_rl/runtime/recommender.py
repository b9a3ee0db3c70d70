"""From a user to items, with an artefact that `rec-rl export` wrote."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from rec_rl.errors import ConfigError
from rec_rl.runtime.artefact import CLICK_MODEL, ITEM_GRAPH, POLICY, Artefact
from rec_rl.runtime.features import (
    FeatureError,
    Floats,
    Id,
    IdTable,
    Ints,
    Query,
    checked_k,
    checked_names,
    checked_vector,
)
from rec_rl.runtime.item_search import ItemSearch, best_rows

ROWS_AT_ONCE = 4096  # items that a click model scores in one run, so that memory stays bounded


class Recommendation(NamedTuple):
    """An item and its score: for a policy how near it is to the action (minus the squared distance, or the
    inner product), for a click model the probability of a click."""

    item: Id
    score: float


class Ranker(Protocol):
    """What kinds of artefacts do differently."""

    def read(self, user: Mapping[str, Any]) -> Mapping[str, NDArray[Any]]:
        """The user's features as arrays.

        Raises:
            FeatureError: If a feature is not what the schema says.
        """

    def rank(self, queries: Sequence[Query]) -> list[tuple[Ints, Floats]]:
        """Rows and scores of the best items of each query, best first."""


class Recommender:
    """Answers ``recommend(user, k, exclude=...)``.

    Args:
        folder: Of the artefact.
        threads: That one graph may use.

    Raises:
        CheckpointError: If the folder holds no whole artefact.
        ConfigError: If the artefact has no items to recommend.
    """

    def __init__(self, folder: str | Path, *, threads: int = 1) -> None:
        self.artefact = Artefact.load(folder)
        if "ids" not in self.artefact.items:
            raise ConfigError(
                f"{folder} has no items to recommend (its graphs can be run one by one); export a policy "
                "with --items"
            )
        self.item_ids = IdTable(self.artefact.items["ids"])
        self._ranker = RANKERS[self.artefact.kind](self.artefact, self.item_ids, threads)

    def recommend(
        self, user: Mapping[str, Any], k: int, *, exclude: Sequence[Id] = ()
    ) -> list[Recommendation]:
        """The k best items for a user, best first; fewer only where fewer are left.

        Args:
            user: Features by name, as the artefact's schema says.
            k: How many.
            exclude: Items that must not come back: seen, out of stock, against a rule. Unknown ids are passed
                over.

        Raises:
            FeatureError: If a field is not what the schema says; names it.
        """
        return self.recommend_many([self.query(user, k, exclude=exclude)])[0]

    def query(self, user: Any, k: Any, *, exclude: Any = ()) -> Query:
        """A checked question for `recommend_many`.

        Raises:
            FeatureError: As `recommend`.
        """
        named = checked_names(user, self.artefact.description["features"])
        return Query(
            features=self._ranker.read(named),
            k=checked_k(k),
            excluded=np.unique(self.item_ids.rows("exclude", exclude)),
        )

    def recommend_many(self, queries: Sequence[Query]) -> list[list[Recommendation]]:
        """Answers to several questions at once."""
        return [
            [
                Recommendation(item, score)
                for item, score in zip(self.item_ids.ids[rows].tolist(), scores.tolist(), strict=True)
            ]
            for rows, scores in self._ranker.rank(queries)
        ]


class PolicyRanker:
    """The policy's action, then the items that match it."""

    def __init__(self, artefact: Artefact, item_ids: IdTable, threads: int) -> None:
        self._graph = artefact.graph("policy", threads=threads)
        self._size = int(artefact.description["features"]["state"]["size"])
        items = artefact.description["items"]
        graph = artefact.folder / ITEM_GRAPH if items["graph"] else None
        self._items = ItemSearch(artefact.items["vectors"], items["metric"], graph)

    def read(self, user: Mapping[str, Any]) -> Mapping[str, NDArray[Any]]:
        """See `Ranker`."""
        return {"state": checked_vector("user.state", user["state"], self._size)}

    def rank(self, queries: Sequence[Query]) -> list[tuple[Ints, Floats]]:
        """See `Ranker`."""
        actions = self._graph.run({"states": np.stack([query.features["state"] for query in queries])})
        return [
            self._items.search(action, query.k, query.excluded)
            for action, query in zip(actions, queries, strict=True)
        ]


class ClickRanker:
    """The probability that the user clicks, of every item."""

    def __init__(self, artefact: Artefact, item_ids: IdTable, threads: int) -> None:
        self._graph = artefact.graph("click_model", threads=threads)
        self._item_ids = item_ids
        features = artefact.description["features"]
        self._max_history = int(features["history"]["most"])
        self._user_codes = (
            {value: code for code, value in enumerate(artefact.items["user_ids"].tolist(), start=1)}
            if "user" in features
            else {}
        )
        self._categories = artefact.items["categories"].astype(np.int64)  # by item code; 0 is unknown

    def read(self, user: Mapping[str, Any]) -> Mapping[str, NDArray[Any]]:
        """See `Ranker`; an unknown user has code 0, unknown items of the history are left out."""
        history = 1 + self._item_ids.rows("user.history", user["history"])
        user_id = user.get("user")
        if not isinstance(user_id, int | str | None):
            raise FeatureError("user.user", f"must be an id, got {user_id!r:.60}")
        return {
            "user": np.array([self._user_codes.get(user_id, 0)]),
            "history": history[-self._max_history :],
        }

    def rank(self, queries: Sequence[Query]) -> list[tuple[Ints, Floats]]:
        """See `Ranker`."""
        return [self._rank(query) for query in queries]

    def _rank(self, query: Query) -> tuple[Ints, Floats]:
        past = query.features["history"]
        padded = np.zeros((1, max(1, len(past))), np.int64)
        padded[0, : len(past)] = past
        num_items = len(self._item_ids.ids)
        scores = np.concatenate(
            [
                self._graph.run(self._inputs(query, padded, len(past), np.arange(start, end)))
                for start in range(1, num_items + 1, ROWS_AT_ONCE)
                for end in [min(start + ROWS_AT_ONCE, num_items + 1)]
            ]
        )
        scores[query.excluded] = -np.inf
        rows = best_rows(scores, query.k)
        return rows, scores[rows]

    def _inputs(self, query: Query, past: Ints, length: int, items: Ints) -> dict[str, NDArray[np.int64]]:
        n = len(items)
        return {
            "users": np.repeat(query.features["user"], n),
            "items": items,
            "categories": self._categories[items],
            "history_items": np.repeat(past, n, axis=0),
            "history_categories": np.repeat(self._categories[past], n, axis=0),
            "lengths": np.full(n, length, np.int64),
        }


RANKERS: Mapping[str, Callable[[Artefact, IdTable, int], Ranker]] = {
    POLICY: PolicyRanker,
    CLICK_MODEL: ClickRanker,
}
