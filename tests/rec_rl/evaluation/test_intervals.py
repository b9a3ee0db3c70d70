import numpy as np
import pytest
from scipy import stats

from rec_rl.evaluation.intervals import (
    bootstrap_interval,
    interquartile_mean,
    mean_interval,
    paired_difference,
)


def test_mean_interval_is_students():
    estimate = mean_interval([1.0, 2.0, 4.0], seeds=True)
    low, high = stats.t.interval(0.95, 2, loc=7 / 3, scale=stats.sem([1.0, 2.0, 4.0]))
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx((7 / 3, low, high))
    assert estimate.per_seed == (1.0, 2.0, 4.0)


def test_one_value_has_no_interval():
    estimate = mean_interval([3.0])
    assert estimate.value == 3
    assert np.isnan([estimate.low, estimate.high]).all()


def test_paired_difference_uses_the_pairs():
    shared = np.array([0.0, 10.0, 20.0])
    estimate = paired_difference(shared + np.array([1, 2, 3]), shared)
    assert estimate.value == 2
    assert estimate.high - estimate.low < 6  # unpaired it would span tens


def test_interquartile_mean_leaves_out_a_quarter_at_each_end():
    assert interquartile_mean([0, 1, 2, 100]) == 1.5


def test_bootstrap_interval_covers_a_mean_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(200):
        x = rng.standard_normal(60)
        estimate = bootstrap_interval(lambda i, x=x: x[i].mean(), 60, rng, draws=200)
        covered += estimate.low <= 0 <= estimate.high
    assert 0.88 <= covered / 200 <= 0.99


@pytest.mark.parametrize("values", [[], [[1.0]], [np.nan, 1.0]])
def test_values_that_are_no_numbers_are_refused(values: list[float]):
    with pytest.raises(ValueError, match="values must"):
        mean_interval(values)
