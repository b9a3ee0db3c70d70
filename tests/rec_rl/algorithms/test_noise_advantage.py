from pathlib import Path

import numpy as np
import pytest

from envs.session_rollouts import logging_policy, on_states, online_levels, record_log
from envs.session_world import SessionWorld
from rec_rl.algorithms.noise_advantage import (
    NoiseAdvantageConfig,
    NoiseAdvantagePolicy,
    fit_noise_advantage,
    group_lasso,
)
from rec_rl.algorithms.returns import (
    advantage_targets,
    discounted_sums,
    lambda_advantages,
    state_values,
)
from rec_rl.data.levels import session_levels, user_averages
from rec_rl.data.preferences import locate_pairs, scripted_preferences
from rec_rl.data.sessions import SessionLog
from rec_rl.errors import CheckpointError, ConfigError
from rec_rl.rewards.linear_reward import fit_linear_reward
from rec_rl.rewards.session_reward import fit_session_reward

CONFIG = NoiseAdvantageConfig()


def test_discounted_sums_by_hand():
    sums = discounted_sums(np.array([1.0, 2, 4, 10, 20]), np.array([0, 3, 5]), 0.5)
    np.testing.assert_allclose(sums, [1 + 1 + 1, 2 + 2, 4, 10 + 10, 20])


def test_lambda_advantages_by_hand():
    rewards, values = np.array([1, 2, 3], np.float32), np.array([10, 20, 30], np.float32)
    found = lambda_advantages(rewards, values, np.array([0, 3]), gamma=0.5, trace_decay=0.5)
    # delta = 1 + 10 - 10, 2 + 15 - 20, none; Y0 = 1 - 3 / 4
    np.testing.assert_allclose(found, [0.25, -3, 0])


def test_one_step_advantages_are_the_deltas_and_full_ones_the_returns():
    rng = np.random.default_rng(0)
    rewards, values = rng.standard_normal((2, 6)).astype(np.float32)
    starts = np.array([0, 6])
    one = lambda_advantages(rewards, values, starts, gamma=0.9, trace_decay=0.0)
    np.testing.assert_allclose(one[:-1], rewards[:-1] + 0.9 * values[1:] - values[:-1], rtol=1e-5)
    full = lambda_advantages(rewards, values, starts, gamma=0.9, trace_decay=1.0)
    expected = sum(0.9**k * rewards[k] for k in range(5)) + 0.9**5 * values[5] - values[0]
    assert full[0] == pytest.approx(expected, rel=1e-4)


def test_state_values_predict_discounted_returns():
    log = record_log(SessionWorld(60, 0), 60).log
    rewards = log.states[:, 0].astype(
        np.float32
    )  # constant within a user: V = r (1 - gamma^left) / (1 - gamma)
    values = state_values(log, rewards, gamma=0.5)
    returns = discounted_sums(rewards.astype(float), log.user_starts, 0.5)
    assert np.corrcoef(values, returns)[0, 1] > 0.99


def test_group_lasso_by_hand():
    gram, cross = np.diag([2.0, 4.0, 1.0]), np.array([[3.0, 4.0], [0.3, 0.4], [7.0, 0.0]])
    found = group_lasso(gram, cross, 1.0, np.zeros((3, 2)))
    # rows shrink by 1 in length: 5 -> 4, then / 2; .5 -> 0; the constant's is free
    np.testing.assert_allclose(found, [[1.2, 1.6], [0, 0], [7, 0]], atol=1e-5)


def test_group_lasso_without_a_penalty_is_least_squares():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((100, 5))
    gram, cross = x.T @ x / 100, rng.standard_normal((5, 2))
    np.testing.assert_allclose(
        group_lasso(gram, cross, 0.0, np.zeros((5, 2))), np.linalg.solve(gram, cross), atol=1e-4
    )


def known_advantage_log() -> tuple[SessionLog, np.ndarray]:
    """A log in which the first action dimension pays the sign of the first state column at once."""
    rng = np.random.default_rng(0)
    n = 20_000
    states = rng.standard_normal((n, 4)).astype(np.float16)
    noise = rng.standard_normal((n, 2)).astype(np.float32)
    mean = np.stack([states[:, 1], np.zeros(n)], axis=1).astype(np.float32)
    log = SessionLog(
        states=states,
        actions=mean + np.float32(0.5) * noise,
        times=np.tile(np.arange(100.0), 200),
        session_starts=np.arange(0, n, 10),
        session_users=np.repeat(np.arange(200), 10),
        behaviour_mean=mean,
        behaviour_scale=np.full(2, 0.5, np.float32),
    )
    return log, mean


