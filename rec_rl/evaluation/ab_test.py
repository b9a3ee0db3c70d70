"""Online comparisons of two groups of users: relative lift, CUPED, and the users that an effect needs."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from rec_rl.evaluation.intervals import CONFIDENCE, Estimate, mean_interval

POWER = 0.8


@dataclass(frozen=True, kw_only=True)
class Lift:
    """treated mean / control mean - 1, with its standard error."""

    value: float
    standard_error: float


def relative_lift(treated: ArrayLike, control: ArrayLike) -> Lift:
    """Lift of the mean of a metric, one number per user of each group; its error by the delta method.

    Var(T / C) = var(T) / C^2 + T^2 var(C) / C^4 of the means T and C of independent groups.
    Source: Deng, Knoblich and Lu 2018 (delta method in metric analytics), percent change.

    Args:
        treated, control: Shapes [n] and [m], at least two users each. The control's mean is > 0.
    """
    x, y = _users(treated), _users(control)
    mean_x, mean_y = float(x.mean()), float(y.mean())
    if not mean_y > 0:
        raise ValueError(f"the control's mean must be > 0, got {mean_y:g}")
    variance_x, variance_y = (float(group.var(ddof=1)) / len(group) for group in (x, y))
    variance = variance_x / mean_y**2 + mean_x**2 * variance_y / mean_y**4
    return Lift(value=mean_x / mean_y - 1, standard_error=float(np.sqrt(variance)))


def cuped(
    treated: ArrayLike, control: ArrayLike, treated_before: ArrayLike, control_before: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both groups less what the period before the experiment foretold: y - theta (x - mean x).

    theta = cov(x, y) / var(x) within the groups and the mean of x are of both groups together. The means'
    difference stays unbiased, since x came before the treatment; its variance falls by the squared
    correlation of x and y.
    Source: Deng et al. 2013 (CUPED), control variates.

    Args:
        treated, control: The metric in the experiment, shapes [n] and [m].
        treated_before, control_before: The same users' before it, shapes [n] and [m].
    """
    groups = [(_users(treated), _users(treated_before)), (_users(control), _users(control_before))]
    if any(y.shape != x.shape for y, x in groups):
        raise ValueError(
            f"groups must share their users with the time before, got {[(len(y), len(x)) for y, x in groups]}"
        )
    covariance = sum(float(((x - x.mean()) * (y - y.mean())).sum()) for y, x in groups)
    variance = sum(float(np.square(x - x.mean()).sum()) for _, x in groups)
    theta = covariance / variance if variance > 0 else 0.0
    mean = float(np.concatenate([x for _, x in groups]).mean())
    first, second = (y - theta * (x - mean) for y, x in groups)
    return first, second


def average(lifts: Sequence[Lift]) -> Estimate:
    """Mean of independent experiments, ``per_seed`` keeps each.

    The interval of several is Student's over them: it holds for models trained anew as well as for other
    users. That of a single one is normal, over its users.
    """
    if len(lifts) > 1:
        return mean_interval([lift.value for lift in lifts], seeds=True)
    (lift,) = lifts
    half = float(stats.norm.ppf(0.5 + CONFIDENCE / 2)) * lift.standard_error
    low, high = lift.value - half, lift.value + half
    return Estimate(value=lift.value, low=low, high=high, n=1, per_seed=(lift.value,))


def users_needed(lift: Lift, users_per_group: int) -> float:
    """Users per group at which a two-sided 5 % test finds this lift four times in five.

    The error of a lift falls with the root of the users, so n' = n ((z_.975 + z_.8) se / lift)^2.

    Args:
        lift: As measured.
        users_per_group: Users of each of its groups, n.
    """
    if lift.value == 0:
        return float("inf")
    z = float(stats.norm.ppf(0.5 + CONFIDENCE / 2) + stats.norm.ppf(POWER))
    return users_per_group * (z * lift.standard_error / lift.value) ** 2


def _users(values: ArrayLike) -> NDArray[np.float64]:
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 1 or len(x) < 2 or not np.isfinite(x).all():
        raise ValueError(f"a group must be a finite vector of two users or more, got shape {x.shape}")
    return x
