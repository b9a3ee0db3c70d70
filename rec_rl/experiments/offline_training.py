"""Trains an algorithm on a session log, watches what the log says of its policy, and judges it."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from envs.session_rollouts import Policy, logging_policy, on_states, online_levels
from rec_rl.algorithms.noise_advantage import NoiseAdvantageConfig, fit_noise_advantage
from rec_rl.algorithms.session_policy import RUN_POLICY
from rec_rl.checkpoint import CHECKPOINTS, keep_checkpoint, restore_last
from rec_rl.data.behaviour import fit_behaviour
from rec_rl.data.levels import TASKS, TOP_LEVEL, SessionLevels, Task, session_levels, user_averages
from rec_rl.data.sessions import SessionLog
from rec_rl.errors import check_kinds, check_name
from rec_rl.evaluation.intervals import Estimate
from rec_rl.evaluation.off_policy import NOT_SUPPORTED, ncis
from rec_rl.experiments.records import to_plain
from rec_rl.experiments.runner import Event
from rec_rl.experiments.session_data import (
    WORLD,
    SessionData,
    logs_of,
    offline_data,
    preference_pairs,
    test_world,
)
from rec_rl.experiments.training import rebuilding
from rec_rl.rewards.preference_check import check_preference_reward

if TYPE_CHECKING:
    from rec_rl.algorithms.offline import OfflineAlgorithm, OfflineConfig

Floats = NDArray[np.float32]
Means = Callable[[NDArray[Any]], Floats]
"""A policy on states, [n, S] to mean actions [n, A]."""

LOGGING, CLOSED_FORM = "logging", "noise_advantage"
NOT_TRAINED = (LOGGING, CLOSED_FORM)
"""Policies that are compared but take no gradient step."""
FIRST_LIFE = 2_000_000
"""Lives in which policies are judged have seeds from here on."""


@dataclass(frozen=True, kw_only=True)
class OfflineSpec:
    """One training run on a session log.

    Attributes:
        algorithm: Name in `rec_rl.algorithms.catalogue.OFFLINE_ALGORITHMS`, or one of NOT_TRAINED.
        settings: Training settings of its Config.
        data: What it learns from.
        steps: Gradient steps, never exceeded.
        evaluations: Evaluations on the way, on validation users.
        seed: Of weights and minibatches.
        num_learners, num_gpus_per_learner: As RLlib means them; zero learns in this process.
    """

    algorithm: str
    data: SessionData
    settings: Mapping[str, Any] = field(default_factory=dict)
    steps: int = 1000
    evaluations: int = 10
    seed: int = 0
    num_learners: int = 0
    num_gpus_per_learner: float = 0

    @classmethod
    def from_plain(cls, values: Mapping[str, Any]) -> "OfflineSpec":
        """The inverse of `dataclasses.asdict`."""
        return cls(**{**values, "data": SessionData.from_plain(values["data"])})


def check_settings(spec: OfflineSpec) -> None:
    """Raises ConfigError if a name is unknown or a setting is out of its bound."""
    if spec.algorithm == CLOSED_FORM:
        _closed_form_config(spec)
    elif spec.algorithm != LOGGING:
        _settings(spec).validate()


def _closed_form_config(spec: OfflineSpec) -> NoiseAdvantageConfig:
    known = [setting.name for setting in fields(NoiseAdvantageConfig)]
    for name in spec.settings:
        check_name(f"setting of {CLOSED_FORM}", name, known)
    check_kinds(spec.settings, NoiseAdvantageConfig)
    return NoiseAdvantageConfig(**spec.settings)


def _settings(spec: OfflineSpec) -> "OfflineConfig":
    from rec_rl.algorithms.catalogue import OFFLINE_ALGORITHMS

    config = OFFLINE_ALGORITHMS[check_name("algorithm", spec.algorithm, OFFLINE_ALGORITHMS)]()
    check_kinds(spec.settings, config)
    config.training(**spec.settings)
    config.learners(num_learners=spec.num_learners, num_gpus_per_learner=spec.num_gpus_per_learner)
    config.debugging(seed=spec.seed)
    return config


def train_offline(
    spec: OfflineSpec, folder: Path | None = None, *, evaluate_online: bool = False
) -> Iterator[Event]:
    """Trains for ``spec.steps`` gradient steps and judges the last policy on the test users.

    Args:
        spec: The run.
        folder: Of the run: keeps a checkpoint at every evaluation, from the last of which training goes on,
            and at the end the policy. None keeps nothing.
        evaluate_online: Whether evaluations also serve the world's test users, in another life than the last
            judgement's: for sweeps, on seeds that nothing else is judged on.

    Yields:
        {"step", "total"} after each iteration, and the figures of evaluations. The last event's "result"
        holds "curve", "steps", "seconds"
        and what `judge` says.
    """
    started = time.monotonic()
    if spec.algorithm in NOT_TRAINED:
        events = _judge_untrained(spec, folder)
    else:
        checkpoints = None if folder is None else folder / CHECKPOINTS
        go_on = partial(_train, spec, folder, evaluate_online)
        config = _settings(spec).learn_from(partial(offline_data, spec.data))
        events = rebuilding(config.build_algo, go_on, checkpoints, spec.steps)
    for event in events:
        if "result" in event:
            event["result"]["seconds"] = time.monotonic() - started
        yield event


def _train(
    spec: OfflineSpec, folder: Path | None, evaluate_online: bool, algorithm: "OfflineAlgorithm"
) -> Iterator[Event]:
    from rec_rl.algorithms.offline_policy import OfflinePolicy

    validation = logs_of(spec.data).validation
    levels = session_levels(validation)
    checkpoints = None if folder is None else folder / CHECKPOINTS
    for note in restore_last(algorithm.load_checkpoint, checkpoints):
        yield {"step": algorithm.gradient_steps, "total": spec.steps, "note": note}
    curve = algorithm.diary
    while algorithm.gradient_steps + algorithm.config.steps_per_iteration <= spec.steps:
        algorithm.train()
        event: Event = {"step": algorithm.gradient_steps, "total": spec.steps}
        if algorithm.gradient_steps * spec.evaluations >= spec.steps * (len(curve) + 1):
            policy = OfflinePolicy.of(algorithm)
            figures = _figures(log_estimates(validation, levels, policy(validation.states)))
            if evaluate_online:
                earned = online_values(spec.data, on_states(policy), logs_of(spec.data).test, life=1)
                figures |= {str(task): value for task, value in earned.items()}
            curve.append({"step": algorithm.gradient_steps, **figures})
            keep_checkpoint(algorithm.save_checkpoint, checkpoints, algorithm.gradient_steps)
            event |= curve[-1]
        yield event
    policy = OfflinePolicy.of(algorithm)
    if folder is not None:
        policy.save(folder / RUN_POLICY)
    result = {"curve": curve, "steps": algorithm.gradient_steps, **judge(spec.data, policy)}
    yield {"step": spec.steps, "total": spec.steps, "result": result}


def _judge_untrained(spec: OfflineSpec, folder: Path | None) -> Iterator[Event]:
    policy = None
    if spec.algorithm == CLOSED_FORM:
        data = offline_data(spec.data)
        assert data.reward is not None
        policy = fit_noise_advantage(data.log, data.reward, _closed_form_config(spec), seed=spec.seed)
    if policy is not None and folder is not None:
        policy.save(folder / RUN_POLICY)
    result = {"curve": [], "steps": 0, **judge(spec.data, policy)}
    yield {"step": spec.steps, "total": spec.steps, "result": result}


def judge(data: SessionData, policy: Means | None, *, life: int = 0) -> dict[str, Any]:
    """What the test users' log says of a policy and, in the world, what it truly earns from them.

    Args:
        data: Of the run.
        policy: On states; None is the logging policy.
        life: Which of the test users' lives the policy serves; those compared share one.

    Returns:
        "ncis" by task, and in the world "online" by task: the mean level of a session over users.
    """
    test = logs_of(data).test
    behaviour = test.behaviour or fit_behaviour(test.states, test.actions).on(test.states)
    means = behaviour.mean if policy is None else policy(test.states)
    found: dict[str, Any] = {"ncis": to_plain(log_estimates(test, session_levels(test), means))}
    if data.env == WORLD:
        serve = logging_policy if policy is None else on_states(policy)
        found["online"] = online_values(data, serve, test, life)
    return found


def online_values(data: SessionData, policy: Policy, test: SessionLog, life: int) -> dict[Task, float]:
    """Mean level of a session in a life of the test users that was not logged, by task."""
    earned = online_levels(
        test_world(data),
        policy,
        user_averages(test),
        data.num_requests,
        seed=FIRST_LIFE + 1000 * data.seed + life,
    )
    return {task: float(np.nanmean(values)) for task, values in earned.items()}


def log_estimates(log: SessionLog, levels: SessionLevels, means: Floats) -> dict[Task, Estimate]:
    """NCIS of a policy's means [n, A] by task, with verdict and D2."""
    behaviour = log.behaviour or fit_behaviour(log.states, log.actions).on(log.states)
    columns = log.log_ratio(means, behaviour), log.session_index, log.user_index
    return {task: ncis(*columns, levels.of(task)) for task in TASKS}


