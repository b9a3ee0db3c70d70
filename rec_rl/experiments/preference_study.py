"""Rewards learned from preferences in the session world, by how pairs are labelled (PrefRec Fig. 6, 7)."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from envs.session_rollouts import record_log
from envs.session_world import SessionWorld
from rec_rl.data.hashing import content_hash
from rec_rl.data.levels import session_levels
from rec_rl.data.preferences import TEACHERS, LocatedPairs, Teacher, locate_pairs, scripted_preferences
from rec_rl.data.sessions import RequestReward, SessionLog
from rec_rl.evaluation.intervals import Estimate, mean_interval
from rec_rl.experiments.records import RunRecord, to_plain
from rec_rl.experiments.runner import Event, run_trials
from rec_rl.experiments.telling import telling
from rec_rl.progress import Progress
from rec_rl.rewards.bradley_terry import BradleyTerryConfig, fit_bradley_terry
from rec_rl.rewards.linear_reward import fit_linear_reward
from rec_rl.rewards.preference_check import HARMFUL_BELOW, check_preference_reward

FIRST_WORLD = 100
NETWORK, LINEAR = "network", "linear"
SHUFFLED = "shuffled labels"

BARS: dict[tuple[str, str], tuple[float, float]] = {
    (f"request, {NETWORK}", "pair_accuracy"): (0.70, 0.75),
    (f"request, {NETWORK}", "within_user_correlation"): (0.4, 1.0),
    (f"mean, {LINEAR}", "within_user_correlation"): (0.4, 1.0),
    (f"session, {NETWORK}", "harmful"): (1.0, 1.0),
    (f"session, {LINEAR}", "harmful"): (1.0, 1.0),
}


@dataclass(frozen=True, kw_only=True)
class StudySize:
    """Size of one world's fits.

    Attributes:
        num_users: Of the world; a third of them are not trained on.
        num_pairs: Pairs that each teacher labels.
        hidden_sizes: Of the network.
    """

    num_users: int = 1_500
    num_pairs: int = 4_000
    hidden_sizes: tuple[int, ...] = (128, 128, 128)


QUICK = StudySize(num_users=120, num_pairs=700, hidden_sizes=(16,))


def run_study(
    *, num_seeds: int, quick: bool, folder: Path, progress: Progress, command: str
) -> tuple[RunRecord, dict[str, list[dict[str, Any]]]]:
    """Runs what is not in ``folder`` yet.

    Args:
        num_seeds: Worlds, each with a log, a split of its users and weights of its own.
        quick: The form of the study; its numbers miss the bars.
        folder: Keeps finished trials.
        progress: Where progress is shown.
        command: For the record.

    Returns:
        The record, and the training curves of each teacher's network, world by world.
    """
    started = time.monotonic()
    size = QUICK if quick else StudySize()
    seeds = [FIRST_WORLD + i for i in range(num_seeds)]
    specs = {
        f"{teacher} labels, world {seed}": {"teacher": teacher, "seed": seed, "size": asdict(size)}
        for seed in seeds
        for teacher in TEACHERS
    }

    results = run_trials(study_trial, specs, store=folder / "trials", progress=progress)
    by_teacher = {t: [results[f"{t} labels, world {seed}"] for seed in seeds] for t in TEACHERS}
    arms = {
        f"{teacher}, {form}": _metrics([run["arms"][form] for run in runs])
        for teacher, runs in by_teacher.items()
        for form in (NETWORK, LINEAR)
    }
    shuffled = [run["arms"][SHUFFLED] for run in by_teacher["request"]]
    record = RunRecord(
        command=command,
        seeds=seeds,
        data_hash=content_hash(np.array([run["data_hash"] for run in by_teacher["request"]])),
        config={"quick": quick, **asdict(size)},
        arms=arms,
        controls={f"{SHUFFLED}, {LINEAR}": _metrics(shuffled)},
        missed=_missed(arms, quick),
        seconds=time.monotonic() - started,
        notes=[
            "Pair accuracy is over the labels of the arm's own teacher. However right its pairs, a reward is "
            "harmful if its correlation with the levels of a user's own sessions is below "
            f"{HARMFUL_BELOW:g}.",
        ],
    )
    return record, {f"{t} labels": [run["curves"] for run in runs] for t, runs in by_teacher.items()}


def study_trial(spec: Mapping[str, Any]) -> Iterator[Event]:
    """Fits one teacher's rewards in one world.

    Args:
        spec: {"teacher", "seed", "size": values of a StudySize}.
    """
    import torch

    torch.set_num_threads(1)
    teacher, seed, size = spec["teacher"], spec["seed"], StudySize(**spec["size"])
    config = BradleyTerryConfig(hidden_sizes=tuple(size.hidden_sizes), batch_size=64)

    def work(tell: Callable[[Event], None]) -> dict[str, Any]:
        log = record_log(SessionWorld(size.num_users, seed), 240).log
        train, test = log.split(1 / 3, seed=seed)
        pairs = _labelled(train, teacher, size.num_pairs, seed)
        network = fit_bradley_terry(
            train,
            pairs,
            config,
            seed=seed,
            on_step=lambda step, total, _: tell({"step": step, "total": total}),
        )
        dealt = np.random.default_rng(seed).permutation(pairs.label)
        rewards: dict[str, RequestReward] = {
            NETWORK: network,
            LINEAR: fit_linear_reward(train, pairs),
            SHUFFLED: fit_linear_reward(train, replace(pairs, label=dealt)),
        }
        level, unseen = session_levels(test).mixture, _labelled(test, teacher, size.num_pairs // 2, seed + 1)
        checks = {name: check_preference_reward(r, test, unseen, level) for name, r in rewards.items()}
        return {
            "data_hash": log.content_hash,
            "curves": to_plain({"accuracy": network.record.accuracy, "loss": network.record.loss}),
            "arms": {
                name: {
                    "pair_accuracy": check.accuracy,
                    "within_user_correlation": check.within_user_correlation,
                    "harmful": float(check.harmful),
                }
                for name, check in checks.items()
            },
        }

    yield from telling(work)


def _labelled(log: SessionLog, teacher: Teacher, num_pairs: int, seed: int) -> LocatedPairs:
    level = session_levels(log).mixture
    return locate_pairs(
        scripted_preferences(log, level, teacher=teacher, num_pairs=num_pairs, seed=seed), log
    )


def _metrics(runs: list[dict[str, float]]) -> dict[str, Estimate]:
    return {name: mean_interval([run[name] for run in runs], seeds=True) for name in runs[0]}


def _missed(arms: Mapping[str, Mapping[str, Estimate]], quick: bool) -> list[dict[str, Any]]:
    missed = []
    for (arm, metric), (low, high) in BARS.items():
        value = arms[arm][metric].value
        if not low <= value <= high:
            bar = f"{arm}: {metric} in [{low:g}, {high:g}]"
            missed.append({"bar": bar, "value": value, "reason": "a quick run" if quick else "measured so"})
    return missed
