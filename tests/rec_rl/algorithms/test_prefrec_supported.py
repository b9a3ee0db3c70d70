"""The supported form on a log whose advantages are known."""

from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch

from rec_rl.algorithms.offline import OfflineAlgorithm
from rec_rl.algorithms.offline_data import OfflineData
from rec_rl.algorithms.offline_policy import OfflinePolicy
from rec_rl.algorithms.prefrec_supported import PrefRecSupportedConfig, best_blend
from rec_rl.data.sessions import SessionLog
from rec_rl.errors import ConfigError

SCALE = 0.5


def true_weights(states: np.ndarray) -> np.ndarray:
    """Of the first action dimension: linear in the first state column, and more so not."""
    first = np.asarray(states[:, 0], np.float32)
    return (0.5 * first + first**2 - 1).astype(np.float32)


def reward(states: np.ndarray, actions: np.ndarray) -> np.ndarray:
    return true_weights(states) * actions[:, 0]


@lru_cache
def data() -> OfflineData:
    rng = np.random.default_rng(0)
    n = 8_000
    states = rng.standard_normal((n, 3)).astype(np.float16)
    mean = np.stack([states[:, 1], np.zeros(n)], axis=1).astype(np.float32)
    log = SessionLog(
        states=states,
        actions=mean + np.float32(SCALE) * rng.standard_normal((n, 2)).astype(np.float32),
        times=np.tile(np.arange(100.0), n // 100),
        session_starts=np.arange(0, n, 10),
        session_users=np.repeat(np.arange(n // 100), 10),
        behaviour_mean=mean,
        behaviour_scale=np.full(2, SCALE, np.float32),
    )
    return OfflineData(log=log, reward=reward)


def build(**settings: object) -> OfflineAlgorithm:
    small = {
        "hidden_sizes": (32,),
        "batch_size": 512,
        "actor_lr": 1e-2,
        "gamma": 0.0,
        "radius": 0.7,
        "tau": 0.1,
        "steps_per_iteration": 50,
    }
    config = PrefRecSupportedConfig().learn_from(data).training(**small | settings)
    return config.debugging(seed=0).build_algo()


def steps_of(algorithm: OfflineAlgorithm) -> np.ndarray:
    """Steps from the logging mean in units of the noise, [n, 2]."""
    log = data().log
    return (OfflinePolicy.of(algorithm)(log.states) - log.behaviour_mean) / SCALE


def test_before_training_it_is_the_closed_form_at_its_radius():
    algorithm = build()
    step = steps_of(algorithm)
    assert np.sqrt(np.square(step).sum(axis=1).mean()) == pytest.approx(0.7, abs=0.05)
    linear = np.asarray(data().log.states[:, 0], np.float32) > 0.3
    assert (step[linear, 0] > 0).all()
    algorithm.stop()


def test_the_network_finds_what_is_not_linear():
    algorithm = build()

    def agreement() -> float:
        weights = true_weights(data().log.states)
        clear = np.abs(weights) > 0.3
        return float((np.sign(steps_of(algorithm)[clear, 0]) == np.sign(weights[clear])).mean())

    linear = agreement()
    for _ in range(4):
        algorithm.train()
    assert linear < 0.85
    assert agreement() > 0.95
    assert float(algorithm.policy_module().blend) > 0.5
    assert np.sqrt(np.square(steps_of(algorithm)).sum(axis=1).mean()) == pytest.approx(0.7, abs=0.05)
    algorithm.stop()


def test_a_restored_run_equals_the_uninterrupted_one(tmp_path: Path):
    whole = build(steps_per_iteration=5)
    whole.train()
    whole.save_checkpoint(str(tmp_path / "c"))
    whole.train()
    resumed = build(steps_per_iteration=5)
    resumed.learner_group._learner.rng.manual_seed(99)
    resumed.load_checkpoint(str(tmp_path / "c"))
    resumed.train()
    np.testing.assert_array_equal(steps_of(whole), steps_of(resumed))
    whole.stop()
    resumed.stop()


def test_held_out_users_are_in_no_minibatch():
    algorithm = build(held_out=0.5)
    learner = algorithm.learner_group._learner
    users = data().log.user_index
    held, drawn = set(users[learner.held_rows.numpy()]), set(users[learner.transitions.rows.numpy()])
    assert len(held) > 10
    assert not held & drawn
    algorithm.stop()


def test_best_blend_by_hand():
    predicted = torch.tensor([1.0, 2.0])
    # (1 * 1 + 0 * 2) / (1 + 4)
    torch.testing.assert_close(best_blend(torch.tensor([1.0, 0.0]), predicted), torch.tensor(0.2))
    assert best_blend(torch.tensor([-1.0, 0.0]), predicted) == 0
    assert best_blend(torch.tensor([9.0, 9.0]), predicted) == 1
    assert best_blend(predicted, torch.zeros(2)) == 0


def test_without_a_reward_it_refuses():
    config = PrefRecSupportedConfig().learn_from(lambda: OfflineData(log=data().log))
    with pytest.raises(ConfigError, match="prefrec_supported needs a reward"):
        config.build_algo()
