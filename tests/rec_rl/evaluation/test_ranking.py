import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import log_loss as sklearn_log_loss
from sklearn.metrics import roc_auc_score

from rec_rl.errors import UnsupportedEstimateError
from rec_rl.evaluation.ranking import (
    auc,
    calibration_error,
    gauc,
    log_loss,
    ranking_differences,
    ranking_estimates,
)


def world(n, num_users, seed, levels=20):
    """Clicks, probabilities with many ties, and users."""
    rng = np.random.default_rng(seed)
    probabilities = rng.integers(0, levels + 1, n) / levels
    return (rng.random(n) < probabilities).astype(np.int8), probabilities, rng.integers(0, num_users, n)


def test_auc_by_hand_with_a_tie():
    # pairs clicked-skipped: (.9, .1) 1, (.9, .5) 1, (.5, .1) 1, (.5, .5) 1/2
    assert auc(np.array([1, 0, 1, 0]), np.array([0.9, 0.5, 0.5, 0.1])) == 3.5 / 4


@given(st.integers(0, 10_000), st.integers(2, 60))
@settings(max_examples=50, deadline=None)
def test_auc_equals_scikit_learns(seed, n):
    clicks, scores, _ = world(n, 3, seed, levels=5)
    if clicks.all() or not clicks.any():
        with pytest.raises(UnsupportedEstimateError, match="AUC needs clicked and skipped rows"):
            auc(clicks, scores)
    else:
        assert auc(clicks, scores) == pytest.approx(roc_auc_score(clicks, scores))


def test_auc_of_an_all_positive_log_is_refused():
    with pytest.raises(UnsupportedEstimateError, match="got 3 and none skipped"):
        auc(np.ones(3), np.array([0.1, 0.2, 0.3]))


def test_gauc_weighs_users_by_their_rows_and_leaves_out_single_classes():
    users = np.array([7, 7, 7, 2, 2, 9, 9])
    clicks = np.array([1, 0, 0, 0, 1, 1, 1])
    scores = np.array([0.5, 0.5, 0.1, 0.9, 0.2, 0.3, 0.4])
    # user 7: (1/2 + 1) / 2 = .75 with 3 rows; user 2: 0 with 2 rows; user 9 has clicked everything
    result = gauc(clicks, scores, users)
    assert result.value == pytest.approx(3 * 0.75 / 5)
    assert (result.n, result.verdict) == (2, "1 users with a single class left out")


def test_gauc_equals_scikit_learns_per_user():
    clicks, scores, users = world(3000, 200, seed=1)
    total = rows = 0
    for user in np.unique(users):
        of_user = users == user
        if 0 < clicks[of_user].mean() < 1:
            total += of_user.sum() * roc_auc_score(clicks[of_user], scores[of_user])
            rows += of_user.sum()
    assert gauc(clicks, scores, users).value == pytest.approx(total / rows)


def test_gauc_without_any_user_of_both_classes_is_refused():
    with pytest.raises(UnsupportedEstimateError, match="GAUC needs a user with both classes, none of 2"):
        gauc(np.array([1, 1, 0]), np.array([0.1, 0.2, 0.3]), np.array([0, 0, 1]))


def test_log_loss_equals_scikit_learns_and_survives_certainty():
    clicks, probabilities, _ = world(500, 3, seed=2, levels=7)
    inner = probabilities.clip(0.01, 0.99)
    assert log_loss(clicks, inner) == pytest.approx(sklearn_log_loss(clicks, inner))
    # one certain mistake costs -log of a float32 step
    assert log_loss(np.array([1]), np.array([0.0])) == pytest.approx(-np.log(2.0**-23))


def test_calibration_error_by_hand():
    clicks = np.array([1, 0, 1, 1])
    probabilities = np.array([0.31, 0.39, 0.9, 1.0])
    # bin .3-.4: |1/2 - .35| * 2 rows; the last bin holds 1 too: |1 - .95| * 2 rows
    assert calibration_error(clicks, probabilities) == pytest.approx((0.15 * 2 + 0.05 * 2) / 4)


def test_estimates_hold_the_point_value_inside_their_interval():
    clicks, probabilities, users = world(4000, 300, seed=3)
    estimates = ranking_estimates(clicks, probabilities, users, seed=0, draws=200)
    assert set(estimates) == {"auc", "gauc", "log_loss", "calibration_error"}
    assert estimates["auc"].value == pytest.approx(roc_auc_score(clicks, probabilities))
    for name in ("auc", "gauc", "log_loss"):
        estimate = estimates[name]
        assert estimate.low < estimate.value < estimate.high
        assert estimate.n == 300


def test_user_bootstrap_of_auc_is_that_of_repeated_rows():
    clicks, scores, users = world(60, 6, seed=4)
    estimate = ranking_estimates(clicks, scores, users, seed=5, draws=40)["auc"]
    rng, values = np.random.default_rng(5), []
    for _ in range(40):
        rows = np.concatenate([np.flatnonzero(users == user) for user in rng.integers(0, 6, 6)])
        values.append(roc_auc_score(clicks[rows], scores[rows]))
    assert (estimate.low, estimate.high) == pytest.approx(tuple(np.quantile(values, [0.025, 0.975])))


def test_differences_are_paired():
    clicks, probabilities, users = world(4000, 300, seed=6)
    same = ranking_differences(clicks, probabilities, probabilities, users, seed=0, draws=20)
    assert all((d.value, d.low, d.high) == (0, 0, 0) for d in same.values())
    noise = np.random.default_rng(7).normal(0, 0.02, len(clicks))
    worse = np.clip(probabilities + noise, 0, 1)
    difference = ranking_differences(clicks, probabilities, worse, users, seed=0, draws=200)["auc"]
    alone = ranking_estimates(clicks, probabilities, users, seed=0, draws=200)["auc"]
    assert difference.high - difference.low < (alone.high - alone.low) / 3


def test_a_hundred_draws_over_forty_thousand_rows_take_a_second():
    clicks, probabilities, users = world(40_000, 20_000, seed=8, levels=10_000)
    start = time.process_time()
    ranking_estimates(clicks, probabilities, users, seed=0, draws=100)
    assert time.process_time() - start < 5  # about one on an idle core


@pytest.mark.parametrize(
    ("clicks", "scores", "message"),
    [
        ([1, 0], [0.5], "must share a shape"),
        ([1, 2], [0.5, 0.1], "clicks must be 0 or 1"),
        ([1, 0], [np.nan, 0.1], "scores must be finite"),
        ([], [], "n >= 1"),
    ],
)
def test_metrics_refuse_broken_input(clicks, scores, message):
    with pytest.raises(ValueError, match=message):
        auc(np.array(clicks), np.array(scores))


def test_log_loss_refuses_scores_that_are_no_probabilities():
    with pytest.raises(ValueError, match=r"probabilities must be in \[0, 1\], got -0.1..0.5"):
        log_loss(np.array([1, 0]), np.array([-0.1, 0.5]))
