"""Every off-policy estimator under one signature: what a log holds about a task, and a policy's means."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from rec_rl.data.behaviour import GaussianBehaviour, fit_behaviour
from rec_rl.data.levels import TASKS, SessionLevels, Task
from rec_rl.data.sessions import SessionLog
from rec_rl.evaluation.advantage_value import advantage_value, session_advantages
from rec_rl.evaluation.fitted_q import fitted_q_evaluation
from rec_rl.evaluation.intervals import Estimate
from rec_rl.evaluation.off_policy import doubly_robust, ncis, snips
from rec_rl.evaluation.session_model import LevelModel, fit_level_model

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What a log holds, whatever the policy; the costly parts are made when first needed.

    Attributes:
        log: The requests.
        levels: Of its sessions.
        behaviour: Known or fitted.
    """

    log: SessionLog
    levels: SessionLevels
    behaviour: GaussianBehaviour

    @cached_property
    def fitted_behaviour(self) -> GaussianBehaviour:
        """The behaviour as if it had not been recorded."""
        return fit_behaviour(self.log.states, self.log.actions).on(self.log.states)

    @cached_property
    def advantages(self) -> Mapping[Task, Floats]:
        """What each request brings in all that follows, shape [n] each."""
        return {task: session_advantages(self.log, self.levels.of(task)) for task in TASKS}

    @cached_property
    def models(self) -> Mapping[Task, LevelModel]:
        """Of the level that a request's session reaches."""
        return {task: fit_level_model(self.log, self.levels.of(task), self.behaviour) for task in TASKS}

    def columns(
        self, target_mean: Floats, task: Task, behaviour: GaussianBehaviour | None = None
    ) -> tuple[Floats, NDArray[np.int64], NDArray[np.int64], Doubles]:
        """log_ratio, session, user, level: the first arguments of every weighted estimator."""
        log_ratio = self.log.log_ratio(target_mean, behaviour or self.behaviour)
        return log_ratio, self.log.session_index, self.log.user_index, self.levels.of(task)


Estimator = Callable[[Evidence, Floats, Task], Estimate]
"""Takes the evidence and the policy's means [n, A]; the policy is served with the behaviour's noise."""


def _ncis(evidence: Evidence, target_mean: Floats, task: Task) -> Estimate:
    return ncis(*evidence.columns(target_mean, task))


def _ncis_fitted_behaviour(evidence: Evidence, target_mean: Floats, task: Task) -> Estimate:
    return ncis(*evidence.columns(target_mean, task, evidence.fitted_behaviour))


def _session_product(evidence: Evidence, target_mean: Floats, task: Task) -> Estimate:
    return ncis(*evidence.columns(target_mean, task), weighting="session_product")


def _density_product(evidence: Evidence, target_mean: Floats, task: Task) -> Estimate:
    policy = GaussianBehaviour(mean=target_mean, scale=evidence.behaviour.scale)
    _, *columns = evidence.columns(target_mean, task)
    return ncis(policy.log_density(evidence.log.actions), *columns, weighting="density_product")


def _snips(evidence: Evidence, target_mean: Floats, task: Task) -> Estimate:
    return snips(*evidence.columns(target_mean, task))


def _doubly_robust(evidence: Evidence, target_mean: Floats, task: Task) -> Estimate:
    q_logged, q_target = (
        evidence.models[task].at(actions) for actions in (evidence.log.actions, target_mean)
    )
    return doubly_robust(*evidence.columns(target_mean, task), q_logged, q_target)


def _advantage_value(evidence: Evidence, target_mean: Floats, task: Task) -> Estimate:
    return advantage_value(*evidence.columns(target_mean, task), evidence.advantages[task])


def _fitted_q(evidence: Evidence, target_mean: Floats, task: Task) -> Estimate:
    return fitted_q_evaluation(evidence.log, evidence.levels.of(task), evidence.behaviour, target_mean)


ESTIMATORS: Mapping[str, Estimator] = {
    "ncis": _ncis,
    "ncis, behaviour fitted": _ncis_fitted_behaviour,
    "ncis, session product": _session_product,
    "ncis, density product": _density_product,
    "snips": _snips,
    "doubly robust": _doubly_robust,
    "advantage": _advantage_value,
    "fitted q": _fitted_q,
}

TRUSTED = ("ncis", "snips", "doubly robust", "advantage")
"""Those that say what they estimate and hold to it; the others are there to be compared with."""
