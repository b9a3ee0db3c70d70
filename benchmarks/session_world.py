"""The session world: requests recorded with their states."""

import importlib.util
from pathlib import Path

import numpy as np

from benchmarks.contest import Contest, Opponent, Side, Unavailable, Work

NUM_USERS, NUM_REQUESTS = 1500, 40
REFERENCE = Path("../shared/reference/session_world.py")


def ours() -> Work:
    """A log of the logging policy, its states as float16."""
    from envs.session_rollouts import record_log
    from envs.session_world import SessionWorld

    world = SessionWorld(NUM_USERS, 0)

    def work() -> float:
        record_log(world, NUM_REQUESTS)
        return NUM_USERS * NUM_REQUESTS

    return work


def reference() -> Work:
    """The script that the world was designed with."""
    path = Path(__file__).parents[1] / REFERENCE
    if not path.is_file():
        raise Unavailable(f"there is no {REFERENCE}")
    spec = importlib.util.spec_from_file_location("reference", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    world = module.World(NUM_USERS, 0)
    np.seterr(all="ignore")

    def work() -> float:
        module.rollout(world, NUM_REQUESTS, keep=True)
        return NUM_USERS * NUM_REQUESTS

    return work


CONTEST = Contest(
    name="session_world",
    work="session world, requests recorded with states of 245",
    unit="request",
    ours=Side(name="rec_rl", setup=ours),
    opponents=(
        Opponent(
            side=Side(name="reference script", setup=reference),
            bar=3.0,
            why="Both record more than 300,000 requests a second here. A third of our time is the state "
            "itself (a product, 121 tanh and 30 normal draws a request), which the script draws at the same "
            "cost; a quarter is writing it into the log, a sixth checking that the log is finite.",
        ),
    ),
    least_per_second=100_000,
)
