from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from envs.session_rollouts import record_log
from envs.session_world import SessionWorld
from rec_rl import checkpoint
from rec_rl.data.levels import session_levels
from rec_rl.data.preferences import LocatedPairs, Teacher, locate_pairs, scripted_preferences
from rec_rl.data.sessions import SessionLog
from rec_rl.errors import CheckpointError, ConfigError
from rec_rl.rewards.bradley_terry import BradleyTerryConfig, BradleyTerryReward, fit_bradley_terry
from rec_rl.rewards.linear_reward import fit_linear_reward, logistic_newton
from rec_rl.rewards.preference_check import (
    check_preference_reward,
    correlation_of,
    return_gaps,
    share_right,
    user_moments,
)

CONFIG = BradleyTerryConfig(hidden_sizes=(16,), batch_size=50, epochs=2, learning_rate=3e-3)


def labelled(log: SessionLog, teacher: Teacher, num_pairs: int, seed: int) -> LocatedPairs:
    level = session_levels(log).mixture
    return locate_pairs(
        scripted_preferences(log, level, teacher=teacher, num_pairs=num_pairs, seed=seed), log
    )


@pytest.fixture(scope="module")
def split_log() -> tuple[SessionLog, SessionLog]:
    return record_log(SessionWorld(300, 0), 240).log.split(1 / 3, seed=0)


def test_logistic_newton_by_hand():
    features = np.array([[1.0], [1.0], [1.0], [-1.0]])
    label = np.array([1, 1, 1, 1], np.float32)
    weights = logistic_newton(features, label, ridge=0.1)
    # three wins and a loss at odds of 3 : 1, pulled to 0 by the ridge
    gradient = (3 * (1 / (1 + np.exp(-weights)) - 1) - (1 / (1 + np.exp(weights)) - 1)) / 4 + 0.1 * weights
    assert gradient[0] == pytest.approx(0, abs=1e-8)
    assert logistic_newton(features, label, ridge=1e-9)[0] == pytest.approx(np.log(3), rel=1e-3)
    with pytest.raises(ValueError, match="ridge must be > 0"):
        logistic_newton(features, label, ridge=0)


def test_swapping_pairs_and_labels_changes_no_reward(split_log: tuple[SessionLog, SessionLog]):
    log = split_log[1]
    pairs = labelled(log, "mean", 200, 0)
    swapped = LocatedPairs(
        first_rows=pairs.first_rows[:, ::-1],
        lengths=pairs.lengths[:, ::-1],
        label=1 - pairs.label,
        num_missing=0,
    )
    a, b = fit_linear_reward(log, pairs), fit_linear_reward(log, swapped)
    np.testing.assert_allclose(a.state_weights, b.state_weights, atol=1e-6)


def test_linear_reward_recovers_the_direction_of_a_linear_teacher():
    log = record_log(SessionWorld(100, 0), 240).log
    rng = np.random.default_rng(0)
    starts = rng.integers(0, 200, (4000, 2))
    users = rng.integers(0, 100, (4000, 2))
    first = log.user_starts[users] + starts
    truth = np.array([1, -1, 0, 0, 0, 0, 0, 2.0], np.float32)
    running = np.append(0, (log.actions @ truth).cumsum(dtype=np.float64))
    gap = running[first + 20] - running[first]
    chance = 1 / (1 + np.exp(-(gap[:, 0] - gap[:, 1])))
    pairs = LocatedPairs(
        first_rows=first,
        lengths=np.full((4000, 2), 20),
        label=(rng.random(4000) < chance).astype(np.float32),
        num_missing=0,
    )
    found = fit_linear_reward(log, pairs, ridge=1e-3).action_weights
    assert found @ truth / np.linalg.norm(found) / np.linalg.norm(truth) > 0.95


