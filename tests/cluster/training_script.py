"""Trains every offline algorithm and click model a little, in turns, and fits a reward of every kind.

``python training_script.py FOLDER`` goes on from what lies in FOLDER, which a killed run of it left.
"""

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache, partial
from itertools import zip_longest
from pathlib import Path

import numpy as np

from envs.click_world import ClickWorld
from rec_rl.algorithms.catalogue import OFFLINE_ALGORITHMS
from rec_rl.checkpoint import load_state, save_state
from rec_rl.data.interactions import RawRows, build_interactions
from rec_rl.data.splits import ClickDataset, exposure_split
from rec_rl.experiments.ctr_training import CTRConfig, CTRTraining
from rec_rl.experiments.offline_training import OfflineSpec, train_offline
from rec_rl.experiments.runner import start_ray
from rec_rl.experiments.session_data import SessionData, logs_of, preference_pairs
from rec_rl.models import MODELS
from rec_rl.rewards import REWARD_METHODS, fit_mental_reward
from rec_rl.rewards.bradley_terry import BradleyTerryConfig, fit_bradley_terry

STEPS = 40
SESSIONS = SessionData(
    num_users=30,
    num_test_users=12,
    num_requests=80,
    segment_length=30,
    num_pairs=24,
    reward_config=BradleyTerryConfig(hidden_sizes=(4,), batch_size=8, epochs=1),
)
CLICKS = CTRConfig(embedding_size=4, hidden_sizes=(8,), batch_size=32)


def offline(name: str, folder: Path) -> Iterator[object]:
    settings = {"hidden_sizes": [4], "batch_size": 8, "steps_per_iteration": 5}
    data = replace(SESSIONS, reward="session" if name == "prefrec_supported" else "network")
    spec = OfflineSpec(algorithm=name, settings=settings, data=data, steps=STEPS, evaluations=4, seed=5)
    yield from train_offline(spec, folder)


@cache
def click_rows() -> ClickDataset:
    rng = np.random.default_rng(0)
    raw = RawRows(
        users=rng.integers(1, 31, 600),
        items=rng.integers(1, 21, 600),
        times=np.arange(600),
        actions=rng.integers(0, 2, 600).astype(np.int8),
        exposed=np.ones(600, np.bool_),
    )
    log = build_interactions(raw, (np.arange(1, 21), np.arange(1, 21) % 2))
    return exposure_split(log, test_share=0.2, max_history=8)


def click_model(name: str, folder: Path) -> Iterator[object]:
    training = CTRTraining(click_rows(), replace(CLICKS, model=name), seed=0)
    kept = folder / "training"
    if kept.exists():
        training.restore(load_state(kept, "ctr"))
    while (step := training.state()["step"]) < STEPS and not training.finished:
        yield training.step()
        if step % 3 == 2:
            save_state(kept, training.state(), "ctr")
    save_state(kept, training.state(), "ctr")


def mental_reward(name: str, folder: Path) -> Iterator[object]:
    yield
    if not (folder / "reward").exists():
        config = REWARD_METHODS[name](hidden_sizes=(8,), steps=60, head_steps=20, batch_size=200)
        fit_mental_reward(ClickWorld().simulate(200, seed=0).transitions, config).save(folder / "reward")


def preference_reward(folder: Path) -> Iterator[object]:
    yield
    if not (folder / "reward").exists():
        log = logs_of(SESSIONS).train
        pairs = preference_pairs(SESSIONS, log)
        fit_bradley_terry(log, pairs, SESSIONS.reward_config).save(folder / "reward")


CASES: dict[str, Callable[[Path], Iterator[object]]] = {
    **{f"offline-{name}": partial(offline, name) for name in OFFLINE_ALGORITHMS},
    **{f"click-{name}": partial(click_model, name) for name in MODELS},
    **{f"reward-{name}": partial(mental_reward, name) for name in REWARD_METHODS},
    "reward-bradley_terry": preference_reward,
}


def main(folder: Path) -> None:
    start_ray(num_cpus=1)
    for _ in zip_longest(*(case(folder / name) for name, case in CASES.items())):
        print("on", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
