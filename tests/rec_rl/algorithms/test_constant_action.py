import numpy as np
import pytest

from rec_rl.algorithms.constant_action import cross_entropy_search


def test_cross_entropy_search_finds_the_maximum_of_a_parabola():
    peak = np.array([0.5, -0.8, 0.0, 0.9], dtype=np.float32)
    found = cross_entropy_search(
        lambda candidates: -np.square(candidates - peak).sum(axis=1),
        4,
        np.random.default_rng(0),
        iterations=40,
    )
    np.testing.assert_allclose(found, peak, atol=0.03)


def test_cross_entropy_search_stays_in_the_box_and_calls_once_a_round():
    calls = []

    def score(candidates):
        calls.append(candidates.shape)
        assert np.abs(candidates).max() <= 1
        return candidates.sum(axis=1)  # the maximum is the corner

    found = cross_entropy_search(
        score, 3, np.random.default_rng(0), iterations=30, population=20, num_elites=5, initial_sd=1.0
    )
    np.testing.assert_allclose(found, 1.0, atol=0.05)
    assert calls == [(20, 3)] * 30


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"iterations": 0}, "iterations must be >= 1, got 0"),
        ({"iterations": 1, "num_elites": 51}, r"num_elites must be in 1..population \(50\), got 51"),
    ],
)
def test_cross_entropy_search_refuses_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        cross_entropy_search(lambda candidates: candidates[:, 0], 2, np.random.default_rng(0), **settings)


def test_cross_entropy_search_refuses_scores_that_are_not_numbers():
    with pytest.raises(ValueError, match="score must give 50 numbers"):
        cross_entropy_search(
            lambda candidates: candidates[:, 0] * np.nan, 2, np.random.default_rng(0), iterations=1
        )