def test_reward_model_is_a_function_of_its_seed_and_leaves_torchs_generator(
    split_log: tuple[SessionLog, SessionLog], tmp_path: Path
):
    log = split_log[1]
    pairs = labelled(log, "request", 100, 0)
    before = torch.random.get_rng_state()
    steps = []
    reward = fit_bradley_terry(log, pairs, CONFIG, seed=3, on_step=lambda *args: steps.append(args))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert [step[:2] for step in steps] == [(i, 4) for i in (1, 2, 3, 4)]
    again = fit_bradley_terry(log, pairs, CONFIG, seed=3)
    rewards = reward(log.states[:50], log.actions[:50])
    np.testing.assert_array_equal(again(log.states[:50], log.actions[:50]), rewards)
    assert reward.record.num_pairs == 100

    reward.save(tmp_path / "reward")
    loaded = BradleyTerryReward.load(tmp_path / "reward")
    np.testing.assert_array_equal(loaded(log.states[:50], log.actions[:50]), rewards)
    assert loaded.record == reward.record
    (tmp_path / "reward" / "state.json").write_text("{}")
    with pytest.raises(CheckpointError):
        BradleyTerryReward.load(tmp_path / "reward")


@pytest.mark.parametrize("ended_at", [1, 2, 4])
def test_a_fit_that_was_ended_goes_on_to_the_same_reward(
    split_log: tuple[SessionLog, SessionLog],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    ended_at: int,
    ending_at: Any,
):
    monkeypatch.setattr(checkpoint, "SECONDS", 0.0)
    log = split_log[1]
    pairs = labelled(log, "request", 100, 0)
    whole = fit_bradley_terry(log, pairs, CONFIG, seed=3)
    steps: list[int] = []
    end = ending_at(ended_at, steps)

    with pytest.raises(KeyboardInterrupt):
        fit_bradley_terry(log, pairs, CONFIG, seed=3, on_step=end, checkpoints=tmp_path)
    resumed = fit_bradley_terry(
        log, pairs, CONFIG, seed=3, on_step=lambda step, *_: steps.append(step), checkpoints=tmp_path
    )
    assert steps == [1, 2, 3, 4]  # none is taken again
    assert resumed.record == whole.record
    for name, tensor in whole.network.state_dict().items():
        assert torch.equal(resumed.network.state_dict()[name], tensor), name
    others = labelled(log, "request", 100, 1)
    for fit in (
        lambda: fit_bradley_terry(log, pairs, CONFIG, seed=4, checkpoints=tmp_path),
        lambda: fit_bradley_terry(log, others, CONFIG, seed=3, checkpoints=tmp_path),
    ):
        with pytest.raises(CheckpointError, match=r"(seed|pairs hash) must be"):
            fit()


def test_rewards_are_standardised_once_and_stay_so(split_log: tuple[SessionLog, SessionLog]):
    log = split_log[1]
    reward = fit_bradley_terry(log, labelled(log, "request", 100, 0), CONFIG)
    rewards = reward(log.states, log.actions)
    assert rewards.mean() == pytest.approx(0, abs=1e-3)
    assert rewards.std() == pytest.approx(1, abs=1e-3)
    constants = [reward.network.reward_mean.clone(), reward.network.reward_sd.clone()]
    with torch.no_grad():
        for parameter in reward.network.body.parameters():
            parameter.mul_(2)
    assert reward(log.states, log.actions).std() > 1.5
    assert [reward.network.reward_mean, reward.network.reward_sd] == constants


def test_padded_requests_bring_no_reward(split_log: tuple[SessionLog, SessionLog]):
    from rec_rl.data.preference_batches import gather_pairs

    log = split_log[1]
    pairs = LocatedPairs(
        first_rows=np.array([[0, 10]]),
        lengths=np.array([[3, 7]]),
        label=np.ones(1, np.float32),
        num_missing=0,
    )
    network = fit_bradley_terry(log, labelled(log, "request", 50, 0), CONFIG).network
    rewards_a, rewards_b = network.segment_rewards(gather_pairs(log, pairs, np.array([0])))
    raw = network(torch.from_numpy(log.states[:17]).float(), torch.from_numpy(log.actions[:17]))
    torch.testing.assert_close(rewards_a[0], torch.cat([raw[:3], torch.zeros(4)]))
    torch.testing.assert_close(rewards_b[0], raw[10:17])


