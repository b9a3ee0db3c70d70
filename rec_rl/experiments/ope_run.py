"""What a log says about a policy that it did not follow: every trusted estimate with its verdict."""

import math
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rec_rl.algorithms.session_policy import policy_means
from rec_rl.data.behaviour import fit_behaviour
from rec_rl.data.levels import TASKS, Task, mean_level_of_users, session_levels
from rec_rl.data.session_files import load_log
from rec_rl.data.sessions import SessionLog
from rec_rl.evaluation.audit import calibrate, log_doubts
from rec_rl.evaluation.estimators import ESTIMATORS, TRUSTED, Evidence
from rec_rl.evaluation.intervals import Estimate, mean_interval
from rec_rl.evaluation.off_policy import NOT_SUPPORTED, cap_sweep, with_doubts
from rec_rl.experiments.records import RunRecord

LOGGER = "logging policy"

NOTES = (
    "ncis, snips and doubly robust are of the one-request value: one request of a session is the policy's, "
    "the rest the logger's. They order policies; the level that following a policy reaches is further off.",
    "advantage is of the level when the policy serves for good, in the states that the logger brought about.",
    "A policy that was fitted to this log looks better on it than it is: judge it on users it did not see.",
)


def estimate_policy(
    log_path: Path, policy_path: Path, *, force: bool, seed: int, command: str
) -> tuple[RunRecord, bool]:
    """Judges a saved policy on a log.

    Args:
        log_path: A session log.
        policy_path: As `policy_means` takes it.
        force: Keep the numbers of estimates that the log does not support.
        seed: Of the bootstraps.
        command: For the record.

    Returns:
        The record, in which a refused estimate has a verdict and no number unless ``force``; and whether the
        default estimate (ncis) of any task is supported, if only with caution.
    """
    started = time.monotonic()
    log = load_log(log_path)
    record = judge(log, policy_means(policy_path, log), force=force, seed=seed)
    names = {"log": str(log_path), "policy": str(policy_path), "force": force}
    supported = any(not refused(record.metrics[f"ncis_{task}"]) for task in TASKS)
    record = replace(
        record,
        command=command,
        config=names | record.config,
        seconds=time.monotonic() - started,
    )
    return record, supported


def judge(log: SessionLog, target_mean: NDArray[np.float32], *, force: bool, seed: int = 0) -> RunRecord:
    """Every trusted estimate of every task, the sweep of NCIS over caps, and the logger's own level.

    Args:
        log: The requests.
        target_mean: The policy's mean at each request, shape [n, A].
        force, seed: As for `estimate_policy`.

    Raises:
        DatasetError: If the behaviour was not recorded and cannot be fitted.
        UnsupportedEstimateError: If no session has a level.
    """
    behaviour = log.behaviour or fit_behaviour(log.states, log.actions).on(log.states)
    calibration = calibrate(log, behaviour)
    doubts = log_doubts(log, calibration)
    evidence = Evidence(log=log, levels=session_levels(log), behaviour=behaviour)

    def judged(estimate: Estimate, task: Task) -> Estimate:
        estimate = with_doubts(estimate, doubts[task])
        return estimate if force or not refused(estimate) else _without_number(estimate)

    arms: dict[str, dict[str, Estimate]] = {
        kind: {task: judged(ESTIMATORS[kind](evidence, target_mean, task), task) for task in TASKS}
        for kind in TRUSTED
    }
    sweeps = {task: cap_sweep(*evidence.columns(target_mean, task), seed=seed) for task in TASKS}
    for cap in sweeps["mixture"]:
        arms[f"ncis, cap {cap:g}"] = {task: judged(sweeps[task][cap], task) for task in TASKS}
    means = {task: mean_level_of_users(log, evidence.levels.of(task)) for task in TASKS}
    logger: dict[str, Estimate] = {task: mean_interval(mean[~np.isnan(mean)]) for task, mean in means.items()}
    return RunRecord(
        command="",
        seeds=[seed],
        data_hash=log.content_hash,
        config={
            "behaviour": "fitted" if calibration.estimated else "recorded",
            "calibration": calibration.verdict,
            "exclusions": dict(evidence.levels.exclusions),
        },
        metrics={f"ncis_{task}": arms["ncis"][task] for task in TASKS},
        arms=arms,
        controls={LOGGER: logger},
        notes=list(NOTES),
    )


def refused(estimate: Estimate) -> bool:
    """Whether the verdict is NOT SUPPORTED."""
    return str(estimate.verdict).startswith(NOT_SUPPORTED)


def _without_number(estimate: Estimate) -> Estimate:
    return replace(estimate, value=math.nan, low=math.nan, high=math.nan)
