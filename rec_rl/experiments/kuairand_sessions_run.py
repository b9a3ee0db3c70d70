"""The whole session pipeline on KuaiRand's real exposures, with verdicts: what such a log can carry.

Convert, audit, learn rewards from preferences, fit the supported policy, and judge it on users that none of
this saw, beside a policy that steps as far in a random direction. Mean depth is 1.2 there and no propensity
was recorded, so nothing is claimed about depth, and every verdict is at best CAUTION where the fitted
behaviour is not calibrated. The policy learns from the reward of whole sessions; the reward of requests,
which users' short histories hardly support, is only put through its check.
"""

import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rec_rl.algorithms.noise_advantage import NoiseAdvantageConfig, NoiseAdvantagePolicy, fit_noise_advantage
from rec_rl.data.kuairand_sessions import convert_kuairand
from rec_rl.data.levels import TASKS, session_levels
from rec_rl.data.preferences import LocatedPairs, locate_pairs, scripted_preferences
from rec_rl.data.sessions import SessionLog
from rec_rl.evaluation.audit import audit_log
from rec_rl.evaluation.intervals import Estimate
from rec_rl.experiments.ope_run import LOGGER, judge
from rec_rl.experiments.preference_fitting import check_metrics
from rec_rl.experiments.records import RunRecord
from rec_rl.rewards.linear_reward import fit_linear_reward
from rec_rl.rewards.preference_check import check_preference_reward
from rec_rl.rewards.session_reward import fit_session_reward

HELD_OUT = 0.3
SEGMENT = 10
"""Requests of a segment; the mean user has nine in all."""
OURS, RANDOM = "noise_advantage", "random step of the same length"
SHOWN = ("ncis", "advantage")


def run_pipeline(folder: Path, *, seed: int, command: str) -> RunRecord:
    """Runs every step on a folder of KuaiRand files.

    Args:
        folder: As `convert_kuairand` takes it.
        seed: Of the item vectors, the split of users, the pairs, the folds and the random step.
        command: For the record.

    Raises:
        DatasetError: If a file is missing or corrupt.
    """
    started = time.monotonic()
    log = convert_kuairand(folder, seed=seed)
    audit = audit_log(log, seed=seed)
    train, test = log.split(HELD_OUT, seed=seed)
    pairs = _labelled(train, seed)
    of_requests, of_sessions = fit_linear_reward(train, pairs), fit_session_reward(train, pairs)
    unseen = _labelled(test, seed + 1)
    check = check_preference_reward(of_requests, test, unseen, session_levels(test).mixture)
    policy = fit_noise_advantage(train, of_sessions.of_requests(train), NoiseAdvantageConfig(), seed=seed)
    ours = judge(test, policy(test.states), force=False, seed=seed)
    random = judge(test, _random_step(policy, test, seed), force=False, seed=seed)
    return RunRecord(
        command=command,
        seeds=[seed],
        data_hash=log.content_hash,
        config={
            "users": audit.num_users,
            "sessions": audit.num_sessions,
            "requests": audit.num_requests,
            "pairs": len(pairs),
            "segment": SEGMENT,
            "session_reward": of_sessions,
            "radius": policy.radius,
            "effective_share": policy.effective_share,
            **ours.config,
        },
        metrics=check_metrics(check, seed=seed),
        arms={OURS: _row(ours)},
        controls={RANDOM: _row(random), LOGGER: {f"ncis_{t}": ours.controls[LOGGER][t] for t in TASKS}},
        seconds=time.monotonic() - started,
        notes=[
            *audit.sentences(),
            f"The reward of requests: {check.verdict}.",
            *_verdicts(ours),
            *ours.notes[:2],
        ],
    )


def _labelled(log: SessionLog, seed: int) -> LocatedPairs:
    labelled = scripted_preferences(
        log,
        session_levels(log).mixture,
        teacher="mean",
        segment_length=SEGMENT,
        min_requests=2 * SEGMENT,
        seed=seed,
    )
    return locate_pairs(labelled, log)


def _random_step(policy: NoiseAdvantagePolicy, log: SessionLog, seed: int) -> NDArray[np.float32]:
    """Means of the policy with its steps, in units of the noise, turned by one random rotation."""
    mean, scale = policy.behaviour.mean(log.states), policy.behaviour.scale
    rng = np.random.default_rng(seed)
    rotation, _ = np.linalg.qr(rng.standard_normal((len(scale), len(scale))))
    turned = (policy(log.states) - mean) / scale @ rotation * scale
    return np.asarray(mean + turned, dtype=np.float32)


def _row(record: RunRecord) -> dict[str, Estimate]:
    return {f"{kind}_{task}": record.arms[kind][task] for kind in SHOWN for task in TASKS}


def _verdicts(record: RunRecord) -> list[str]:
    found: dict[str, Any] = {task: record.arms["ncis"][task].verdict for task in TASKS}
    return [f"{OURS} on {task}: {verdict}." for task, verdict in found.items()]
