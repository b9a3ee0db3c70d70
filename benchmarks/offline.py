"""Gradient steps of offline algorithms against d3rlpy's, on the same shapes."""

from typing import Any

import numpy as np

from benchmarks import own_ray
from benchmarks.contest import Contest, Opponent, Side, Work
from benchmarks.gemm import bound, forward, train

STATE_DIM, ACTION_DIM = 245, 8
HIDDEN = [256, 256]
CANDIDATES = 10
NUM_USERS, NUM_REQUESTS = 200, 100
STEPS = 4
"""Gradient steps in one call of a side; even, since every second one moves TD3+BC's actor."""


def ours(algorithm: str, batch_size: int, settings: dict[str, Any]) -> Work:
    """rec_rl's learner: minibatches from a log in memory, every network's step, the targets."""
    algo = build(algorithm, batch_size, settings | {"hidden_sizes": tuple(HIDDEN), "steps_per_iteration": 50})
    learner = algo.learner_group._learner

    def work() -> float:
        learner.train_steps(STEPS)
        return STEPS

    return work


def build(algorithm: str, batch_size: int, settings: dict[str, Any], **learners: float) -> Any:
    """An algorithm of rec_rl on a log of the session world whose requests are paid at random."""
    from envs.session_rollouts import record_log
    from envs.session_world import SessionWorld
    from rec_rl.algorithms.catalogue import OFFLINE_ALGORITHMS
    from rec_rl.algorithms.offline_data import OfflineData

    own_ray.start()
    log = record_log(SessionWorld(NUM_USERS, 0), NUM_REQUESTS).log
    paid = np.random.default_rng(0).standard_normal(len(log)).astype(np.float32)
    config = OFFLINE_ALGORITHMS[algorithm]().training(batch_size=batch_size, **settings)
    config.learn_from(lambda: OfflineData(log=log, reward=paid)).learners(**learners)
    return config.debugging(seed=0).build_algo()


def d3rlpy(algorithm: str, batch_size: int, settings: dict[str, Any]) -> Work:
    """d3rlpy's ``update`` on minibatches of its replay buffer."""
    import d3rlpy as peer

    rng = np.random.default_rng(0)
    rows = NUM_USERS * NUM_REQUESTS
    dataset = peer.dataset.MDPDataset(
        observations=rng.standard_normal((rows, STATE_DIM)).astype(np.float32),
        actions=rng.uniform(-1, 1, (rows, ACTION_DIM)).astype(np.float32),
        rewards=rng.standard_normal(rows).astype(np.float32),
        terminals=(np.arange(rows) % NUM_REQUESTS == NUM_REQUESTS - 1).astype(np.float32),
    )
    algo = getattr(peer.algos, f"{algorithm}Config")(batch_size=batch_size, **settings).create()
    algo.build_with_dataset(dataset)

    def work() -> float:
        for _ in range(STEPS):
            algo.update(dataset.sample_transition_batch(batch_size))
        return STEPS

    return work


def iql_products(rows: int) -> Side:
    """V at s (trained) and s', twin critics (trained) and their targets, the actor."""
    state, both = [STATE_DIM, *HIDDEN, 1], [STATE_DIM + ACTION_DIM, *HIDDEN, 1]
    critic = [*forward(rows, both), *train(rows, both)]
    actor = train(rows, [STATE_DIM, *HIDDEN, ACTION_DIM])
    return bound([*train(rows, state), *forward(rows, state), *critic, *critic, *actor])


def contest(
    name: str,
    peer: str,
    batch_size: int,
    *,
    bar: float,
    settings: dict[str, Any] | None = None,
    peer_settings: dict[str, Any] | None = None,
    products: Side | None = None,
) -> Contest:
    """A step of rec_rl's ``name`` beside d3rlpy's ``peer``."""
    words = {"iql": "IQL", "td3_bc": "TD3+BC", "bcq": "BCQ"}[name]
    theirs = {"algorithm": peer, "batch_size": batch_size, "settings": peer_settings or {}}
    opponents = [
        Opponent(side=Side(name="d3rlpy", setup=d3rlpy, settings=theirs, in_peers=True), bar=bar),
    ]
    if products is not None:
        opponents.append(Opponent(side=products))
    return Contest(
        name=f"{name}-{batch_size}",
        work=f"{words} step, batch {batch_size}, two layers of 256",
        unit="step",
        ours=Side(
            name="rec_rl",
            setup=ours,
            settings={"algorithm": name, "batch_size": batch_size, "settings": settings or {}},
        ),
        opponents=tuple(opponents),
    )


CONTESTS = (
    contest("iql", "IQL", 256, bar=1.5, products=iql_products(256)),
    contest("iql", "IQL", 4096, bar=1.5, products=iql_products(4096)),
    contest("td3_bc", "TD3PlusBC", 256, bar=1.3),
    contest(
        "bcq",
        "BCQ",
        256,
        bar=1.3,
        settings={"num_candidates": CANDIDATES},
        peer_settings={"n_action_samples": CANDIDATES},
    ),
)
