from dataclasses import fields
from functools import partial
from typing import Any

import numpy as np
import pytest

from envs.virtual_taobao import VirtualTaobaoVectorEnv
from rec_rl.algorithms.catalogue import ALGORITHMS, OFFLINE_ALGORITHMS
from rec_rl.errors import ConfigError
from rec_rl.experiments.ctr_training import CTRConfig
from rec_rl.experiments.sweep_targets import SweepTarget
from rec_rl.rewards import REWARD_METHODS
from tuning.search_spaces import (
    AnchoredSpace,
    Choice,
    CTRSpace,
    IQLearnSpace,
    LogUniform,
    PPOSpace,
    SACSpace,
    SearchSpace,
    Uniform,
)


def draws(space: SearchSpace, num: int = 50) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    return [space.sample(rng) for _ in range(num)]


@pytest.mark.parametrize(("name", "space"), [("ppo", PPOSpace()), ("sac", SACSpace())])
def test_online_spaces_draw_settings_that_their_algorithm_takes(name: str, space: SearchSpace):
    config = ALGORITHMS[name]().simulate(partial(VirtualTaobaoVectorEnv, weights="synthetic"))
    for settings in draws(space):
        assert set(settings) <= set(vars(config))
        config.copy(copy_frozen=False).training(**settings).validate()


@pytest.mark.parametrize("name", OFFLINE_ALGORITHMS)
def test_offline_spaces_draw_settings_that_their_algorithm_takes(name: str):
    space = SweepTarget(name=name, env="session-world").space
    for settings in draws(space):
        OFFLINE_ALGORITHMS[name]().training(**settings)
    assert set(space.domains()) >= {"actor_lr", "batch_size"}


@pytest.mark.parametrize(
    ("config", "space"),
    [
        (REWARD_METHODS["iq_learn"], IQLearnSpace()),
        (REWARD_METHODS["qr_iql"], IQLearnSpace()),
        (REWARD_METHODS["anchored"], AnchoredSpace()),
        (CTRConfig, CTRSpace()),
    ],
)
def test_other_spaces_draw_settings_that_their_config_takes(config: Any, space: SearchSpace):
    for settings in draws(space):
        config(**settings)
    assert set(space.domains()) <= {field.name for field in fields(config)}


def test_draws_keep_to_their_bounds_and_spread_over_them():
    rng = np.random.default_rng(0)
    log = np.array([LogUniform(1e-4, 1e-2).sample(rng) for _ in range(2000)])
    assert 1e-4 <= log.min() < 1.2e-4
    assert 8e-3 < log.max() <= 1e-2
    assert np.median(log) == pytest.approx(1e-3, rel=0.15)  # the middle of the logarithms
    flat = np.array([Uniform(-2.0, 0.0).sample(rng) for _ in range(2000)])
    assert flat.mean() == pytest.approx(-1, abs=0.05)
    assert {Choice((1, 2, 4)).sample(rng) for _ in range(50)} == {1, 2, 4}


def test_what_the_tuner_drew_comes_back_as_settings():
    space = PPOSpace()
    drawn = {"lr": 0.001, "hidden_sizes": "[128, 128]", "num_passes": 6, "batch_size": 64, "clip": 0.2}
    settings = space.decode({**drawn, "initial_log_std": -1})
    assert settings["hidden_sizes"] == (128, 128)
    assert settings["num_passes"] == 6
    assert settings["initial_log_std"] == -1.0


def test_a_space_can_be_narrowed_by_its_fields():
    assert SACSpace(lr=Choice((1e-3,))).sample(np.random.default_rng(0))["lr"] == 1e-3


def test_bounds_that_hold_nothing_are_refused():
    with pytest.raises(ConfigError, match="the bounds of a range must grow, got 1 and 1"):
        Uniform(1, 1)
    with pytest.raises(ConfigError, match="must be > 0, got 0"):
        LogUniform(0, 1)
