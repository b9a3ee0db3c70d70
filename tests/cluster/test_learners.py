"""Several learners learn what one does: gradients are summed over processes (gloo)."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from envs.virtual_taobao import VirtualTaobaoVectorEnv
from rec_rl.algorithms.catalogue import ALGORITHMS
from rec_rl.algorithms.online import OnlineAlgorithm
from rec_rl.algorithms.rollouts import FlatEnvRunner

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


def test_two_learners_reach_the_parameters_of_one(pair: tuple[str, OnlineAlgorithm, OnlineAlgorithm]):
    name, one, two = pair
    rows = batch(name, one)
    start = {key: value.clone() for key, value in one.learner_group._learner.policy.state_dict().items()}
    losses = [algorithm.update(dict(rows)) for algorithm in (one, two)]
    assert all(np.isfinite(list(loss.values())).all() for loss in losses)
    ours = one.learner_group._learner.policy.state_dict()
    assert max(float((ours[key] - value).abs().max()) for key, value in start.items()) > 1e-3  # it learned
    for reached in two.learner_group.foreach_learner(lambda learner: learner.policy.state_dict()):
        theirs = reached.get()
        assert theirs.keys() == ours.keys()
        for key, value in ours.items():
            np.testing.assert_allclose(theirs[key].numpy(), value.numpy(), atol=1e-5, rtol=0, err_msg=key)


def test_both_learners_do_a_share_of_every_minibatch(pair: tuple[str, OnlineAlgorithm, OnlineAlgorithm]):
    _, _, two = pair
    shares = [
        result.get()
        for result in two.learner_group.foreach_learner(
            lambda learner: learner.share(torch.arange(5)).tolist()
        )
    ]
    assert sorted(shares) == [[0, 2, 4], [1, 3]]