def _figures(found: Mapping[Task, Estimate]) -> dict[str, float]:
    """NCIS by task, D2, and whether the log supports the estimates (1 or 0), as a point of a curve."""
    support = next(iter(found.values()))
    supported = not (support.verdict or "").startswith(NOT_SUPPORTED)
    values = {f"ncis_{task}": estimate.value for task, estimate in found.items()}
    return values | {"d2": support.d2 or 0.0, "supported": float(supported)}


def offline_trial(spec: Mapping[str, Any]) -> Iterator[Event]:
    """`train_offline` for `rec_rl.experiments.runner.run_trials`: plain values in."""
    import torch

    torch.set_num_threads(1)
    yield from train_offline(OfflineSpec.from_plain(spec))


def reward_trial(spec: Mapping[str, Any]) -> Iterator[Event]:
    """Fits a run's reward where later runs find it, and checks it on the validation users.

    Args:
        spec: A `SessionData` with a network for a reward and a reward_folder, as plain values.
    """
    import torch

    torch.set_num_threads(1)
    data = SessionData.from_plain(spec)
    reward, held_out = offline_data(data).reward, logs_of(data).validation
    assert callable(reward)
    levels = session_levels(held_out)
    check = check_preference_reward(reward, held_out, preference_pairs(data, held_out), levels.of(data.task))
    result = {
        "accuracy": check.accuracy,
        "within_user_correlation": check.within_user_correlation,
        "verdict": check.verdict,
        "data_hash": logs_of(data).train.content_hash,
        "level_shares": {task: level_shares(levels.of(task)) for task in LEVELS_OF_SESSIONS},
    }
    yield {"result": result}


LEVELS_OF_SESSIONS: tuple[Task, ...] = ("depth", "frequency")


def level_shares(level: NDArray[np.float64]) -> list[float]:
    """Share of the counted sessions at each level from 0 to TOP_LEVEL; ``level`` is NaN where not counted."""
    counted = level[~np.isnan(level)].astype(np.int64)
    shares: list[float] = (np.bincount(counted, minlength=TOP_LEVEL + 1) / max(1, len(counted))).tolist()
    return shares
