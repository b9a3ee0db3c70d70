"""What a session log can carry: who is in it, are its propensities right, which estimates it supports."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from rec_rl.data.behaviour import GaussianBehaviour, fit_behaviour
from rec_rl.data.levels import TASKS, TOP_LEVEL, Task, session_levels
from rec_rl.data.sessions import SessionLog
from rec_rl.evaluation.intervals import Estimate
from rec_rl.evaluation.off_policy import CAUTION, NOT_SUPPORTED, SUPPORTED, Doubt, ncis, with_doubts

QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9, 0.99)
RADII = tuple(float(radius) for radius in np.arange(0.1, 3.05, 0.1))
CALIBRATED = "calibrated"
MOST_SESSIONS = 0.5
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
        kurtosis: Of the dimension's noise that is farthest from 3, the normal's.
        explained: Share of the noise's variance that a linear function of the state explains, adjusted.
        quantiles: Of the noise at NOISE_LEVELS, for a plot against the normal's.
    """

    estimated: bool
    bias: float
    spread: tuple[float, float]
    coverage: float
    kurtosis: float
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
        if not 2.5 <= self.kurtosis <= 3.5:
            wrong.append(f"kurtosis {self.kurtosis:.1f} instead of 3")
        if self.explained > 0.02:
            wrong.append(f"the state explains {self.explained:.1%} of the noise")
        return f"not calibrated: {', '.join(wrong)}" if wrong else CALIBRATED


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
        overlap: NCIS of the mixture for a policy that steps by each radius, in units of the noise, in one
            random direction.
        supported_radius: Largest of these radii whose NCIS is SUPPORTED; 0 if none.
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
    overlap: Mapping[float, Estimate]
    supported_radius: float
    usable_radius: float
    statements: tuple[str, ...]

    def sentences(self) -> list[str]:
        """The audit in words."""
        per_user = self.num_sessions / self.num_users
        excluded = [f"{count:,}: {reason}" for reason, count in self.exclusions.items()]
        return [
            f"{self.num_users:,} users, {self.num_sessions:,} sessions ({per_user:.1f} a user), "
            f"{self.num_requests:,} requests.",
            f"{self.num_one_session_users:,} users have one session, which is censored.",
            f"Requests of a session: {_quantiles(self.depth_quantiles, '.0f')}.",
            f"Hours until the return: {_quantiles(self.gap_quantiles, '.3g')}.",
            f"Sessions without a level: {'; '.join(excluded)}.",
            *self.statements,
        ]


def calibrate(log: SessionLog, behaviour: GaussianBehaviour) -> Calibration:
    """Checks a behaviour against the actions of its log."""
    noise = behaviour.noise(log.actions)
    spread = noise.std(axis=0)
    residual = fit_behaviour(log.states, noise).scale
    kurtosis = np.asarray(stats.kurtosis(noise, axis=0, fisher=False))
    unexplained = float(np.mean((residual / spread) ** 2))
    freedom = (len(log) - 1) / max(len(log) - log.states.shape[1] - 1, 1)
    return Calibration(
        estimated=behaviour.estimated,
        bias=float(np.abs(noise.mean(axis=0)).max()),
        spread=(float(spread.min()), float(spread.max())),
        coverage=float((np.abs(noise) < stats.norm.ppf(0.975)).mean()),
        kurtosis=float(kurtosis[np.argmax(np.abs(kurtosis - 3))]),
        explained=max(0.0, 1 - unexplained * freedom),
        quantiles=np.quantile(noise, NOISE_LEVELS),
    )


def log_doubts(log: SessionLog, calibration: Calibration) -> dict[Task, list[Doubt]]:
    """What is against every estimate from a log, whatever the policy, by task.

    A behaviour that is not calibrated makes every ratio doubtful. Where most sessions are a single request,
    depth hardly varies, so nothing can be claimed about it, and little about the mixture that holds it.
    """
    doubts: dict[Task, list[Doubt]] = {task: [] for task in TASKS}
    if calibration.verdict != CALIBRATED:
        for reasons in doubts.values():
            reasons.append(Doubt(CAUTION, f"behaviour {calibration.verdict}"))
    single = float((log.depths == 1).mean())
    if single > MOST_SESSIONS:
        reason = f"{single:.0%} of sessions are a single request"
        doubts["depth"].append(Doubt(NOT_SUPPORTED, reason))
        doubts["mixture"].append(Doubt(CAUTION, reason))
    return doubts


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
    doubts = log_doubts(log, calibration)
    overlap = _overlap(log, behaviour, levels.mixture, doubts["mixture"], seed)
    supported = max((r for r, e in overlap.items() if e.verdict == SUPPORTED), default=0.0)
    usable = max((r for r, e in overlap.items() if not str(e.verdict).startswith(NOT_SUPPORTED)), default=0.0)
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
        overlap=overlap,
        supported_radius=supported,
        usable_radius=usable,
        statements=_statements(calibration, doubts, supported, usable),
    )


def _overlap(
    log: SessionLog,
    behaviour: GaussianBehaviour,
    level: NDArray[np.float64],
    doubts: list[Doubt],
    seed: int,
) -> dict[float, Estimate]:
    direction = np.random.default_rng(seed).standard_normal(log.actions.shape[1])
    along = behaviour.noise(log.actions) @ (direction / np.linalg.norm(direction))
    session, user = log.session_index, log.user_index
    estimates = {r: ncis(r * along - r * r / 2, session, user, level, draws=1) for r in RADII}
    return {radius: with_doubts(estimate, doubts) for radius, estimate in estimates.items()}


def _level_shares(level: NDArray[np.float64]) -> tuple[float, ...]:
    counts = np.bincount(level[~np.isnan(level)].astype(np.int64), minlength=TOP_LEVEL + 1)
    return tuple((counts / max(counts.sum(), 1)).tolist())


def _statements(
    calibration: Calibration, doubts: dict[Task, list[Doubt]], supported: float, usable: float
) -> tuple[str, ...]:
    source = "fitted to the log" if calibration.estimated else "recorded by the serving layer"
    statements = [f"Behaviour {source}: {calibration.verdict}."]
    if supported > 0:
        statements.append(
            f"NCIS, SNIPS and doubly robust estimates are {SUPPORTED} for policies up to {supported:.1f} "
            f"sigma from the logger (D2 {supported**2:.1f}), and usable with {CAUTION} up to {usable:.1f}."
        )
    else:
        statements.append(
            f"No policy's estimate is {SUPPORTED}. NCIS, SNIPS and doubly robust estimates are usable with "
            f"{CAUTION} up to {usable:.1f} sigma from the logger (D2 {usable**2:.1f})."
        )
    statements.append(
        "They order policies. The level that a policy reaches online, no estimate from this log promises."
    )
    refused = {task: doubt.reason for task in TASKS for doubt in doubts[task] if doubt.word == NOT_SUPPORTED}
    statements += [f"Nothing can be claimed about {task} here: {why}." for task, why in refused.items()]
    if calibration.estimated and calibration.verdict != CALIBRATED:
        statements.append(
            "Record the serving layer's mean and scale: a fitted behaviour that is off biases ratios."
        )
    return tuple(statements)


def _quantiles(values: tuple[float, ...], form: str) -> str:
    pairs = zip(QUANTILES, values, strict=True)
    return ", ".join(f"{value:{form}} at {share:.0%}" for share, value in pairs)
