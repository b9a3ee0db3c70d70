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
from rec_rl.evaluation.off_policy import NOT_SUPPORTED, doubly_robust, ncis, snips
from rec_rl.evaluation.session_model import LevelModel, fit_level_model

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

COLLAPSED_D2 = 50.0  # beyond it there is nothing to rank, only to refuse

OnProgress = Callable[[int, int], None]


class _Subject(NamedTuple):
    """What an estimator is given of one policy and task."""

    log: SessionLog
    level: Doubles
    behaviour: GaussianBehaviour
    fitted: GaussianBehaviour
    target_mean: Floats
    advantage: NDArray[np.float32]
    model: LevelModel

    def columns(
        self, behaviour: GaussianBehaviour
    ) -> tuple[Floats, NDArray[np.int64], NDArray[np.int64], Doubles]:
        """log_ratio, session, user, level: the first arguments of every weighted estimator."""
        log_ratio = self.log.log_ratio(self.target_mean, behaviour)
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
    q_logged, q_target = (subject.model.at(actions) for actions in (subject.log.actions, subject.target_mean))
    return doubly_robust(*subject.columns(subject.behaviour), q_logged, q_target)


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
FAST_ESTIMATORS = tuple(name for name in ESTIMATORS if name != "fitted q")


@dataclass(frozen=True, kw_only=True)
class PolicyTruth:
    """One policy: what it earns online and what the log says.

    Attributes:
        name: Of the policy.
        support: NCIS of the mixture, whose d2 and verdict say how far the log supports the policy.
        online: True mean level per task, over users.
        estimates: By estimator, then task.
    """

    name: str
    support: Estimate
    online: Mapping[Task, Estimate]
    estimates: Mapping[str, Mapping[Task, Estimate]]


@dataclass(frozen=True, kw_only=True)
class TruthStudy:
    """All policies, and how well each estimator orders them.

    Attributes:
        policies: One per policy.
        spearman: Rank correlation with the online level over the policies that have not collapsed, by
            estimator, then task.
        believed_spearman: The same over those policies whose NCIS is not refused.
    """

    policies: tuple[PolicyTruth, ...]
    spearman: Mapping[str, Mapping[Task, float]]
    believed_spearman: Mapping[str, Mapping[Task, float]]


def truth_study(
    *,
    num_users: int = 8000,
    num_requests: int = 240,
    seed: int = 0,
    policies: Mapping[str, Policy] = POLICIES,
    estimators: tuple[str, ...] = FAST_ESTIMATORS,
    on_progress: OnProgress | None = None,
) -> TruthStudy:
    """Records one log, serves every policy online to the same users, and estimates every policy from the log.

    Args:
        num_users, num_requests, seed: Of the world and its log; policies are served in one other life. With
            3000 users the differences in frequency are within NCIS's noise.
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
    models = {task: fit_level_model(log, levels.of(task), behaviour) for task in TASKS}
    results = []
    for done, (name, policy) in enumerate(policies.items(), start=1):
        online = online_levels(world, policy, averages, num_requests, seed=seed + 1)
        subjects = {
            task: _Subject(
                log, levels.of(task), behaviour, fitted, means[name], advantages[task], models[task]
            )
            for task in TASKS
        }
        estimates = {
            kind: {task: ESTIMATORS[kind](subject) for task, subject in subjects.items()}
            for kind in estimators
        }
        truth = {task: mean_interval(earned[~np.isnan(earned)]) for task, earned in online.items()}
        support = _ncis(subjects["mixture"])
        results.append(PolicyTruth(name=name, support=support, online=truth, estimates=estimates))
        if on_progress is not None:
            on_progress(done, len(policies))
    ranked = [result for result in results if (result.support.d2 or 0) <= COLLAPSED_D2]
    believed = [result for result in ranked if not str(result.support.verdict).startswith(NOT_SUPPORTED)]
    return TruthStudy(
        policies=tuple(results),
        spearman=_rank_correlations(ranked, estimators),
        believed_spearman=_rank_correlations(believed, estimators),
    )


def _rank_correlations(
    results: list[PolicyTruth], estimators: tuple[str, ...]
) -> dict[str, dict[Task, float]]:
    def correlation(kind: str, task: Task) -> float:
        online = [result.online[task].value for result in results]
        estimated = [result.estimates[kind][task].value for result in results]
        return float(stats.spearmanr(online, estimated).statistic)

    return {kind: {task: correlation(kind, task) for task in TASKS} for kind in estimators}
