import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, VectorEnv

from envs.reward_shaping import MentalRewardShaping, MentalRewardVectorShaping, MentalShaping
from envs.virtual_taobao import VirtualTaobaoEnv, VirtualTaobaoVectorEnv, user_state
from rec_rl.errors import ConfigError

# Rewards [skip, click] of three states, asymmetric on purpose.
TABLE = np.array([[0.1, 0.5], [-0.3, 0.2], [0.4, -1.0]], dtype=np.float32)
CLICKED = np.array([True, False, True])


def linear_model(states):
    """A reward that reads every part of the state."""
    weights = np.linspace(-1, 1, states.shape[1], dtype=np.float32)
    return np.stack([states @ weights, 1 + states @ weights[::-1]], axis=1)


def uncallable_model(states):
    raise AssertionError("kappa 0 must not call the model")


def shaping(**settings):
    return MentalShaping(**({"model": linear_model, "state_of": user_state} | settings))


def of_table(**settings):
    return MentalShaping(model=lambda states: TABLE, state_of=lambda obs, actions: obs, **settings)


def actions_of(seed, *shape):
    return np.random.default_rng(seed).uniform(-1.3, 1.3, (*shape, 27)).astype(np.float32)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"mode": "raw"}, [0.5, -0.3, -1.0]),
        ({"mode": "unit", "unit_scale": 2.0}, [0.25, -0.15, -0.5]),
        ({"mode": "difference"}, [0.4, 0.5, -1.4]),  # whatever the user did
    ],
)
def test_mental_reward_by_mode(settings, expected):
    mental = of_table(**settings).mental_reward(np.zeros((3, 2)), np.zeros((3, 1)), CLICKED)
    np.testing.assert_allclose(mental, expected, rtol=1e-6)
    assert mental.dtype == np.float32


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kappa": -1.0}, "kappa must be >= 0, got -1.0"),
        ({"kappa": float("nan")}, "kappa must be >= 0, got nan"),
        ({"mode": "diference"}, "unknown shaping mode 'diference'; did you mean 'difference'?"),
        ({"mode": "unit"}, "unit_scale belongs to mode 'unit', got None for 'unit'"),
        ({"mode": "raw", "unit_scale": 2.0}, "unit_scale belongs to mode 'unit', got 2.0 for 'raw'"),
        ({"mode": "unit", "unit_scale": 0.0}, "unit_scale must be > 0, got 0.0"),
    ],
)
def test_mental_shaping_refuses(settings, message):
    with pytest.raises(ConfigError) as caught:
        shaping(**settings)
    assert str(caught.value) == message


def test_mental_reward_refuses_what_is_not_a_finite_pair_per_state():
    bad = TABLE.copy()
    bad[1, 0] = np.nan
    arguments = np.zeros((3, 2)), np.zeros((3, 1)), CLICKED
    with pytest.raises(ValueError, match=r"must be finite, got \[nan, 0.2\d*\] in row 1"):
        MentalShaping(model=lambda states: bad, state_of=lambda obs, actions: obs).mental_reward(*arguments)
    with pytest.raises(ValueError, match=r"must have shape \(3, 2\), got \(3,\)"):
        MentalShaping(model=lambda s: TABLE[:, 0], state_of=lambda obs, actions: obs).mental_reward(
            *arguments
        )


def test_user_state_is_the_user_the_page_and_the_clipped_action():
    obs = np.arange(91, dtype=np.float32)[None]
    action = np.linspace(-2, 2, 27, dtype=np.float32)[None]
    state = user_state(obs, action)
    np.testing.assert_array_equal(state[0, :89], [*range(88), 90])
    np.testing.assert_array_equal(state[0, 89:], action[0].clip(-1, 1))


def test_kappa_zero_is_the_plain_environment_bit_for_bit():
    plain = VirtualTaobaoVectorEnv(6)
    shaped = MentalRewardVectorShaping(VirtualTaobaoVectorEnv(6), shaping(model=uncallable_model, kappa=0.0))
    np.testing.assert_array_equal(plain.reset(seed=4)[0], shaped.reset(seed=4)[0])
    for step in range(30):
        *expected, _ = plain.step(actions_of(step, 6))
        *received, infos = shaped.step(actions_of(step, 6))
        for one, other in zip(expected, received, strict=True):
            assert one.tobytes() == other.tobytes()
        np.testing.assert_array_equal(infos["reward_env"], expected[1])


