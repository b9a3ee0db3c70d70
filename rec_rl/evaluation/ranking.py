"""How well predicted click probabilities rank and how well they are calibrated, with intervals over users.

A metric is prepared once, with its sorting, as a function of the users' weights: all ones give its value,
counts of a resample a bootstrap draw. BLAS is kept out of it: its threads cost more than such short sums.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from rec_rl.errors import UnsupportedEstimateError
from rec_rl.evaluation.intervals import Estimate, bootstrap_interval

CALIBRATION_BINS = 10

Statistic = Callable[[NDArray[np.float64]], float]
"""Weights of the users, shape [num_users], to the metric; NaN where those users do not define it."""

Prepare = Callable[[NDArray[np.generic], NDArray[np.floating], NDArray[np.int64]], Statistic]
"""Clicks [n], probabilities [n] and user index [n], 0..num_users-1, to a statistic."""


def auc(clicks: NDArray[np.generic], scores: NDArray[np.floating]) -> float:
    """Probability that a clicked row scores above a skipped one, ties counted half.

    Raises:
        UnsupportedEstimateError: If one of the classes is missing.
    """
    return auc_statistic(clicks, scores, np.arange(len(clicks)))(np.ones(len(clicks)))


def gauc(clicks: NDArray[np.generic], scores: NDArray[np.floating], users: NDArray[np.integer]) -> Estimate:
    """AUC per user, averaged by the users' rows; users of a single class have none and are left out.

    Source: Zhou et al. 2018 (DIN), the metric of Sec. 6.

    Returns:
        Value without an interval; ``n`` counts the users that have one, the verdict those that do not.
    """
    index = _user_index(users)
    value = gauc_statistic(clicks, scores, index)(np.ones(index.max() + 1))
    counted = int(_has_both(clicks, index).sum())
    left_out = int(index.max()) + 1 - counted
    verdict = f"{left_out} users with a single class left out" if left_out else None
    return Estimate(value=value, low=np.nan, high=np.nan, n=counted, verdict=verdict)


def log_loss(clicks: NDArray[np.generic], probabilities: NDArray[np.floating]) -> float:
    """Mean negative log-likelihood in nats; probabilities are kept a float32 step away from 0 and 1."""
    return log_loss_statistic(clicks, probabilities, np.arange(len(clicks)))(np.ones(len(clicks)))


def calibration_error(clicks: NDArray[np.generic], probabilities: NDArray[np.floating]) -> float:
    """Expected calibration error: |mean click - mean probability| in ten equal bins, weighted by their rows.

    Source: Naeini et al. 2015; Guo et al. 2017 (calibration), Eq. (3).
    """
    return calibration_statistic(clicks, probabilities, np.arange(len(clicks)))(np.ones(len(clicks)))


def auc_statistic(
    clicks: NDArray[np.generic], scores: NDArray[np.floating], users: NDArray[np.int64]
) -> Statistic:
    """`auc` under weights."""
    _check(clicks, scores, users)
    positive = np.asarray(clicks) == 1
    if positive.all() or not positive.any():
        missing = "skipped" if positive.all() else "clicked"
        raise UnsupportedEstimateError(
            f"AUC needs clicked and skipped rows, got {len(positive)} and none {missing}"
        )
    order = np.argsort(scores, kind="stable")
    positive, users = positive[order], users[order]
    (tie_starts,) = np.nonzero(np.diff(scores[order], prepend=-np.inf) > 0)

    def statistic(user_weights: NDArray[np.float64]) -> float:
        weights = user_weights[users]
        clicked = np.add.reduceat(weights * positive, tie_starts)
        skipped = np.add.reduceat(weights * ~positive, tie_starts)
        below = np.cumsum(skipped) - skipped / 2
        return _ratio((clicked * below).sum(), clicked.sum() * skipped.sum())

    return statistic


def gauc_statistic(
    clicks: NDArray[np.generic], scores: NDArray[np.floating], users: NDArray[np.int64]
) -> Statistic:
    """`gauc` under weights."""
    _check(clicks, scores, users)
    if not (both := _has_both(clicks, users)).any():
        raise UnsupportedEstimateError(f"GAUC needs a user with both classes, none of {len(both)} has them")
    values, num_rows = _auc_per_user(np.asarray(clicks) == 1, scores, users), np.bincount(users)
    values, num_rows = np.where(both, values, 0.0), np.where(both, num_rows, 0)

    def statistic(user_weights: NDArray[np.float64]) -> float:
        weights = user_weights * num_rows
        return _ratio((weights * values).sum(), weights.sum())

    return statistic


def log_loss_statistic(
    clicks: NDArray[np.generic], probabilities: NDArray[np.floating], users: NDArray[np.int64]
) -> Statistic:
    """`log_loss` under weights."""
    _check_probabilities(clicks, probabilities, users)
    step = float(np.finfo(np.float32).eps)
    p = np.clip(np.asarray(probabilities, np.float64), step, 1 - step)
    loss = -np.log(np.where(np.asarray(clicks) == 1, p, 1 - p))
    per_user, num_rows = np.bincount(users, loss), np.bincount(users)

    def statistic(user_weights: NDArray[np.float64]) -> float:
        return _ratio((user_weights * per_user).sum(), (user_weights * num_rows).sum())

    return statistic


def calibration_statistic(
    clicks: NDArray[np.generic], probabilities: NDArray[np.floating], users: NDArray[np.int64]
) -> Statistic:
    """`calibration_error` under weights."""
    _check_probabilities(clicks, probabilities, users)
    bins = np.minimum((probabilities * CALIBRATION_BINS).astype(np.int64), CALIBRATION_BINS - 1)
    gap = np.asarray(clicks, np.float64) - probabilities

    def statistic(user_weights: NDArray[np.float64]) -> float:
        weights = user_weights[users]
        per_bin = np.bincount(bins, weights * gap, minlength=CALIBRATION_BINS)
        return _ratio(np.abs(per_bin).sum(), weights.sum())

    return statistic


METRICS: Mapping[str, Prepare] = {
    "auc": auc_statistic,
    "gauc": gauc_statistic,
    "log_loss": log_loss_statistic,
    "calibration_error": calibration_statistic,
}


def ranking_estimates(
    clicks: NDArray[np.generic],
    probabilities: NDArray[np.floating],
    users: NDArray[np.integer],
    *,
    seed: int,
    draws: int = 1000,
) -> dict[str, Estimate]:
    """Every metric with its 95 % interval from a bootstrap over users.

    Args:
        clicks: 0 or 1, shape [n].
        probabilities: In [0, 1], shape [n].
        users: Any codes, shape [n].
        seed: Of the resamples.
        draws: Number of resamples.
    """
    index = _user_index(users)
    estimates = {
        name: _bootstrap(prepare(clicks, probabilities, index), index, seed, draws)
        for name, prepare in METRICS.items()
    }
    verdict = gauc(clicks, probabilities, users).verdict
    return {**estimates, "gauc": replace(estimates["gauc"], verdict=verdict)}


def ranking_differences(
    clicks: NDArray[np.generic],
    treated: NDArray[np.floating],
    control: NDArray[np.floating],
    users: NDArray[np.integer],
    *,
    seed: int,
    draws: int = 1000,
) -> dict[str, Estimate]:
    """Every metric of ``treated`` minus that of ``control``, with the interval over the users they share."""
    index = _user_index(users)

    def difference(prepare: Prepare) -> Statistic:
        first, second = prepare(clicks, treated, index), prepare(clicks, control, index)
        return lambda weights: first(weights) - second(weights)

    return {name: _bootstrap(difference(prepare), index, seed, draws) for name, prepare in METRICS.items()}


def _bootstrap(statistic: Statistic, users: NDArray[np.int64], seed: int, draws: int) -> Estimate:
    num_users = int(users.max()) + 1
    return bootstrap_interval(
        lambda chosen: statistic(np.bincount(chosen, minlength=num_users).astype(np.float64)),
        num_users,
        np.random.default_rng(seed),
        draws=draws,
    )


def _auc_per_user(
    positive: NDArray[np.bool_], scores: NDArray[np.floating], users: NDArray[np.int64]
) -> NDArray[np.float64]:
    """AUC of each user, NaN for a single class: the Mann-Whitney statistic from ranks within users."""
    order = np.lexsort((scores, users))
    positive, scores, users = positive[order], scores[order], users[order]
    num_rows = np.bincount(users)
    new_tie = np.concatenate([[True], (np.diff(users) != 0) | (np.diff(scores) != 0)])
    (tie_starts,) = np.nonzero(new_tie)
    tie_sizes = np.diff(tie_starts, append=len(users))
    first_rank = tie_starts - (np.cumsum(num_rows) - num_rows)[users[tie_starts]] + 1
    ranks = np.repeat(first_rank + (tie_sizes - 1) / 2, tie_sizes)
    clicked = np.bincount(users, positive)
    rank_sum = np.bincount(users, ranks * positive)
    with np.errstate(invalid="ignore"):
        return (rank_sum - clicked * (clicked + 1) / 2) / (clicked * (num_rows - clicked))


def _has_both(clicks: NDArray[np.generic], users: NDArray[np.int64]) -> NDArray[np.bool_]:
    clicked, num_rows = np.bincount(users, np.asarray(clicks) == 1), np.bincount(users)
    return (clicked > 0) & (clicked < num_rows)


def _user_index(users: NDArray[np.integer]) -> NDArray[np.int64]:
    if len(users) == 0:
        raise ValueError("metrics need at least one row")
    index: NDArray[np.int64] = np.unique(users, return_inverse=True)[1]
    return index


def _ratio(numerator: np.floating, denominator: np.floating) -> float:
    return float(numerator / denominator) if denominator else float("nan")


def _check(clicks: NDArray[np.generic], scores: NDArray[np.floating], users: NDArray[np.int64]) -> None:
    if not clicks.shape == scores.shape == users.shape or clicks.ndim != 1 or len(clicks) == 0:
        raise ValueError(
            f"clicks, scores and users must share a shape [n], n >= 1, got {clicks.shape}, {scores.shape}, "
            f"{users.shape}"
        )
    if not np.isfinite(scores).all():
        raise ValueError("scores must be finite")
    if not np.isin(clicks, (0, 1)).all():
        raise ValueError("clicks must be 0 or 1")


def _check_probabilities(
    clicks: NDArray[np.generic], probabilities: NDArray[np.floating], users: NDArray[np.int64]
) -> None:
    _check(clicks, probabilities, users)
    if probabilities.min() < 0 or probabilities.max() > 1:
        raise ValueError(
            f"probabilities must be in [0, 1], got {probabilities.min():g}..{probabilities.max():g}"
        )
