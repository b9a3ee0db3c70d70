import numpy as np
import pytest
from scipy import stats

from rec_rl.evaluation.ab_test import Lift, average, cuped, relative_lift, users_needed


def test_relative_lift_by_hand():
    # Means 3 and 2; var(T) = 2 / 2 = 1, var(C) = .5 / 2 = .25
    # variance: 1 / 4 + 9 * .25 / 16 = .390625, its root .625
    lift = relative_lift([2.0, 4.0], [1.5, 2.5])
    assert lift.value == pytest.approx(0.5)
    assert lift.standard_error == pytest.approx(0.625)


def test_relative_lift_covers_the_truth_at_its_level():
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(400):
        lift = relative_lift(rng.exponential(1.1, 300), rng.exponential(1.0, 250))
        inside += abs(lift.value - 0.1) < 1.96 * lift.standard_error
    assert 0.92 < inside / 400 < 0.98


def test_relative_lift_refuses_what_has_no_ratio():
    with pytest.raises(ValueError, match="the control's mean must be > 0, got 0"):
        relative_lift([1.0, 2.0], [-1.0, 1.0])
    with pytest.raises(ValueError, match="two users or more"):
        relative_lift([1.0], [1.0, 2.0])


def test_cuped_by_hand():
    # x deviates by -1, 1 and -2, 2 within the groups, y by -1, 1 and -3, 3: theta = (2 + 12) / (2 + 8) = 1.4
    # the mean of x is 2, so x - 2 is -1, 1, -2, 2 and y falls by -1.4, 1.4, -2.8, 2.8
    treated, control = cuped([4.0, 6.0], [1.0, 7.0], [1.0, 3.0], [0.0, 4.0])
    np.testing.assert_allclose(treated, [5.4, 4.6])
    np.testing.assert_allclose(control, [3.8, 4.2])


def test_cuped_leaves_the_difference_unbiased_and_takes_the_squared_correlation_off_its_variance():
    rng = np.random.default_rng(1)
    plain, adjusted = [], []
    for _ in range(500):
        before = rng.standard_normal(200)
        after = 5 + 0.8 * before + 0.6 * rng.standard_normal(200)  # correlation .8
        after[:100] += 0.5
        a, b = cuped(after[:100], after[100:], before[:100], before[100:])
        plain.append(after[:100].mean() - after[100:].mean())
        adjusted.append(a.mean() - b.mean())
    assert np.mean(adjusted) == pytest.approx(0.5, abs=0.02)
    assert np.var(adjusted) / np.var(plain) == pytest.approx(1 - 0.64, abs=0.08)


def test_cuped_changes_nothing_where_the_time_before_says_nothing():
    treated, control = cuped([1.0, 2.0], [3.0, 5.0], [7.0, 7.0], [7.0, 7.0])
    np.testing.assert_array_equal(treated, [1.0, 2.0])
    np.testing.assert_array_equal(control, [3.0, 5.0])


def test_cuped_refuses_groups_of_other_users():
    with pytest.raises(ValueError, match="share their users"):
        cuped([1.0, 2.0], [1.0, 2.0], [1.0, 2.0, 3.0], [1.0, 2.0])


def test_average_of_several_experiments_counts_what_differs_between_them():
    estimate = average([Lift(value=value, standard_error=0.001) for value in (0.1, 0.2, 0.3)])
    # Deviation .1, so the error of the mean is .1 / sqrt(3); t of two degrees of freedom is 4.302653
    assert estimate.value == pytest.approx(0.2)
    assert estimate.high - estimate.value == pytest.approx(4.302653 * 0.1 / 3**0.5)
    assert estimate.per_seed == pytest.approx((0.1, 0.2, 0.3))


def test_one_experiment_has_the_interval_over_its_users():
    estimate = average([Lift(value=0.1, standard_error=0.02)])
    assert estimate.high - estimate.value == pytest.approx(1.959964 * 0.02)
    assert estimate.per_seed == (0.1,)


def test_users_needed_give_the_power_they_promise():
    lift = Lift(value=0.02, standard_error=0.02)
    needed = users_needed(lift, 1000)
    error = lift.standard_error * np.sqrt(1000 / needed)
    assert stats.norm.sf(stats.norm.ppf(0.975) - lift.value / error) == pytest.approx(0.8, abs=1e-3)
    assert users_needed(Lift(value=0.0, standard_error=0.1), 10) == np.inf
