"""An estimate with its 95 % interval, and the ways to get one."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

CONFIDENCE = 0.95


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A number with its 95 % interval and what it rests on.

    Attributes:
        value: The point estimate.
        low, high: The interval's ends; NaN where one unit leaves no interval.
        n: Units the interval is over (seeds, users or episodes).
        per_seed: The value of every seed, where the units are seeds.
        ess: Effective sample size, where the estimate is weighted.
        d2: Mean squared distance from the behaviour in units of its noise, where there is one.
        verdict: Whether the data support the estimate, in words.
    """

    value: float
    low: float
    high: float
    n: int
    per_seed: tuple[float, ...] | None = None
    ess: float | None = None
    d2: float | None = None
    verdict: str | None = None

    def __str__(self) -> str:
        if np.isnan(self.low):
            return f"{self.value:.4f}"
        return f"{self.value:.4f} [{self.low:.4f}, {self.high:.4f}]"


def mean_interval(values: ArrayLike, *, seeds: bool = False) -> Estimate:
    """Student's t interval of a mean.

    Args:
        values: One number per unit, shape [n], finite.
        seeds: Whether the units are seeds, which are then kept one by one.
    """
    x = _finite_vector(values)
    value = float(x.mean())
    low = high = float("nan")
    if len(x) > 1:
        half = float(stats.t.ppf(0.5 + CONFIDENCE / 2, len(x) - 1) * stats.sem(x))
        low, high = value - half, value + half
    return Estimate(value=value, low=low, high=high, n=len(x), per_seed=tuple(x.tolist()) if seeds else None)


def paired_difference(treated: ArrayLike, control: ArrayLike) -> Estimate:
    """Student's t interval of the mean of ``treated - control`` over shared units, shape [n] each."""
    a, b = _finite_vector(treated), _finite_vector(control)
    if a.shape != b.shape:
        raise ValueError(f"treated and control must share their units, got {a.shape} and {b.shape}")
    return mean_interval(a - b, seeds=True)


def interquartile_mean(values: ArrayLike) -> float:
    """Mean of the middle half of the values (Agarwal et al. 2021, rliable)."""
    return float(stats.trim_mean(_finite_vector(values), 0.25))


def bootstrap_interval(
    statistic: Callable[[NDArray[np.int64]], float],
    num_units: int,
    rng: np.random.Generator,
    *,
    draws: int = 1000,
) -> Estimate:
    """Percentile bootstrap over whole units (users), for any statistic.

    Args:
        statistic: Takes unit indices, shape [num_units], with repeats; returns a number.
        num_units: How many units there are.
        rng: Source of the resamples.
        draws: Number of resamples.
    """
    if num_units < 1:
        raise ValueError(f"num_units must be >= 1, got {num_units}")
    value = statistic(np.arange(num_units))
    sample = [statistic(rng.integers(0, num_units, num_units)) for _ in range(draws)]
    low, high = np.nanquantile(sample, [0.5 - CONFIDENCE / 2, 0.5 + CONFIDENCE / 2])
    return Estimate(value=value, low=float(low), high=float(high), n=num_units)


def _finite_vector(values: ArrayLike) -> NDArray[np.float64]:
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 1 or len(x) == 0:
        raise ValueError(f"values must have shape [n] with n >= 1, got {x.shape}")
    if not np.isfinite(x).all():
        raise ValueError(f"values must be finite, got {int((~np.isfinite(x)).sum())} that are not")
    return x
