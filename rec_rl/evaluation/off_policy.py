"""What a log says about a policy that it did not follow, with an interval and a verdict.

What the intervals cover. Weights per request compare a policy with the logger one request at a time: each
request in turn is imagined served by the policy and everything around it by the logger. So the estimates
here are of the *one-request value*, the mean level of sessions of which one request, drawn evenly, is the
policy's. It orders policies as their online values do, and it is a smaller number than the gain from
following the policy for good. `snips` and `doubly_robust` estimate it over all sessions; `ncis` averages
the same ratio user by user, as the paper does, and its interval covers its own expectation over fresh users
with as many sessions each. No interval here covers the online level. The weights as printed in the paper,
products over a session, go to the shortest sessions and order policies worse than chance in depth; they are
here for reproduction.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rec_rl.data.behaviour import effective_sample_size, log_session_weights
from rec_rl.errors import UnsupportedEstimateError, check_name
from rec_rl.evaluation.intervals import CONFIDENCE, Estimate

Doubles = NDArray[np.float64]

Weighting = Literal["request", "session_product", "density_product"]
WEIGHTINGS: tuple[Weighting, ...] = get_args(Weighting)

SUPPORTED, CAUTION, NOT_SUPPORTED = "SUPPORTED", "CAUTION", "NOT SUPPORTED"

# Beyond the first bound a verdict is CAUTION, beyond the second NOT SUPPORTED.
D2_BOUNDS = (4.0, 8.0)
SHARE_BOUNDS = (0.2, 0.1)
USER_BOUNDS = (50, 10)
RATIO_BOUNDS = (0.1, 0.5)  # |mean ratio - 1|: the behaviour is wrong, or what has weight was never seen

LARGEST_LOG = 600.0  # exp stays finite
DRAWS_AT_A_TIME = 100


class Support(NamedTuple):
    """What a verdict rests on.

    Attributes:
        d2: 2 KL(behaviour, policy) of what a weight is of, a request or a session. For Gaussians of one
            scale, the mean squared distance of the means in units of the noise.
        share: Effective sample size of the session weights over the number of sessions.
        num_users: Users with a counted session.
        mean_ratio: Mean uncapped ratio of a request, 1 where the behaviour is right and the log covers the
            policy.
    """

    d2: float
    share: float
    num_users: int
    mean_ratio: float

    @property
    def verdict(self) -> str:
        """SUPPORTED, or CAUTION or NOT SUPPORTED with every reason."""
        off = abs(self.mean_ratio - 1)
        excesses = (
            (f"D2 {self.d2:.1f} above", self.d2, D2_BOUNDS, 1),
            (f"effective share {self.share:.1%} below", self.share, SHARE_BOUNDS, -1),
            (f"{self.num_users} users, fewer than", self.num_users, USER_BOUNDS, -1),
            (f"mean ratio {self.mean_ratio:.2f}, off 1 by more than", off, RATIO_BOUNDS, 1),
        )
        for word, bound in ((NOT_SUPPORTED, 1), (CAUTION, 0)):
            reasons = [
                f"{text} {bounds[bound]:g}"
                for text, value, bounds, sign in excesses
                if not sign * value <= sign * bounds[bound]
            ]
            if reasons:
                return f"{word}: {'; '.join(reasons)}"
        return SUPPORTED


class Doubt(NamedTuple):
    """A verdict, CAUTION or NOT SUPPORTED, and its reason."""

    word: str
    reason: str


class CountedSessions(NamedTuple):
    """Sessions with a level, and how far the log supports the policy.

    Attributes:
        level, log_weight, user: Of each session; users are numbered from 0.
        counted: Which of all sessions these are, shape [num_sessions].
        d2: Per request.
        support: What the verdict rests on.
    """

    level: Doubles
    log_weight: Doubles
    user: NDArray[np.int64]
    counted: NDArray[np.bool_]
    d2: float
    support: Support

    def estimate(self, numerator: ArrayLike, denominator: ArrayLike, *, draws: int, seed: int) -> Estimate:
        """sum(numerator) / sum(denominator) over users, with interval and verdict."""
        above, below = np.asarray(numerator, np.float64), np.asarray(denominator, np.float64)
        value, low, high = _bootstrap_of_ratio(above, below, draws=draws, seed=seed)
        return Estimate(
            value=value,
            low=low,
            high=high,
            n=len(above),
            ess=effective_sample_size(self.log_weight),
            d2=self.d2,
            verdict=self.support.verdict,
        )


def ncis(
    log_ratio: ArrayLike,
    session: ArrayLike,
    user: ArrayLike,
    level: ArrayLike,
    *,
    cap: float = 10.0,
    weighting: Weighting = "request",
    draws: int = 1000,
    seed: int = 0,
) -> Estimate:
    """Normalised capped importance sampling: mean over users of sum_i w_i L_i / sum_i w_i.

    Source: Xue et al. 2023 (PrefRec), Eq. (12); Swaminathan and Joachims 2015.

    Differs from the paper: by default w_i is the mean over the session's requests of min(ratio, cap).
    Weightings "session_product", min(product of the ratios, cap), and "density_product", where
    ``log_ratio`` is the policy's log density itself, are readings of the printed rho_i. The last changes
    with the unit of the actions.

    Args:
        log_ratio: log pi(a|s) - log b(a|s) of each request, shape [n].
        session: Session of each request, in [0, num_sessions), shape [n].
        user: User of each request, any integers, shape [n].
        level: Of each session, shape [num_sessions]; NaN where it is not counted, such as a user's last.
        cap: Largest weight, > 0.
        weighting: How a session's weight comes from its requests.
        draws: Bootstrap draws over users.
        seed: Of the bootstrap.

    Returns:
        Value with its interval over users (n), effective number of sessions (ess), d2 and verdict. The
        behaviour policy scores the mean over users of their mean level, with ess the number of sessions.

    Raises:
        ValueError: If the shapes differ or cap is not positive.
        UnsupportedEstimateError: If no session is counted.
    """
    check_name("weighting", weighting, WEIGHTINGS)
    sessions = count_sessions(log_ratio, session, user, level, cap=cap, weighting=weighting)
    largest = np.full(sessions.user.max() + 1, -np.inf)
    np.maximum.at(largest, sessions.user, sessions.log_weight)
    weight = np.exp(sessions.log_weight - largest[sessions.user])
    value = np.bincount(sessions.user, weight * sessions.level) / np.bincount(sessions.user, weight)
    estimate = sessions.estimate(value, np.ones_like(value), draws=draws, seed=seed)
    if weighting != "density_product":
        return estimate
    return replace(
        estimate, d2=None, verdict=f"{NOT_SUPPORTED}: densities change with the unit of the actions"
    )


def snips(
    log_ratio: ArrayLike,
    session: ArrayLike,
    user: ArrayLike,
    level: ArrayLike,
    *,
    cap: float = float("inf"),
    draws: int = 1000,
    seed: int = 0,
) -> Estimate:
    """Self-normalised importance sampling: sum_i w_i L_i / sum_i w_i over all sessions, w_i as in `ncis`.

    Consistent for the one-request value where no ratio is capped. Source: Swaminathan and Joachims 2015
    (SNIPS).

    Args and Raises: As `ncis`.
    """
    sessions = count_sessions(log_ratio, session, user, level, cap=cap)
    weight = np.exp(sessions.log_weight - sessions.log_weight.max())
    numerator = np.bincount(sessions.user, weight * sessions.level)
    return sessions.estimate(numerator, np.bincount(sessions.user, weight), draws=draws, seed=seed)


def doubly_robust(
    log_ratio: ArrayLike,
    session: ArrayLike,
    user: ArrayLike,
    level: ArrayLike,
    q_logged: ArrayLike,
    q_target: ArrayLike,
    *,
    cap: float = float("inf"),
    draws: int = 1000,
    seed: int = 0,
) -> Estimate:
    """Mean over sessions and their requests of q(s, pi) + ratio * (L - q(s, a)).

    Of the one-request value, with less variance than `snips` where q predicts the level; unbiased whatever
    q is, as long as q was not fitted on the same users. Source: Dudik et al. 2011, Eq. (2).

    Args:
        log_ratio, session, user, level, cap, draws, seed: As `ncis`.
        q_logged: Predicted level of the request's session given its state and logged action, shape [n].
        q_target: The same, expected over the policy's actions, shape [n].

    Raises: As `ncis`.
    """
    sessions = count_sessions(log_ratio, session, user, level, cap=cap)
    rows = np.asarray(session, np.int64)
    q_taken, q_policy = (np.asarray(q, np.float64) for q in (q_logged, q_target))
    if not q_taken.shape == q_policy.shape == rows.shape:
        raise ValueError(
            f"q_logged {q_taken.shape} and q_target {q_policy.shape} must have shape {rows.shape}"
        )
    ratio = np.exp(np.minimum(np.asarray(log_ratio, np.float64), np.log(cap)))
    level_of_row = np.nan_to_num(np.asarray(level, np.float64))[rows]
    corrected = q_policy + ratio * (level_of_row - q_taken)
    num_sessions = len(sessions.counted)
    count = np.maximum(np.bincount(rows, minlength=num_sessions), 1)
    of_session = (np.bincount(rows, corrected, num_sessions) / count)[sessions.counted]
    num_of_user = np.bincount(sessions.user).astype(np.float64)
    return sessions.estimate(np.bincount(sessions.user, of_session), num_of_user, draws=draws, seed=seed)


def cap_sweep(
    log_ratio: ArrayLike,
    session: ArrayLike,
    user: ArrayLike,
    level: ArrayLike,
    *,
    caps: tuple[float, ...] = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, float("inf")),
    draws: int = 1000,
    seed: int = 0,
) -> dict[float, Estimate]:
    """`ncis` at several caps: an estimate that moves with the cap rests on a few requests."""
    return {cap: ncis(log_ratio, session, user, level, cap=cap, draws=draws, seed=seed) for cap in caps}


def require_support(estimate: Estimate) -> Estimate:
    """The estimate, unless its verdict refuses it.

    Raises:
        UnsupportedEstimateError: If the verdict is NOT SUPPORTED, with its reasons.
    """
    if estimate.verdict is not None and estimate.verdict.startswith(NOT_SUPPORTED):
        raise UnsupportedEstimateError(estimate.verdict)
    return estimate


def with_doubts(estimate: Estimate, doubts: Iterable[Doubt]) -> Estimate:
    """The estimate with a verdict no better than the worst doubt's, and that verdict's reasons."""
    found, _, reasons = (estimate.verdict or SUPPORTED).partition(": ")
    all_doubts = [Doubt(found, reasons), *doubts]
    worst = min((doubt.word for doubt in all_doubts), key=(NOT_SUPPORTED, CAUTION, SUPPORTED).index)
    if worst == SUPPORTED:
        return estimate
    kept = [doubt.reason for doubt in all_doubts if doubt.word == worst]
    return replace(estimate, verdict=f"{worst}: {'; '.join(kept)}")


def count_sessions(
    log_ratio: ArrayLike,
    session: ArrayLike,
    user: ArrayLike,
    level: ArrayLike,
    *,
    cap: float = float("inf"),
    weighting: Weighting = "request",
) -> CountedSessions:
    """Checks the arguments of an estimator and weighs its sessions; arguments and errors as for `ncis`."""
    ratios, levels = np.asarray(log_ratio, np.float64), np.asarray(level, np.float64)
    rows, users = np.asarray(session, np.int64), np.asarray(user)
    if not (levels.ndim == ratios.ndim == 1 and ratios.shape == rows.shape == users.shape):
        raise ValueError(
            f"log_ratio {ratios.shape}, session {rows.shape} and user {users.shape} must share a shape [n], "
            f"level {levels.shape} must have shape [num_sessions]"
        )
    if not cap > 0:
        raise ValueError(f"cap must be > 0, got {cap}")
    if not np.isfinite(ratios).all():
        raise ValueError(f"log_ratio must be finite, row {int(np.argmin(np.isfinite(ratios)))} is not")
    length = np.bincount(rows, minlength=len(levels))
    counted = ~np.isnan(levels) & (length > 0)
    if not counted.any():
        raise UnsupportedEstimateError(f"{NOT_SUPPORTED}: no session has a level")
    if weighting == "request":
        log_weight = log_session_weights(ratios, rows, len(levels), cap=cap)
    else:
        log_weight = np.minimum(np.bincount(rows, ratios, len(levels)), np.log(cap))
    user_of_session = np.zeros(len(levels), users.dtype)
    user_of_session[rows] = users
    _, user_index = np.unique(user_of_session[counted], return_inverse=True)
    d2 = max(0.0, -2 * float(ratios.mean()))
    support = Support(
        d2=d2 if weighting == "request" else d2 * float(length[counted].mean()),
        share=effective_sample_size(log_weight[counted]) / int(counted.sum()),
        num_users=int(user_index.max()) + 1,
        mean_ratio=float(np.exp(np.minimum(ratios, LARGEST_LOG)).mean()),
    )
    return CountedSessions(levels[counted], log_weight[counted], user_index, counted, d2, support)


def _bootstrap_of_ratio(
    numerator: Doubles, denominator: Doubles, *, draws: int, seed: int
) -> tuple[float, float, float]:
    """sum(numerator) / sum(denominator) over units [n], and the ends of its percentile interval."""
    n = len(numerator)
    rng = np.random.default_rng(seed)
    sample = np.empty(draws)
    for start in range(0, draws, DRAWS_AT_A_TIME):
        size = min(DRAWS_AT_A_TIME, draws - start)
        units = rng.integers(0, n, (size, n))
        sample[start : start + size] = numerator[units].sum(axis=1) / denominator[units].sum(axis=1)
    low, high = np.quantile(sample, [0.5 - CONFIDENCE / 2, 0.5 + CONFIDENCE / 2])
    return float(numerator.sum() / denominator.sum()), float(low), float(high)