def test_policy_steps_where_the_reward_is_by_its_radius():
    log, mean = known_advantage_log()

    def reward(states: np.ndarray, actions: np.ndarray) -> np.ndarray:
        return (np.asarray(states[:, 0], np.float32) * actions[:, 0]).astype(np.float32)

    policy = fit_noise_advantage(log, reward, NoiseAdvantageConfig(gamma=0.0, radius=1.5))
    step = (policy(log.states) - mean) / 0.5
    assert np.square(step).sum(axis=1).mean() == pytest.approx(1.5**2, rel=0.01)  # D2 = radius^2
    slope = np.polyfit(log.states[:, 0].astype(float), step[:, 0], 1)[0]
    assert slope == pytest.approx(1.5, abs=0.1)  # a step in proportion to what it gains
    clear = np.abs(log.states[:, 0].astype(float)) > 0.3
    agreement = np.sign(step[clear, 0]) == np.sign(log.states[clear, 0].astype(float))
    assert agreement.mean() > 0.97
    rows = np.linalg.norm(policy.weights, axis=1)
    assert rows[0] > 0.3
    assert rows[1:].max() < 0.05 * rows[0]  # the lasso drops what has no part in it


def test_rewards_may_come_as_a_function_or_as_what_was_paid():
    log, _ = known_advantage_log()

    def reward(states: np.ndarray, actions: np.ndarray) -> np.ndarray:
        return actions[:, 0] * actions[:, 1]

    settings = {"gamma": 0.9, "trace_decay": 0.5}
    paid = 7 + reward(log.states, log.actions)  # the level does not matter
    targets = advantage_targets(log, reward, **settings)
    np.testing.assert_allclose(advantage_targets(log, paid, **settings), targets, atol=1e-3)
    with pytest.raises(ValueError, match="rewards must have shape"):
        advantage_targets(log, paid[1:], **settings)


def test_radius_is_the_largest_that_keeps_the_effective_sample_size():
    log, _ = known_advantage_log()

    def reward(states: np.ndarray, actions: np.ndarray) -> np.ndarray:
        return actions[:, 0].copy()

    loose = fit_noise_advantage(log, reward, NoiseAdvantageConfig(gamma=0.0))
    assert loose.effective_share > 0.2
    strict = fit_noise_advantage(log, reward, NoiseAdvantageConfig(gamma=0.0, min_effective_share=0.9))
    assert strict.radius < loose.radius
    nothing = fit_noise_advantage(log, reward, NoiseAdvantageConfig(gamma=0.0, min_effective_share=1.0))
    assert nothing.radius == 1.0


def test_policy_comes_back_as_it_was_saved(tmp_path: Path):
    log, _ = known_advantage_log()
    policy = fit_noise_advantage(log, lambda s, a: a[:, 0].copy(), NoiseAdvantageConfig(gamma=0.0))
    policy.save(tmp_path / "policy")
    loaded = NoiseAdvantagePolicy.load(tmp_path / "policy")
    np.testing.assert_array_equal(loaded(log.states[:20]), policy(log.states[:20]))
    assert loaded.radius == policy.radius
    with pytest.raises(CheckpointError):
        NoiseAdvantagePolicy.load(tmp_path)


@pytest.mark.parametrize(
    "setting", [{"gamma": 1.0}, {"trace_decay": 1.5}, {"ridge": -1.0}, {"num_folds": 1}, {"radius": 0.0}]
)
def test_config_refuses_bounds(setting: dict[str, float]):
    with pytest.raises(ConfigError, match=next(iter(setting))):
        NoiseAdvantageConfig(**setting)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_policy_from_preferences_alone_beats_the_logger_online():
    world = SessionWorld(2400, 0)
    log = record_log(world, 240).log
    averages = user_averages(log)
    level = session_levels(log, averages).mixture
    pairs = locate_pairs(scripted_preferences(log, level, teacher="mean", seed=0), log)
    policies = {
        "session": fit_noise_advantage(log, fit_session_reward(log, pairs).of_requests(log), CONFIG),
        "request": fit_noise_advantage(log, fit_linear_reward(log, pairs), CONFIG),
    }
    served = {"logging": logging_policy} | {name: on_states(policy) for name, policy in policies.items()}
    earned = {
        name: {task: np.nanmean(x) for task, x in online_levels(world, p, averages, 240, seed=1000).items()}
        for name, p in served.items()
    }
    assert earned["session"]["mixture"] > 0.93  # 576,000 transitions give about .98; the logger has .63
    assert earned["session"]["mixture"] > earned["request"]["mixture"] + 0.03
    for task in ("depth", "frequency"):
        assert earned["session"][task] > earned["logging"][task] + 0.15