@pytest.mark.parametrize("mode", ["raw", "difference"])
def test_vector_shaping_scores_the_state_in_which_the_user_acted(mode):
    env = MentalRewardVectorShaping(VirtualTaobaoVectorEnv(8), shaping(kappa=0.5, mode=mode))
    before, _ = env.reset(seed=1)
    ended = np.zeros(8, dtype=bool)
    seen_autoreset = False
    for step in range(40):
        actions = actions_of(step, 8)
        after, rewards, terminated, _, infos = env.step(actions)
        skip, click = linear_model(user_state(before, actions)).T
        acted = np.where(infos["clicks"] > 0, click, skip) if mode == "raw" else click - skip
        np.testing.assert_allclose(infos["reward_mental"], np.where(ended, 0.0, acted), rtol=1e-5, atol=1e-5)
        np.testing.assert_array_equal(infos["reward_env"], infos["clicks"])
        np.testing.assert_allclose(rewards, infos["reward_env"] + 0.5 * infos["reward_mental"], rtol=1e-6)
        seen_autoreset |= bool(ended.any())
        assert (rewards[ended] == 0).all()
        before, ended = after, terminated
    assert seen_autoreset


def test_scalar_shaping_agrees_with_the_vector_shaping():
    scalar = MentalRewardShaping(VirtualTaobaoEnv(), shaping(kappa=0.5))
    vector = MentalRewardVectorShaping(VirtualTaobaoVectorEnv(1), shaping(kappa=0.5))
    scalar.reset(seed=2)
    vector.reset(seed=2)
    terminated, steps = False, 0
    while not terminated:
        action = actions_of(steps, 1)
        _, reward, terminated, _, info = scalar.step(action[0])
        _, rewards, _, _, infos = vector.step(action)
        assert reward == pytest.approx(rewards[0], rel=1e-6)
        assert info["reward_mental"] == pytest.approx(infos["reward_mental"][0])
        assert info["reward_env"] == infos["reward_env"][0]
        steps += 1


def test_scalar_shaping_at_kappa_zero_does_not_call_the_model():
    env = MentalRewardShaping(VirtualTaobaoEnv(), shaping(model=uncallable_model, kappa=0.0))
    env.reset(seed=2)
    _, reward, *_, info = env.step(np.zeros(27, np.float32))
    assert reward == info["reward_env"] == info["clicks"]


def test_vector_shaping_resumes_bit_for_bit():
    env = MentalRewardVectorShaping(VirtualTaobaoVectorEnv(5), shaping())
    env.reset(seed=0)
    for step in range(9):
        env.step(actions_of(step, 5))
    state = env.get_state()
    expected = [env.step(actions_of(100 + step, 5))[1] for step in range(20)]
    resumed = MentalRewardVectorShaping(VirtualTaobaoVectorEnv(5), shaping())
    resumed.set_state(state)
    received = [resumed.step(actions_of(100 + step, 5))[1] for step in range(20)]
    np.testing.assert_array_equal(received, expected)


def test_vector_shaping_refuses_another_autoreset_mode():
    class SameStep(VectorEnv):
        metadata = {"autoreset_mode": AutoresetMode.SAME_STEP}  # noqa: RUF012
        num_envs = 1

    with pytest.raises(ValueError, match=r"autoreset_mode must be AutoresetMode.NEXT_STEP"):
        MentalRewardVectorShaping(SameStep(), shaping())


def test_scalar_shaping_is_a_gymnasium_wrapper():
    env = MentalRewardShaping(VirtualTaobaoEnv(), shaping())
    assert isinstance(env.unwrapped, VirtualTaobaoEnv)
    assert env.action_space == gym.spaces.Box(-1.0, 1.0, (27,), dtype=np.float32)
