"""Metrics on resamples of users that arms and seeds share, and intervals over seeds and users from them.

Users are drawn from all users of a data set, and the draws depend on their number alone. So arms of one seed,
and seeds that test other rows of the same users, meet the same resamples: their draws can be subtracted and
averaged and stay paired.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from rec_rl.evaluation.intervals import CONFIDENCE, Estimate, mean_interval
from rec_rl.evaluation.ranking import METRICS, Prepare

Draws = NDArray[np.float64]
"""A metric on all users, then on every resample, shape [1 + draws]; NaN where it is not defined."""


def ranking_draws(
    clicks: NDArray[np.generic],
    probabilities: NDArray[np.floating],
    users: NDArray[np.integer],
    *,
    num_users: int,
    draws: int,
    metrics: Mapping[str, Prepare] = METRICS,
) -> dict[str, Draws]:
    """Every metric on all users and on resamples of them.

    Args:
        clicks: 0 or 1, shape [n].
        probabilities: In [0, 1], or any scores where the metrics only rank, shape [n].
        users: In 0..num_users-1, shape [n].
        num_users: Users that resamples are drawn from, whether they have rows here or not.
        draws: Number of resamples.
        metrics: Which.
    """
    present, index = np.unique(users, return_inverse=True)
    statistics = {name: prepare(clicks, probabilities, index) for name, prepare in metrics.items()}
    values = {name: np.empty(1 + draws) for name in metrics}
    rng = np.random.default_rng(0)
    for i in range(1 + draws):
        chosen = np.arange(num_users) if i == 0 else rng.integers(0, num_users, num_users)
        weights = np.bincount(chosen, minlength=num_users)[present].astype(np.float64)
        for name, statistic in statistics.items():
            values[name][i] = statistic(weights)
    return values


def seed_and_user_interval(draws: NDArray[np.float64]) -> Estimate:
    """Mean over seeds, with a 95 % interval over seeds and users.

    Student's t over the seeds and the bootstrap over users, added in quadrature; with one seed the latter
    alone.

    Args:
        draws: `Draws` of a metric or of a difference of two, one row per seed, shape [num_seeds, 1 + draws].
    """
    over_seeds = mean_interval(draws[:, 0], seeds=True)
    normal = float(stats.norm.ppf(0.5 + CONFIDENCE / 2))
    half = normal * float(np.nanstd(draws[:, 1:].mean(axis=0), ddof=1))
    if len(draws) > 1:
        half = float(np.hypot(half, over_seeds.high - over_seeds.value))
    return replace(over_seeds, low=over_seeds.value - half, high=over_seeds.value + half)
