"""Several learners learn what one does: gradients are summed over processes (gloo)."""

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


def build(name: str, num_learners: int) -> OnlineAlgorithm:
    config = ALGORITHMS[name]().simulate(partial(VirtualTaobaoVectorEnv, weights="synthetic"))
    config.training(**SETTINGS[name], replay_capacity=1_000).debugging(seed=3)
    config.env_runners(num_env_runners=0, num_envs_per_env_runner=4).learners(num_learners=num_learners)
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
def pair(request: pytest.FixtureRequest) -> Iterator[tuple[str, OnlineAlgorithm, OnlineAlgorithm]]:
    one, two = build(request.param, 0), build(request.param, 2)
    two.learner_group.set_state(one.learner_group.get_state())
    yield request.param, one, two
    one.stop()
    two.stop()


def check_same_parameters(start: dict[str, torch.Tensor], one: Any, two: Any) -> None:
    """One learner has left its start, and both of two are where it is."""
    ours = one.learner_group._learner.policy.state_dict()
    assert max(float((ours[key] - value).abs().max()) for key, value in start.items()) > 1e-3  # it learned
    for reached in two.learner_group.foreach_learner(lambda learner: learner.policy.state_dict()):
        theirs = reached.get()
        assert theirs.keys() == ours.keys()
        for key, value in ours.items():
            np.testing.assert_allclose(theirs[key].numpy(), value.numpy(), atol=1e-5, rtol=0, err_msg=key)


def test_two_learners_reach_the_parameters_of_one(pair: tuple[str, OnlineAlgorithm, OnlineAlgorithm]):
    name, one, two = pair
    rows = batch(name, one)
    start = {key: value.clone() for key, value in one.learner_group._learner.policy.state_dict().items()}
    losses = [algorithm.update(dict(rows)) for algorithm in (one, two)]
    assert all(np.isfinite(list(loss.values())).all() for loss in losses)
    check_same_parameters(start, one, two)


def test_both_learners_do_a_share_of_every_minibatch(pair: tuple[str, OnlineAlgorithm, OnlineAlgorithm]):
    _, _, two = pair
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


def test_two_learners_of_prefrec_reach_the_parameters_of_one():
    built = []
    for num_learners in (0, 2):
        config = OFFLINE_ALGORITHMS["prefrec"]().learn_from(preferences).debugging(seed=3)
        config.training(hidden_sizes=(8, 8), batch_size=16, actor_lr=1e-4, critic_lr=1e-4)
        config.training(finetune_period=4, preference_batch_size=8, steps_per_iteration=NUM_STEPS)
        config.training(reward_lr=1e-6)  # Adam makes steps of it of the rounding in the level's gradient, 0
        built.append(config.learners(num_learners=num_learners).build_algo())
    one, two = built
    start = {key: value.clone() for key, value in one.learner_group._learner.policy.state_dict().items()}
    for algorithm in built:
        algorithm.train()
    check_same_parameters(start, one, two)
    for algorithm in built:
        algorithm.stop()
