import numpy as np
import pytest

from rec_rl.data.behaviour import (
    GaussianBehaviour,
    column_moments,
    effective_sample_size,
    fit_behaviour,
    gaussian_log_density,
    log_session_weights,
)
from rec_rl.data.half import is_finite, to_half, to_single
from rec_rl.errors import DatasetError

RNG = np.random.default_rng(0)
MEAN = RNG.standard_normal((50, 3)).astype(np.float32)
SCALE = np.array([0.5, 1, 2], np.float32)
ACTIONS = (MEAN + SCALE * RNG.standard_normal((50, 3))).astype(np.float32)
BEHAVIOUR = GaussianBehaviour(mean=MEAN, scale=SCALE)


def test_log_density_is_the_normals():
    density = gaussian_log_density(np.array([[1, 2]], np.float32), np.zeros((1, 2), np.float32), SCALE[:2])
    # log N(1; 0, .5) = -2 - log .5 - .919; log N(2; 0, 1) = -2 - .919
    assert density[0] == pytest.approx(-2 + np.log(2) - 2 - 2 * 0.9189385, abs=1e-5)


def test_log_ratio_is_the_difference_of_densities():
    target = MEAN + np.float32(0.3)
    expected = gaussian_log_density(ACTIONS, target, SCALE) - BEHAVIOUR.log_density(ACTIONS)
    np.testing.assert_allclose(BEHAVIOUR.log_ratio(ACTIONS, target), expected, atol=1e-4)
    np.testing.assert_array_equal(BEHAVIOUR.log_ratio(ACTIONS, MEAN), 0)
    with pytest.raises(ValueError, match=r"\(50, 3\), got \(49, 3\)"):
        BEHAVIOUR.log_ratio(ACTIONS, target[1:])


def test_log_ratio_has_no_unit():
    target, unit = MEAN + np.float32(0.3), np.array([1e-3, 10, 1e4], np.float32)
    scaled = GaussianBehaviour(mean=MEAN * unit, scale=SCALE * unit)
    np.testing.assert_allclose(
        scaled.log_ratio(ACTIONS * unit, target * unit), BEHAVIOUR.log_ratio(ACTIONS, target), atol=2e-5
    )


def test_fitted_behaviour_recovers_a_linear_logger():
    states = RNG.standard_normal((20_000, 5)) * [1, 2, 3, 1, 1] + [0, 5, 0, 0, 0]
    states[:, 4] = 7  # a constant column
    weights = RNG.standard_normal((5, 2))
    mean = states @ weights
    actions = (mean + RNG.standard_normal(mean.shape) * [0.3, 0.6]).astype(np.float32)
    fitted = fit_behaviour(states.astype(np.float16), actions)
    np.testing.assert_allclose(fitted.scale, [0.3, 0.6], rtol=0.03)
    assert np.abs(fitted.mean(states.astype(np.float16)) - mean).mean() < 0.03
    assert fitted.on(states.astype(np.float16)).estimated


def test_fit_refuses_actions_that_do_not_vary():
    states = RNG.standard_normal((200, 3)).astype(np.float16)
    constant = np.ones((200, 2), np.float32)
    constant[:, 0] = RNG.standard_normal(200)
    with pytest.raises(DatasetError, match="dimension 1"):
        fit_behaviour(states, constant)
    with pytest.raises(DatasetError, match="dimension 0"):
        fit_behaviour(states, np.zeros((200, 2), np.float32))


def test_session_weights_by_hand():
    log_ratio = np.log([2, 4, 20, 1])
    weights = np.exp(log_session_weights(log_ratio, np.array([0, 0, 2, 2]), 3, cap=10))
    np.testing.assert_allclose(weights, [3, 0, 5.5])  # (2 + 4) / 2, nothing, (10 + 1) / 2
    far = log_session_weights(np.array([-2000.0, -2001.0]), np.array([0, 0]), 1, cap=10)
    assert far[0] == pytest.approx(-2000 + np.log((1 + np.exp(-1)) / 2))  # exp(-2000) would be 0


def test_effective_sample_size_by_hand():
    assert effective_sample_size(np.zeros(7)) == pytest.approx(7)
    assert effective_sample_size(np.log([3, 1])) == pytest.approx(1.6)  # 16 / 10
    assert effective_sample_size(np.array([-900.0, -950.0])) == pytest.approx(1)


def test_half_precision_round_trip_and_limits():
    values = RNG.standard_normal((4, 3)).astype(np.float32)
    np.testing.assert_array_equal(to_half(values), values.astype(np.float16))
    np.testing.assert_array_equal(to_single(to_half(values)), values.astype(np.float16).astype(np.float32))
    np.testing.assert_array_equal(
        is_finite(np.array([65504, np.inf, -np.inf, np.nan], np.float16)), [1, 0, 0, 0]
    )


def test_column_moments_keep_a_constant_columns_unit():
    states = np.array([[1, 5], [3, 5]], np.float16)
    center, spread = column_moments(states)
    np.testing.assert_allclose(center, [2, 5])
    np.testing.assert_allclose(spread, [1, 1])
