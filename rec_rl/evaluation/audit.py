"""What a session log can carry: who is in it, are its propensities right, which estimates it supports."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from rec_rl.data.behaviour import GaussianBehaviour, fit_behaviour
from rec_rl.data.levels import TASKS, TOP_LEVEL, Task, session_levels
from rec_rl.data.sessions import SessionLog
from rec_rl.evaluation.off_policy import CAUTION, NOT_SUPPORTED, SUPPORTED, ncis

QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9, 0.99)
RADII = tuple(float(radius) for radius in np.arange(0.1, 3.05, 0.1))
NOISE_LEVELS = np.linspace(0.005, 0.995, 100)


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """How standard normal the noise (action - mean) / scale is, and how independent of the state.

    Attributes:
        estimated: Whether mean and scale were fitted to the log; bias and spread are then right by
        construction.
        bias: Largest |mean| of a dimension's noise.
        spread: Smallest and largest standard deviation of a dimension's noise.
        coverage: Share of the noise within +-1.96; .95 where it is normal.
        explained: Share of the noise's variance that a linear function of the state explains, adjusted.
        quantiles: Of the noise at NOISE_LEVELS, for a plot against the normal's.
    """

    estimated: bool
    bias: float
    spread: tuple[float, float]
    coverage: float
    explained: float
    quantiles: NDArray[np.float64]

    @property
    def verdict(self) -> str:
        """Whether ratios of densities mean what they say, in words."""
        wrong = []
        if self.bias > 0.1:
            wrong.append(f"mean off by {self.bias:.2f} sigma")
        if self.spread[0] < 0.9 or self.spread[1] > 1.1:
            wrong.append(f"deviation {self.spread[0]:.2f} to {self.spread[1]:.2f} sigma")
        if not 0.93 <= self.coverage <= 0.97:
            wrong.append(f"{self.coverage:.1%} within 1.96 sigma")
        if self.explained > 0.02:
            wrong.append(f"the state explains {self.explained:.1%} of the noise")
        return f"not calibrated: {', '.join(wrong)}" if wrong else "calibrated"


@dataclass(frozen=True, kw_only=True)
class LogAudit:
    """A log in numbers and words.

    Attributes:
        num_users, num_sessions, num_requests: In the log.
        num_one_session_users: Users whose only session is censored.
        depth_quantiles, gap_quantiles: At QUANTILES; requests and hours.
        exclusions: Sessions without a level, by reason.
        level_shares: Share of each level, 0 to 5 and rounded down, by task.
        calibration: Of the behaviour.
        supported_radius: Largest step, in units of the noise, whose NCIS is SUPPORTED; 0 if none.
        usable_radius: The same for SUPPORTED or CAUTION.
        statements: What the log can and cannot support.
    """

    num_users: int
    num_sessions: int
    num_requests: int
    num_one_session_users: int
    depth_quantiles: tuple[float, ...]
    gap_quantiles: tuple[float, ...]
    exclusions: Mapping[str, int]
    level_shares: Mapping[Task, tuple[float, ...]]
    calibration: Calibration
    supported_radius: float
    usable_radius: float
    statements: tuple[str, ...]


def calibrate(log: SessionLog, behaviour: GaussianBehaviour) -> Calibration:
    """Checks a behaviour against the actions of its log."""
    noise = behaviour.noise(log.actions)
    spread = noise.std(axis=0)
    residual = fit_behaviour(log.states, noise).scale
    unexplained = float(np.mean((residual / spread) ** 2))
    freedom = (len(log) - 1) / max(len(log) - log.states.shape[1] - 1, 1)
    return Calibration(
        estimated=behaviour.estimated,
        bias=float(np.abs(noise.mean(axis=0)).max()),
        spread=(float(spread.min()), float(spread.max())),
        coverage=float((np.abs(noise) < stats.norm.ppf(0.975)).mean()),
        explained=max(0.0, 1 - unexplained * freedom),
        quantiles=np.quantile(noise, NOISE_LEVELS),
    )


def audit_log(log: SessionLog, *, seed: int = 0) -> LogAudit:
    """Audits a log; its behaviour is fitted where it was not recorded.

    Args:
        log: The log.
        seed: Of the direction in which the overlap is probed.

    Raises:
        DatasetError: If actions do not vary in a given state.
        UnsupportedEstimateError: If no session has a level.
    """
    behaviour = log.behaviour or fit_behaviour(log.states, log.actions).on(log.states)
    levels = session_levels(log)
    calibration = calibrate(log, behaviour)
    verdicts = _verdicts_by_radius(log, behaviour, levels.mixture, seed)
    supported = max((r for r, v in verdicts.items() if v == SUPPORTED), default=0.0)
    usable = max((r for r, v in verdicts.items() if not v.startswith(NOT_SUPPORTED)), default=0.0)
    shares = {task: _level_shares(np.floor(levels.of(task))) for task in TASKS}
    sessions_per_user = np.bincount(log.session_user_index)
    return LogAudit(
        num_users=len(log.user_ids),
        num_sessions=len(log.session_starts),
        num_requests=len(log),
        num_one_session_users=int((sessions_per_user == 1).sum()),
        depth_quantiles=tuple(np.quantile(log.depths, QUANTILES).tolist()),
        gap_quantiles=tuple(np.nanquantile(log.gaps, QUANTILES).tolist()),
        exclusions=levels.exclusions,
        level_shares=shares,
        calibration=calibration,
        supported_radius=supported,
        usable_radius=usable,
        statements=_statements(log, calibration, supported, usable),
    )


def _verdicts_by_radius(
    log: SessionLog, behaviour: GaussianBehaviour, level: NDArray[np.float64], seed: int
) -> dict[float, str]:
    """Verdict of NCIS on a policy that steps by each radius in one random direction."""
    direction = np.random.default_rng(seed).standard_normal(log.actions.shape[1])
    along = behaviour.noise(log.actions) @ (direction / np.linalg.norm(direction))
    session, user = log.session_index, log.user_index
    estimates = {r: ncis(r * along - r * r / 2, session, user, level, draws=1) for r in RADII}
    return {radius: estimate.verdict or NOT_SUPPORTED for radius, estimate in estimates.items()}


def _level_shares(level: NDArray[np.float64]) -> tuple[float, ...]:
    counts = np.bincount(level[~np.isnan(level)].astype(np.int64), minlength=TOP_LEVEL + 1)
    return tuple((counts / max(counts.sum(), 1)).tolist())


def _statements(
    log: SessionLog, calibration: Calibration, supported: float, usable: float
) -> tuple[str, ...]:
    source = "fitted to the log" if calibration.estimated else "recorded by the serving layer"
    statements = [
        f"Behaviour {source}: {calibration.verdict}.",
        f"NCIS, SNIPS and doubly robust estimates are {SUPPORTED} for policies up to {supported:.1f} sigma "
        f"from the logger (D2 {supported**2:.1f}), and usable with {CAUTION} up to {usable:.1f}.",
        "They order policies. The level that a policy reaches online, no estimate from this log promises.",
    ]
    single = float((log.depths == 1).mean())
    if single > 0.5:
        statements.append(
            f"{single:.0%} of sessions are a single request: nothing can be claimed about {TASKS[0]} here."
        )
    if calibration.estimated and calibration.verdict != "calibrated":
        statements.append(
            "Record the serving layer's mean and scale: a fitted behaviour that is off biases ratios."
        )
    return tuple(statements)
