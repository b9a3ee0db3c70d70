import numpy as np
import pytest

from rec_rl.evaluation.ranking import auc, auc_statistic, log_loss
from rec_rl.evaluation.ranking_draws import ranking_draws, seed_and_user_interval


def log(num_users, rows_of_each, seed):
    rng = np.random.default_rng(seed)
    users = np.repeat(np.arange(num_users), rows_of_each)
    probabilities = rng.random(len(users))
    return (rng.random(len(users)) < probabilities).astype(np.int8), probabilities, users


def test_the_first_draw_is_the_metric_and_the_others_are_resamples_of_users():
    clicks, probabilities, users = log(5, 8, seed=0)
    draws = ranking_draws(clicks, probabilities, users, num_users=5, draws=3)
    assert draws["auc"][0] == pytest.approx(auc(clicks, probabilities))
    rng = np.random.default_rng(0)
    for i in (1, 2, 3):
        rows = np.concatenate([np.flatnonzero(users == user) for user in rng.integers(0, 5, 5)])
        assert draws["auc"][i] == pytest.approx(auc(clicks[rows], probabilities[rows]))
        assert draws["log_loss"][i] == pytest.approx(log_loss(clicks[rows], probabilities[rows]))


def test_other_rows_of_the_same_users_meet_the_same_resamples():
    clicks, probabilities, users = log(6, 4, seed=1)
    some = users != 2  # a user without test rows here
    draws = ranking_draws(clicks[some], probabilities[some], users[some], num_users=6, draws=1)
    chosen = np.random.default_rng(0).integers(0, 6, 6)
    rows = np.concatenate([np.flatnonzero(users == user) for user in chosen if user != 2])
    assert draws["auc"][1] == pytest.approx(auc(clicks[rows], probabilities[rows]))


def test_a_resample_of_a_single_class_has_no_auc():
    clicks, users = np.array([1, 0]), np.array([0, 1])
    only = {"auc": auc_statistic}
    draws = ranking_draws(clicks, np.array([0.9, 0.1]), users, num_users=2, draws=20, metrics=only)["auc"]
    assert np.isnan(draws).any()
    assert set(draws[~np.isnan(draws)]) == {1.0}


def test_the_interval_of_one_seed_is_the_bootstraps():
    draws = np.concatenate([[2.0], np.random.default_rng(0).normal(2, 0.1, 1000)])[None]
    estimate = seed_and_user_interval(draws)
    half = 1.959964 * draws[0, 1:].std(ddof=1)
    assert (estimate.value, estimate.n, estimate.per_seed) == (2.0, 1, (2.0,))
    assert estimate.high - 2 == pytest.approx(half) == pytest.approx(2 - estimate.low)


def test_the_interval_over_seeds_adds_students_t_in_quadrature():
    rng = np.random.default_rng(0)
    users = rng.normal(0, 0.1, 500)  # resamples move all seeds together
    draws = np.concatenate([[[1.0], [2.0], [6.0]], np.array([[1.0], [2.0], [6.0]]) + users], axis=1)
    estimate = seed_and_user_interval(draws)
    # mean 3, deviation sqrt(7), t(2) = 4.302653
    over_seeds = 4.302653 * np.sqrt(7 / 3)
    over_users = 1.959964 * users.std(ddof=1)
    assert estimate.value == 3
    assert estimate.high - 3 == pytest.approx(np.hypot(over_seeds, over_users), rel=1e-6)
