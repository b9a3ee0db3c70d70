import pickle
import warnings
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode

from envs.virtual_taobao import LAST_CLICKS, LAST_NEXT_PAGE, PAGE, VirtualTaobaoEnv, VirtualTaobaoVectorEnv
from rec_rl.errors import CheckpointError, ConfigError, DatasetError

PUBLISHED = Path(__file__).parents[2] / ".." / "shared" / "data" / "virtual_taobao"


@pytest.fixture(params=["synthetic", "published"])
def weights(request):
    if request.param == "synthetic":
        return "synthetic"
    if not PUBLISHED.is_dir():
        pytest.skip("the published networks are not at ../shared/data/virtual_taobao")
    return str(PUBLISHED)


def actions_of(seed, num_envs):
    return np.random.default_rng(seed).uniform(-1.2, 1.2, (num_envs, 27)).astype(np.float32)


def ectr_of_episodes(env, policy, num_episodes, seed):
    """Mean over complete episodes of clicks / (10 * steps), the first of each environment first."""
    env.reset(seed=seed)
    rng = np.random.default_rng(seed)
    clicks, steps, ratios, counts = np.zeros(env.num_envs), np.zeros(env.num_envs), [], []
    while len(ratios) < num_episodes:
        _, rewards, terminated, _, infos = env.step(policy(rng, env.num_envs))
        clicks += rewards
        steps += infos["_clicks"]
        ratios += (clicks[terminated] / (10 * steps[terminated])).tolist()
        counts += steps[terminated].tolist()
        clicks[terminated] = steps[terminated] = 0
    return np.mean(ratios), np.mean(counts)


def test_scalar_env_passes_gymnasiums_check(weights):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*alternative render modes")
        check_env(VirtualTaobaoEnv(weights))


def test_scalar_and_vector_env_follow_the_same_stream(weights):
    scalar, vector = VirtualTaobaoEnv(weights), VirtualTaobaoVectorEnv(1, weights)
    obs, _ = scalar.reset(seed=11)
    vector_obs, _ = vector.reset(seed=11)
    np.testing.assert_array_equal(obs, vector_obs[0])
    for episode in range(5):
        terminated, steps = False, 0
        while not terminated:
            action = actions_of(1000 * episode + steps, 1)
            obs, reward, terminated, truncated, info = scalar.step(action[0])
            vector_obs, rewards, vector_terminated, _, infos = vector.step(action)
            np.testing.assert_array_equal(obs, vector_obs[0])
            assert (reward, terminated) == (rewards[0], vector_terminated[0])
            assert info == {key: values[0] for key, values in infos.items() if key[0] != "_"}
            assert not truncated
            steps += 1
        obs, _ = scalar.reset()
        vector_obs, rewards, vector_terminated, *_ = vector.step(action)  # the autoreset
        np.testing.assert_array_equal(obs, vector_obs[0])
        assert (rewards[0], vector_terminated[0]) == (0, False)


def test_vector_env_sessions(weights):
    env = VirtualTaobaoVectorEnv(64, weights)
    before, infos = env.reset(seed=0)
    assert infos == {}
    ended = np.zeros(64, dtype=bool)
    num_ended = 0
    for step in range(120):
        obs, rewards, terminated, truncated, infos = env.step(actions_of(step, 64))
        assert env.observation_space.contains(obs)
        acted = ~ended
        np.testing.assert_array_equal(infos["_clicks"], acted)
        np.testing.assert_array_equal(rewards, infos["clicks"])
        # a step goes one page further with the same user, to the session's last observation included
        np.testing.assert_array_equal(obs[acted, :LAST_CLICKS], before[acted, :LAST_CLICKS])
        np.testing.assert_array_equal(obs[acted, PAGE], before[acted, PAGE] + 1)
        np.testing.assert_array_equal(obs[acted, LAST_CLICKS], rewards[acted])
        # an autoreset lets another user in, and nobody clicks
        np.testing.assert_array_equal(obs[ended, LAST_CLICKS:], 0)
        np.testing.assert_array_equal(rewards[ended], 0)
        if ended.any():
            assert (obs[ended, :LAST_CLICKS] != before[ended, :LAST_CLICKS]).any(axis=1).all()
        assert not truncated.any()
        assert not terminated[ended].any()
        num_ended += terminated.sum()
        before, ended = obs, terminated
    assert num_ended > 500


def test_next_page_values_are_drawn_from_0_to_9():
    env = VirtualTaobaoVectorEnv(256)
    env.reset(seed=0)
    obs, *_ = env.step(actions_of(0, 256))
    np.testing.assert_array_equal(np.unique(obs[:, LAST_NEXT_PAGE]), np.arange(10))


