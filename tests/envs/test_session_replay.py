import warnings
from dataclasses import replace

import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env

from envs.session_replay import SessionReplayEnv, SessionReplayVectorEnv
from envs.session_rollouts import oracle, record_log
from envs.session_world import SessionWorld
from rec_rl.data.levels import session_levels
from rec_rl.data.sessions import SessionLog
from rec_rl.errors import CheckpointError, ConfigError, DatasetError
from rec_rl.evaluation.off_policy import ncis

RECORD = record_log(SessionWorld(12, 0), 30, shadows={"taste": oracle("taste")})
LOG: SessionLog = RECORD.log
LEVEL = session_levels(LOG).mixture


def test_replay_env_passes_gymnasiums_check():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it recommends actions in [-1, 1]
        check_env(SessionReplayEnv(LOG, LEVEL), skip_render_check=True)


def test_replay_follows_one_users_log_whatever_is_served():
    env = SessionReplayEnv(LOG, LEVEL)
    obs, _ = env.reset(options={"user": 3})
    rows = np.arange(90, 120)
    rewards = []
    for row in rows[:-1]:
        np.testing.assert_array_equal(obs, LOG.states[row].astype(np.float32))
        obs, reward, terminated, truncated, info = env.step(np.full(8, 0.1))
        rewards.append(reward)
        assert not terminated
        assert (info["user"], info["request"]) == (3, row)
        np.testing.assert_array_equal(info["logged_action"], LOG.actions[row])
    assert truncated
    np.testing.assert_array_equal(obs, LOG.states[119].astype(np.float32))
    mine = LOG.session_users == 3
    assert sum(rewards) == pytest.approx(np.nansum(LEVEL[mine]))
    with pytest.raises(ResetNeeded):
        env.step(np.zeros(8))


def test_replay_reports_the_behaviours_density_and_the_ratio():
    env = SessionReplayEnv(LOG, LEVEL)
    env.reset(options={"user": 0})
    taken = LOG.behaviour_mean[0] + np.float32(0.2)
    *_, info = env.step(taken)
    z_b, z_pi = (LOG.actions[0] - LOG.behaviour_mean[0]) / 0.4, (LOG.actions[0] - taken) / 0.4
    norm = 8 * (np.log(0.4) + 0.5 * np.log(2 * np.pi))
    assert info["log_behaviour"] == pytest.approx(-0.5 * (z_b @ z_b) - norm, rel=1e-5)
    assert info["log_ratio"] == pytest.approx(0.5 * (z_b @ z_b - z_pi @ z_pi), rel=1e-4)


def test_replay_pays_the_mixture_by_default_and_trusts_recorded_propensities():
    recorded = replace(LOG, log_propensity=np.full(len(LOG), -2.0, np.float32))
    env, plain = SessionReplayEnv(recorded), SessionReplayEnv(LOG, LEVEL)
    for one in (env, plain):
        one.reset(options={"user": 2})
    for _ in range(29):
        action = LOG.actions[0]
        _, reward, _, _, info = env.step(action)
        _, expected, _, _, other = plain.step(action)
        assert reward == expected
        assert info["log_behaviour"] == -2
        log_policy = other["log_ratio"] + other["log_behaviour"]
        assert info["log_ratio"] == pytest.approx(log_policy + 2, abs=1e-4)


def test_replay_scores_the_action_taken_with_a_reward_model():
    env = SessionReplayEnv(LOG, lambda states, actions: states[:, 0].astype(np.float32) + actions.sum(axis=1))
    env.reset(options={"user": 1})
    _, reward, *_ = env.step(np.full(8, 0.5))
    assert reward == pytest.approx(float(LOG.states[30, 0]) + 4)


def test_vector_rollout_yields_the_logs_ncis():
    env = SessionReplayVectorEnv(LOG, 4, LEVEL)
    env.reset(seed=0)
    means = RECORD.policy_means["taste"]
    found: dict[str, list[np.ndarray]] = {"log_ratio": [], "session": [], "user": []}
    for _ in range(3 * 30):  # three users each, and an autoreset after each
        actions = means[env._rows]
        *_, infos = env.step(actions)
        for name, values in found.items():
            values.append(infos[name][infos[f"_{name}"]])
    log_ratio, session, user = (np.concatenate(values) for values in found.values())
    assert len(log_ratio) == 12 * 29
    rolled = ncis(log_ratio, session, user, LEVEL, draws=1)
    whole = ncis(
        LOG.behaviour.log_ratio(LOG.actions, means), LOG.session_index, LOG.user_index, LEVEL, draws=1
    )
    assert rolled.value == pytest.approx(whole.value, rel=1e-5)  # the request left out has no level


def test_vector_replay_resets_after_truncation_and_masks_that_step():
    env = SessionReplayVectorEnv(LOG, 2, LEVEL)
    env.reset(seed=1)
    for _ in range(29):
        *_, truncated, infos = env.step(np.zeros((2, 8)))
        assert infos["_log_ratio"].all()
    assert truncated.all()
    obs, rewards, _, truncated, infos = env.step(np.zeros((2, 8)))
    assert not truncated.any()
    assert not infos["_log_ratio"].any()
    assert not rewards.any()
    first = LOG.states[LOG.user_starts[:-1]].astype(np.float32)
    assert all((first == row).all(axis=1).any() for row in obs)


def test_vector_replay_goes_on_from_its_state():
    env = SessionReplayVectorEnv(LOG, 3, LEVEL)
    env.reset(seed=2)
    for _ in range(20):
        env.step(np.zeros((3, 8)))
    state = env.get_state()
    expected = [env.step(np.zeros((3, 8)))[0] for _ in range(40)]
    other = SessionReplayVectorEnv(LOG, 3, LEVEL)
    other.set_state(state)
    for obs in expected:
        np.testing.assert_array_equal(obs, other.step(np.zeros((3, 8)))[0])
    with pytest.raises(CheckpointError, match="3 environments, expected 2"):
        SessionReplayVectorEnv(LOG, 2, LEVEL).set_state(state)
    few = LOG.of_users(np.arange(12) < 5)
    with pytest.raises(CheckpointError, match="other than this one"):
        SessionReplayVectorEnv(few, 3, session_levels(few).mixture).set_state(state)


def test_replay_refuses_what_it_cannot_do():
    env = SessionReplayVectorEnv(LOG, 2, LEVEL)
    with pytest.raises(ResetNeeded):
        env.step(np.zeros((2, 8)))
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"\(2, 8\), got \(2, 7\)"):
        env.step(np.zeros((2, 7)))
    with pytest.raises(ValueError, match="environment 1 is not"):
        env.step(np.array([np.zeros(8), np.full(8, np.nan)]))
    with pytest.raises(ConfigError, match="99 is not"):
        env.reset(options={"users": [99, 0]})
    with pytest.raises(ValueError, match="levels must have shape"):
        SessionReplayVectorEnv(LOG, 2, LEVEL[:-1])
    single = record_log(SessionWorld(3, 0), 1).log
    with pytest.raises(DatasetError, match=">= 2 requests"):
        SessionReplayVectorEnv(single, 1, np.full(3, np.nan))