def test_config_refuses_bounds():
    with pytest.raises(ConfigError, match="epochs must be >= 1, got 0"):
        BradleyTerryConfig(epochs=0)
    with pytest.raises(ConfigError, match="learning_rate must be > 0"):
        BradleyTerryConfig(learning_rate=0)
    with pytest.raises(ConfigError, match="hidden_sizes"):
        BradleyTerryConfig(hidden_sizes=())


def test_accuracy_counts_pairs_without_a_tie():
    assert share_right([1.0, -1.0, 5.0, 2.0], [1, 0, 0.5, 0]) == pytest.approx(2 / 3)
    assert np.isnan(share_right([1.0], [0.5]))
    pairs = LocatedPairs(
        first_rows=np.array([[0, 2], [1, 3]]),
        lengths=np.array([[2, 1], [1, 1]]),
        label=np.array([1, 1], np.float32),
        num_missing=0,
    )
    # 1 + 2 against 2.5; 2 against 4
    gaps = return_gaps(np.array([1, 2, 2.5, 4], np.float32), pairs)
    np.testing.assert_allclose(gaps, [0.5, -2])
    assert share_right(gaps, pairs.label) == 0.5


def test_within_user_correlation_ignores_differences_between_users():
    log = record_log(SessionWorld(40, 0), 60).log
    level = session_levels(log).mixture
    own = np.repeat(np.nan_to_num(level), log.depths).astype(np.float32)
    between = (10 * log.user_index).astype(np.float32)
    for rewards, expected in ((own - between, 1), (between - own, -1)):
        moments = user_moments(rewards, log, level)
        assert moments.shape == (40, 3)
        assert correlation_of(moments) == pytest.approx(expected, abs=1e-4)
        assert correlation_of(moments[:5]) == pytest.approx(expected, abs=1e-4)
    assert np.isnan(correlation_of(user_moments(between, log, level)))


def test_check_passes_honest_labels_and_catches_session_labels(split_log: tuple[SessionLog, SessionLog]):
    train, test = split_log
    level = session_levels(test).mixture
    found = {
        teacher: check_preference_reward(
            fit_linear_reward(train, labelled(train, teacher, 2000, 0)),
            test,
            labelled(test, teacher, 1000, 1),
            level,
        )
        for teacher in ("request", "session", "mean")
    }
    assert found["session"].accuracy > found["request"].accuracy  # which is why accuracy is no evidence
    assert found["session"].harmful
    assert found["session"].verdict.startswith("FAIL")
    for teacher in ("request", "mean"):
        assert not found[teacher].harmful
        assert found[teacher].within_user_correlation > 0.3


def test_check_calls_a_constant_and_a_flipped_reward_harmful(split_log: tuple[SessionLog, SessionLog]):
    train, test = split_log
    level, pairs = session_levels(test).mixture, labelled(test, "mean", 500, 1)
    honest = fit_linear_reward(train, labelled(train, "mean", 2000, 0))
    assert check_preference_reward(lambda s, a: -honest(s, a), test, pairs, level).harmful
    assert check_preference_reward(lambda s, a: np.ones(len(s), np.float32), test, pairs, level).harmful


@pytest.mark.slow
def test_request_labels_reach_the_published_figures_on_unseen_users():
    train, test = record_log(SessionWorld(1500, 0), 240).log.split(1 / 3, seed=0)
    config = BradleyTerryConfig(hidden_sizes=(128, 128, 128), batch_size=64)
    reward = fit_bradley_terry(train, labelled(train, "request", 4000, 1), config)
    check = check_preference_reward(
        reward, test, labelled(test, "request", 2000, 2), session_levels(test).mixture
    )
    assert 0.69 < check.accuracy < 0.76
    assert check.within_user_correlation >= 0.4
    assert np.mean(reward.record.loss[-20:]) < np.mean(reward.record.loss[:20]) - 0.1