def test_actions_are_clipped():
    inside, outside = VirtualTaobaoVectorEnv(32), VirtualTaobaoVectorEnv(32)
    inside.reset(seed=0)
    outside.reset(seed=0)
    actions = 3 * actions_of(0, 32)
    np.testing.assert_array_equal(inside.step(actions.clip(-1, 1))[0], outside.step(actions)[0])


def test_the_same_seed_gives_the_same_sessions():
    runs = []
    for seed in (3, 3, 4):
        env = VirtualTaobaoVectorEnv(16)
        env.reset(seed=seed)
        runs.append(np.stack([env.step(actions_of(step, 16))[0] for step in range(20)]))
    np.testing.assert_array_equal(runs[0], runs[1])
    assert (runs[0] != runs[2]).any()


def test_returned_arrays_are_the_callers():
    env = VirtualTaobaoVectorEnv(4)
    obs, _ = env.reset(seed=0)
    kept = obs.copy()
    obs[:] = -1
    np.testing.assert_array_equal(env.step(np.zeros((4, 27)))[0][:, :LAST_CLICKS], kept[:, :LAST_CLICKS])


def test_spaces_have_the_true_bounds():
    env = VirtualTaobaoVectorEnv(3)
    assert env.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
    space = env.single_observation_space
    assert (space.low == 0).all()
    np.testing.assert_array_equal(space.high, [1] * 88 + [10, 9, 100])
    assert env.single_action_space == gym.spaces.Box(-1.0, 1.0, (27,), dtype=np.float32)
    assert env.observation_space.shape == (3, 91)
    assert env.action_space.shape == (3, 27)


def test_state_resumes_bit_for_bit(weights):
    env = VirtualTaobaoVectorEnv(32, weights)
    env.reset(seed=0)
    for step in range(15):
        env.step(actions_of(step, 32))
    state = pickle.loads(pickle.dumps(env.get_state()))
    expected = [env.step(actions_of(50 + step, 32)) for step in range(25)]
    resumed = VirtualTaobaoVectorEnv(32, weights)
    resumed.set_state(state)
    for step, (*arrays, infos) in enumerate(expected):
        *received, received_infos = resumed.step(actions_of(50 + step, 32))
        for one, other in zip(arrays, received, strict=True):
            assert one.tobytes() == other.tobytes()
        assert {key: values.tobytes() for key, values in infos.items()} == {
            key: values.tobytes() for key, values in received_infos.items()
        }


def test_set_state_refuses_another_world():
    state = VirtualTaobaoVectorEnv(4).get_state()
    with pytest.raises(CheckpointError, match="the state is of 4 sessions, expected 5"):
        VirtualTaobaoVectorEnv(5).set_state(state)
    with pytest.raises(CheckpointError, match="the state is of networks other than 'synthetic'"):
        VirtualTaobaoVectorEnv(4).set_state(state | {"weights": "another hash"})


def test_env_refuses_bad_actions():
    env = VirtualTaobaoVectorEnv(4)
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"actions must have shape \(4, 27\), got \(4, 26\)"):
        env.step(np.zeros((4, 26)))
    actions = np.zeros((4, 27))
    actions[2, 5] = np.nan
    with pytest.raises(ValueError, match="actions must be numbers, got NaN for environment 2"):
        env.step(actions)


def test_env_refuses_to_step_without_a_session():
    with pytest.raises(ResetNeeded):
        VirtualTaobaoVectorEnv(2).step(np.zeros((2, 27)))
    env = VirtualTaobaoEnv()
    with pytest.raises(ResetNeeded):
        env.step(np.zeros(27))
    env.reset(seed=0)
    while not env.step(np.zeros(27))[2]:
        pass
    with pytest.raises(ResetNeeded):
        env.step(np.zeros(27))


def test_env_refuses_bad_settings(tmp_path):
    with pytest.raises(ConfigError, match="num_envs must be >= 1, got 0"):
        VirtualTaobaoVectorEnv(0)
    with pytest.raises(DatasetError, match=r"generator_model.pt: cannot be read"):
        VirtualTaobaoEnv(tmp_path)


@pytest.mark.parametrize(
    ("name", "policy", "expected", "tolerance"),
    [
        ("random", lambda rng, n: rng.uniform(-1, 1, (n, 27)), 0.0198, 0.0015),
        ("zero", lambda rng, n: np.zeros((n, 27)), 0.0878, 0.0035),
    ],
)
def test_published_ectr_of_fixed_policies(name, policy, expected, tolerance):
    if not PUBLISHED.is_dir():
        pytest.skip("the published networks are not at ../shared/data/virtual_taobao")
    env = VirtualTaobaoVectorEnv(512, PUBLISHED)
    ectr, length = ectr_of_episodes(env, policy, 20000, seed=0)
    assert ectr == pytest.approx(expected, abs=tolerance)
    assert length == pytest.approx(7.78, abs=0.35)
