"""The session world served from a catalogue: what it costs that only items can be served."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from envs.session_rollouts import Policy, logging_policy, on_states, online_levels
from envs.session_world import Outcome, SessionWorld
from rec_rl.algorithms.noise_advantage import NoiseAdvantageConfig, fit_noise_advantage
from rec_rl.algorithms.session_policy import SessionPolicy
from rec_rl.data.levels import user_averages
from rec_rl.experiments.offline_training import FIRST_LIFE
from rec_rl.experiments.runner import Event
from rec_rl.experiments.session_data import TEST_SEED, SessionData, logs_of, offline_data
from rec_rl.experiments.telling import telling
from rec_rl.retrieval.graph import GraphIndex
from rec_rl.retrieval.index import ExactIndex, ItemIndex

Floats = NDArray[np.float32]

GRAPH_FROM = 50_000
"""Items from which the graph searches: an exact search of a whole life would take hours."""
LOGGING, CLOSED_FORM = "logging", "closed form"
SERVED, MEAN = "served", "mean"


@dataclass(frozen=True, kw_only=True)
class ServedItems:
    """One session world and its catalogues.

    Attributes:
        seed: Of users, lives, the policy's log and the catalogue.
        catalogues: Numbers of items; smaller ones are parts of larger ones.
        num_users, num_requests: Of the world that is logged and of the one that is served.
    """

    seed: int
    catalogues: tuple[int, ...]
    num_users: int
    num_requests: int


class NearestItems:
    """A catalogue as a function of actions.

    Args:
        vectors: Of the items, shape [n, A].
    """

    def __init__(self, vectors: Floats) -> None:
        self._vectors = vectors
        build = GraphIndex if len(vectors) >= GRAPH_FROM else ExactIndex
        self._index: ItemIndex = build(vectors, metric="euclidean")

    def __call__(self, actions: Floats) -> Floats:
        """The vector of the item nearest to each action, [n, A] to [n, A]."""
        rows = self._index.search(actions, 1).items[:, 0]
        return self._vectors[rows]


class RetrievedPolicy:
    """A `SessionPolicy` whose means are items: of another policy, the nearest ones.

    The serving layer's noise still comes on top, so that a log can judge it as any policy.
    """

    def __init__(self, policy: SessionPolicy, items: NearestItems) -> None:
        self._policy, self._items = policy, items

    @property
    def state_dim(self) -> int:
        """S."""
        return self._policy.state_dim

    def __call__(self, states: NDArray[np.floating]) -> Floats:
        """Mean actions, [n, S] to [n, A]."""
        return self._items(self._policy(states))


class CatalogueWorld(SessionWorld):
    """Shows the item nearest to what a policy and its noise ask for: nothing else can be served."""

    def __init__(self, num_users: int, seed: int, items: NearestItems) -> None:
        self._items = items
        super().__init__(num_users, seed)

    def step(self, items: ArrayLike) -> Outcome:
        """See `SessionWorld.step`."""
        return super().step(self._items(np.asarray(items, np.float32)))


def value_trial(spec: Mapping[str, Any]) -> Iterator[Event]:
    """`served_levels` as a trial; ``spec`` holds the values of a ServedItems."""
    settings = ServedItems(**{**spec, "catalogues": tuple(spec["catalogues"])})
    yield from telling(lambda tell: served_levels(settings, tell))


def served_levels(spec: ServedItems, tell: Callable[[Event], None]) -> dict[str, Any]:
    """Mean level of a session over test users, of each policy with each catalogue, in one life.

    Returns:
        "levels" by arm and task; "free", the arm without a catalogue of each arm with one; "data_hash".
    """
    import torch

    torch.set_num_threads(1)
    data = SessionData(
        num_users=spec.num_users,
        num_test_users=spec.num_users,
        num_requests=spec.num_requests,
        reward="linear",
        num_pairs=min(2000, 10 * spec.num_users),
        segment_length=spec.num_requests // 4,
        seed=spec.seed,
    )
    log, test = logs_of(data).train, logs_of(data).test
    learned = offline_data(data)
    assert learned.reward is not None
    closed_form = fit_noise_advantage(log, learned.reward, NoiseAdvantageConfig(), seed=spec.seed)
    policies: dict[str, Policy] = {LOGGING: logging_policy, CLOSED_FORM: on_states(closed_form)}
    averages = user_averages(test)
    users = data.num_test_users, TEST_SEED + spec.seed
    levels: dict[str, dict[str, float]] = {}
    free: dict[str, str] = {}
    total = len(policies) + (len(policies) + 1) * len(spec.catalogues)

    def live(arm: str, world: SessionWorld, policy: Policy) -> None:
        earned = online_levels(world, policy, averages, spec.num_requests, seed=FIRST_LIFE + spec.seed)
        levels[arm] = {task: float(np.nanmean(values)) for task, values in earned.items()}
        tell({"step": len(levels), "total": total})

    for name, policy in policies.items():
        live(name, SessionWorld(*users), policy)
    vectors = catalogue_like(log.actions, max(spec.catalogues), spec.seed)
    for size in spec.catalogues:
        items = NearestItems(vectors[:size])
        for name, policy in policies.items():
            free[arm := f"{name}, {size:,} items, {SERVED}"] = name
            live(arm, CatalogueWorld(*users, items), policy)
        free[arm := f"{CLOSED_FORM}, {size:,} items, {MEAN}"] = CLOSED_FORM
        live(arm, SessionWorld(*users), on_states(RetrievedPolicy(closed_form, items)))
    return {"levels": levels, "free": free, "data_hash": test.content_hash}


def catalogue_like(actions: Floats, size: int, seed: int) -> Floats:
    """Items drawn from the Gaussian of what a platform served, the clickbait within its bounds, [size, A]."""
    rng = np.random.default_rng([seed, 7])
    mean, covariance = actions.mean(axis=0, dtype=np.float64), np.cov(actions.T)
    vectors = rng.multivariate_normal(mean, covariance, size, method="cholesky").astype(np.float32)
    vectors[:, -1] = vectors[:, -1].clip(-1, 1)
    return vectors
