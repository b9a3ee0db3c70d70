"""Off-policy estimates against the truth of the session world: do they order policies as they should?"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy import stats

from envs.session_rollouts import Policy, logging_policy, online_levels, oracle, record_log
from envs.session_world import SessionWorld
from rec_rl.data.levels import TASKS, Task, session_levels, user_averages
from rec_rl.errors import check_name
from rec_rl.evaluation.estimators import ESTIMATORS, Evidence
from rec_rl.evaluation.intervals import Estimate, mean_interval
from rec_rl.evaluation.off_policy import NOT_SUPPORTED

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
        data_hash: Of the log.
        policies: One per policy.
        spearman: Rank correlation with the online level over the policies that have not collapsed, by
            estimator, then task.
        believed_spearman: The same over those policies whose NCIS is not refused.
    """

    data_hash: str
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
    behaviour = log.behaviour
    assert behaviour is not None
    evidence = Evidence(log=log, levels=session_levels(log, averages), behaviour=behaviour)
    results = []
    for done, (name, policy) in enumerate(policies.items(), start=1):
        online = online_levels(world, policy, averages, num_requests, seed=seed + 1)
        estimates = {
            kind: {task: ESTIMATORS[kind](evidence, means[name], task) for task in TASKS}
            for kind in estimators
        }
        truth = {task: mean_interval(earned[~np.isnan(earned)]) for task, earned in online.items()}
        support = ESTIMATORS["ncis"](evidence, means[name], "mixture")
        results.append(PolicyTruth(name=name, support=support, online=truth, estimates=estimates))
        if on_progress is not None:
            on_progress(done, len(policies))
    ranked = [result for result in results if (result.support.d2 or 0) <= COLLAPSED_D2]
    believed = [result for result in ranked if not str(result.support.verdict).startswith(NOT_SUPPORTED)]
    return TruthStudy(
        data_hash=log.content_hash,
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
