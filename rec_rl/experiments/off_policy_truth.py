"""Off-policy estimates against the truth of the session world: do they order policies as they should?"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from envs.session_rollouts import Policy, logging_policy, online_levels, oracle, record_log
from envs.session_world import Floats, SessionWorld
from rec_rl.data.behaviour import GaussianBehaviour, fit_behaviour
from rec_rl.data.levels import TASKS, Task, session_levels, user_averages
from rec_rl.data.sessions import SessionLog
from rec_rl.errors import check_name
from rec_rl.evaluation.advantage_value import advantage_value, session_advantages
from rec_rl.evaluation.fitted_q import fitted_q_evaluation
from rec_rl.evaluation.intervals import Estimate, mean_interval
from rec_rl.evaluation.off_policy import doubly_robust, ncis, snips
from rec_rl.evaluation.session_model import predict_levels

Doubles = NDArray[np.float64]

_PARTS = (
    "taste", "taste+click", "taste+calm", "diverse", "diverse+calm", "click", "calm", "profile",
    "profile+calm", "anti", "neutral",
)  # fmt: skip
POLICIES: Mapping[str, Policy] = {
    "logging": logging_policy,
    **{f"{p} {share:g}": oracle(*p.split("+"), share=share) for p in _PARTS for share in (0.25, 0.5, 1.0)},
    "diverse+calm 2": oracle("diverse", "calm", share=2.0),  # D2 about 80
}

OnProgress = Callable[[int, int], None]


class _Subject(NamedTuple):
    """What an estimator is given of one policy and task."""

    log: SessionLog
    level: Doubles
    behaviour: GaussianBehaviour
    fitted: GaussianBehaviour
    target_mean: Floats
    advantage: NDArray[np.float32]

    def columns(
        self, behaviour: GaussianBehaviour
    ) -> tuple[Floats, NDArray[np.int64], NDArray[np.int64], Doubles]:
        """log_ratio, session, user, level: the first arguments of every weighted estimator."""
        log_ratio = behaviour.log_ratio(self.log.actions, self.target_mean)
        return log_ratio, self.log.session_index, self.log.user_index, self.level


def _ncis(subject: _Subject) -> Estimate:
    return ncis(*subject.columns(subject.behaviour))


def _ncis_fitted_behaviour(subject: _Subject) -> Estimate:
    return ncis(*subject.columns(subject.fitted))


def _session_product(subject: _Subject) -> Estimate:
    return ncis(*subject.columns(subject.behaviour), weighting="session_product")


def _density_product(subject: _Subject) -> Estimate:
    policy = GaussianBehaviour(mean=subject.target_mean, scale=subject.behaviour.scale)
    _, *columns = subject.columns(subject.behaviour)
    return ncis(policy.log_density(subject.log.actions), *columns, weighting="density_product")


def _snips(subject: _Subject) -> Estimate:
    return snips(*subject.columns(subject.behaviour))


def _doubly_robust(subject: _Subject) -> Estimate:
    predicted = predict_levels(subject.log, subject.level, subject.behaviour, subject.target_mean)
    return doubly_robust(*subject.columns(subject.behaviour), predicted.logged, predicted.target)


def _advantage_value(subject: _Subject) -> Estimate:
    return advantage_value(*subject.columns(subject.behaviour), subject.advantage)


def _fitted_q(subject: _Subject) -> Estimate:
    return fitted_q_evaluation(subject.log, subject.level, subject.behaviour, subject.target_mean)


ESTIMATORS: Mapping[str, Callable[[_Subject], Estimate]] = {
    "ncis": _ncis,
    "ncis, behaviour fitted": _ncis_fitted_behaviour,
    "ncis, session product": _session_product,
    "ncis, density product": _density_product,
    "snips": _snips,
    "doubly robust": _doubly_robust,
    "advantage": _advantage_value,
    "fitted q": _fitted_q,
}
FAST_ESTIMATORS = tuple(name for name in ESTIMATORS if name not in ("doubly robust", "fitted q"))


@dataclass(frozen=True, kw_only=True)
class PolicyTruth:
    """One policy: what it earns online and what the log says.

    Attributes:
        name: Of the policy.
        online: True mean level per task, over users.
        estimates: By estimator, then task.
    """

    name: str
    online: Mapping[Task, Estimate]
    estimates: Mapping[str, Mapping[Task, Estimate]]


@dataclass(frozen=True, kw_only=True)
class TruthStudy:
    """All policies, and how well each estimator orders them.

    Attributes:
        policies: One per policy.
        spearman: Rank correlation with the online level over all policies but those of NOT SUPPORTED at twice
            every bound, by estimator, then task.
    """

    policies: tuple[PolicyTruth, ...]
    spearman: Mapping[str, Mapping[Task, float]]


def truth_study(
    *,
    num_users: int = 3000,
    num_requests: int = 240,
    seed: int = 0,
    policies: Mapping[str, Policy] = POLICIES,
    estimators: tuple[str, ...] = FAST_ESTIMATORS,
    on_progress: OnProgress | None = None,
) -> TruthStudy:
    """Records one log, serves every policy online to the same users, and estimates every policy from the log.

    Args:
        num_users, num_requests, seed: Of the world and its log; policies are served in one other life.
        policies: By name.
        estimators: Names in ESTIMATORS.
        on_progress: Called as on_progress(policies done, policies).
    """
    for name in estimators:
        check_name("estimator", name, ESTIMATORS)
    world = SessionWorld(num_users, seed)
    log, means = record_log(world, num_requests, shadows=policies)
    averages = user_averages(log)
    levels = session_levels(log, averages)
    behaviour = log.behaviour
    assert behaviour is not None
    fitted = fit_behaviour(log.states, log.actions).on(log.states)
    advantages = {task: session_advantages(log, levels.of(task)) for task in TASKS}
    results = []
    for done, (name, policy) in enumerate(policies.items(), start=1):
        online = online_levels(world, policy, averages, num_requests, seed=seed + 1)
        subjects = {
            task: _Subject(log, levels.of(task), behaviour, fitted, means[name], advantages[task])
            for task in TASKS
        }
        estimates = {
            kind: {task: ESTIMATORS[kind](subject) for task, subject in subjects.items()}
            for kind in estimators
        }
        truth = {task: mean_interval(earned[~np.isnan(earned)]) for task, earned in online.items()}
        results.append(PolicyTruth(name=name, online=truth, estimates=estimates))
        if on_progress is not None:
            on_progress(done, len(policies))
    spearman = {kind: {task: _rank_correlation(results, kind, task) for task in TASKS} for kind in estimators}
    return TruthStudy(policies=tuple(results), spearman=spearman)


def _rank_correlation(results: list[PolicyTruth], kind: str, task: Task) -> float:
    online = [result.online[task].value for result in results]
    estimated = [result.estimates[kind][task].value for result in results]
    return float(stats.spearmanr(online, estimated).statistic)
