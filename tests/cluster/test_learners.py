"""Other learners learn what one on the CPU does: two of them, which sum gradients (gloo), or one on a GPU."""

from collections.abc import Iterator
from functools import lru_cache, partial
from typing import Any

import numpy as np
import pytest
import torch

from envs.session_rollouts import record_log
from envs.session_world import SessionWorld
from envs.virtual_taobao import VirtualTaobaoVectorEnv
from rec_rl.algorithms.catalogue import ALGORITHMS, OFFLINE_ALGORITHMS
from rec_rl.algorithms.offline_data import OfflineData
from rec_rl.algorithms.online import OnlineAlgorithm
from rec_rl.algorithms.rollouts import FlatEnvRunner
from rec_rl.data.levels import session_levels
from rec_rl.data.preferences import locate_pairs, scripted_preferences
from rec_rl.rewards.bradley_terry import BradleyTerryConfig, fit_bradley_terry

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("ray_session")]

SETTINGS: dict[str, dict[str, Any]] = {
    "ppo": {"hidden_sizes": (16, 16), "batch_size": 20, "num_passes": 5, "self_imitation_weight": 0.3},
    "sac": {"hidden_sizes": (16, 16), "batch_size": 32},
}
NUM_STEPS = 20
ON_ONE_CPU = {"num_learners": 0}
ON_TWO_CPUS = {"num_learners": 2}
ON_A_GPU = {"num_learners": 1, "num_gpus_per_learner": 1}
OTHERS = [
    pytest.param((ON_TWO_CPUS, 1e-5), id="two learners"),
    pytest.param((ON_A_GPU, 1e-4), id="a GPU", marks=pytest.mark.gpu),
]
"""Where else to learn, and how near to one CPU that must come: a GPU adds in another order."""


def build(name: str, learners: dict[str, Any]) -> OnlineAlgorithm:
    config = ALGORITHMS[name]().simulate(partial(VirtualTaobaoVectorEnv, weights="synthetic"))
    config.training(**SETTINGS[name], replay_capacity=1_000).debugging(seed=3)
    config.env_runners(num_env_runners=0, num_envs_per_env_runner=4).learners(**learners)
    return config.build_algo()


def batch(name: str, algorithm: OnlineAlgorithm) -> dict[str, Any]:
    """Experience for NUM_STEPS minibatches, the last of each pass smaller than the others in PPO."""
    runner = FlatEnvRunner(config=algorithm.config, worker_index=1)
    rollout = runner.sample(num_steps=18, random=True)
    if name == "ppo":
        names = ("obs", "actions", "logp", "next_obs", "terminated", "truncated", "valid")
        columns = {column: getattr(rollout, column) for column in names}
        assert 60 < rollout.num_steps < 80  # 4 minibatches of up to 20 in each of 5 passes
        return columns | {"rewards": rollout.rewards, "replay": algorithm._replayed(rollout)}
    algorithm.replay.add(algorithm._transitions(rollout))
    rows = algorithm.replay.sample(NUM_STEPS, SETTINGS["sac"]["batch_size"])
    del rows["reward_class"]
    return rows


@pytest.fixture(params=["ppo", "sac"])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def pair(name: str, other: tuple[dict[str, Any], float]) -> Iterator[tuple[OnlineAlgorithm, OnlineAlgorithm]]:
    built = build(name, ON_ONE_CPU), build(name, other[0])
    built[1].learner_group.set_state(built[0].learner_group.get_state())
    yield built
    for algorithm in built:
        algorithm.stop()


def parameters(algorithm: Any) -> dict[str, torch.Tensor]:
    """Of a learner in this process, as they are now."""
    return {key: value.clone() for key, value in algorithm.learner_group._learner.policy.state_dict().items()}


def on_cpu(learner: Any) -> dict[str, torch.Tensor]:
    return {key: value.cpu() for key, value in learner.policy.state_dict().items()}


def check_same_parameters(start: dict[str, torch.Tensor], one: Any, other: Any, within: float) -> None:
    """One learner has left its start, and all of the others are where it is."""
    ours = parameters(one)
    assert max(float((ours[key] - value).abs().max()) for key, value in start.items()) > 1e-3  # it learned
    for reached in other.learner_group.foreach_learner(on_cpu):
        theirs = reached.get()
        assert theirs.keys() == ours.keys()
        for key, value in ours.items():
            np.testing.assert_allclose(theirs[key].numpy(), value.numpy(), atol=within, rtol=0, err_msg=key)


@pytest.mark.parametrize("other", OTHERS)
def test_others_reach_the_parameters_of_one(
    name: str, other: tuple[dict[str, Any], float], pair: tuple[OnlineAlgorithm, OnlineAlgorithm]
):
    rows = batch(name, pair[0])
    start = parameters(pair[0])
    losses = [algorithm.update(dict(rows)) for algorithm in pair]
    assert all(np.isfinite(list(loss.values())).all() for loss in losses)
    check_same_parameters(start, *pair, within=other[1])


@pytest.mark.parametrize("other", OTHERS[:1])
def test_both_learners_do_a_share_of_every_minibatch(pair: tuple[OnlineAlgorithm, OnlineAlgorithm]):
    _, two = pair
    shares = [
        result.get()
        for result in two.learner_group.foreach_learner(
            lambda learner: learner.share(torch.arange(5)).tolist()
        )
    ]
    assert sorted(shares) == [[0, 2, 4], [1, 3]]


@lru_cache
def preferences() -> OfflineData:
    log = record_log(SessionWorld(12, 0), 210).log
    level = session_levels(log).mixture
    pairs = locate_pairs(scripted_preferences(log, level, num_pairs=16, segment_length=20, seed=0), log)
    reward = BradleyTerryConfig(hidden_sizes=(8,), batch_size=8, epochs=1)
    return OfflineData(log=log, reward=fit_bradley_terry(log, pairs, reward), pairs=pairs)


@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("name", OFFLINE_ALGORITHMS)
def test_others_of_the_offline_algorithms_reach_the_parameters_of_one(
    name: str, other: tuple[dict[str, Any], float]
):
    built = []
    for where in (ON_ONE_CPU, other[0]):
        config = OFFLINE_ALGORITHMS[name]().learn_from(preferences).debugging(seed=3)
        config.training(hidden_sizes=(8, 8), batch_size=16, steps_per_iteration=NUM_STEPS, actor_lr=1e-3)
        if name == "prefrec":
            config.training(actor_lr=1e-4, critic_lr=1e-4, finetune_period=4, preference_batch_size=8)
            config.training(reward_lr=1e-6)  # Adam makes steps of the rounding in the level's gradient, 0
        built.append(config.learners(**where).build_algo())
    start = parameters(built[0])
    for algorithm in built:
        algorithm.train()
    check_same_parameters(start, *built, within=other[1])
    for algorithm in built:
        algorithm.stop()
