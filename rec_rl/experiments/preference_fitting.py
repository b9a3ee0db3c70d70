"""Fits a reward to preferences over a session log, and judges it on users that it was not fitted on."""

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rec_rl.data.labels import load_answers, preferences_of
from rec_rl.data.levels import TASKS, Task, session_levels
from rec_rl.data.preferences import (
    TEACHERS,
    LocatedPairs,
    PreferencePairs,
    Teacher,
    locate_pairs,
)
from rec_rl.data.session_files import load_log
from rec_rl.data.sessions import SessionLog
from rec_rl.errors import ConfigError, check_name
from rec_rl.evaluation.intervals import Estimate, bootstrap_interval, mean_interval
from rec_rl.experiments.records import RunRecord, read_record
from rec_rl.experiments.session_data import labelled_pairs
from rec_rl.experiments.unfinished_fit import unfinished_fit
from rec_rl.labelling.annotators import judge_annotators
from rec_rl.progress import progress
from rec_rl.rewards.bradley_terry import KIND, BradleyTerryConfig, BradleyTerryReward, fit_bradley_terry
from rec_rl.rewards.preference_check import (
    HARMFUL_BELOW,
    PreferenceCheck,
    check_preference_reward,
    correlation_of,
)

HELD_OUT = 0.25
"""Share of users that the reward is judged on."""


@dataclass(frozen=True, kw_only=True)
class PreferenceSpec:
    """What a reward is fitted to.

    Attributes:
        log: Parquet file of a session log.
        task: Whose levels the scripted teacher scores by, and the check compares with.
        teacher: Of scripted labels.
        pairs: File of labelled pairs, used instead of the scripted teacher.
        labels: File of people's answers on the labelling page, learned from beside the other pairs.
        num_pairs: Pairs that the teacher labels, >= 1.
        segment_length: Requests of a segment that the teacher labels, >= 1.
        seed: Of the split of users, the pairs and the network.
    """

    log: str
    task: Task = "mixture"
    teacher: Teacher = "mean"
    pairs: str | None = None
    labels: str | None = None
    num_pairs: int = 20_000
    segment_length: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        check_name("task", self.task, TASKS)
        check_name("teacher", self.teacher, TEACHERS)
        for name in ("num_pairs", "segment_length"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be >= 1, got {getattr(self, name)}")


def fit_preference_reward(
    spec: PreferenceSpec, out: Path, *, config: BradleyTerryConfig, resume: bool, command: str
) -> dict[str, Any]:
    """Fits the reward on three quarters of the users and leaves it in ``out`` with its record.

    Raises:
        ConfigError, CheckpointError: As `unfinished_fit`.
        DatasetError: If the log, or the pairs in it, cannot be read.
    """
    started = time.monotonic()
    log = load_log(spec.log)
    train, _ = log.split(HELD_OUT, seed=spec.seed)
    people, said = people_said(spec.labels, log)
    pairs = _pairs(spec, train, people, spec.seed)
    with unfinished_fit(out, KIND, spec, resume=resume) as folder, progress() as shown:
        reward = fit_bradley_terry(
            train,
            pairs,
            config,
            seed=spec.seed,
            on_step=lambda step, total, now: shown.update(
                "fit preference", step, total, f"accuracy {now['accuracy']:.2f}"
            ),
            checkpoints=folder,
        )
        reward.save(out)
        last = max(1, len(reward.record.loss) // 3)
        record = RunRecord(
            command=command,
            seeds=[spec.seed],
            data_hash=log.content_hash,
            config={"spec": asdict(spec), "settings": asdict(config)},
            metrics={
                "last_epoch_loss": mean_interval(reward.record.loss[-last:]),
                "last_epoch_accuracy": mean_interval(np.nan_to_num(reward.record.accuracy[-last:], nan=0.5)),
            },
            seconds=time.monotonic() - started,
            notes=[
                f"fitted to {len(pairs):,} pairs of {len(train.user_ids):,} users; {pairs.num_missing:,} "
                "pairs are not in their log and were left out",
                *said,
                "accuracy on pairs is no evidence: run rec-rl reward check",
            ],
        )
        record.save(out / "record.json")
    return record.to_dict()


def check_preferences(
    folder: Path, data: Path | None, *, seed: int, command: str
) -> tuple[dict[str, Any], list[str], bool]:
    """Judges a fitted preference reward.

    Args:
        folder: What `fit_preference_reward` left.
        data: Another session log; by default the users of its own log that it was not fitted on.
        seed: Of the pairs and the bootstrap.
        command: For the record.

    Returns:
        The record, the findings and the verdict in sentences, and whether it passed.
    """
    started = time.monotonic()
    reward = BradleyTerryReward.load(folder)
    fitted = read_record(folder / "record.json")
    spec = PreferenceSpec(**fitted["config"]["spec"])
    log = load_log(data or spec.log)
    people = None
    if log.content_hash == fitted["data_hash"]:
        people, _ = people_said(spec.labels, log)
        _, log = log.split(HELD_OUT, seed=spec.seed)
    check = check_preference_reward(
        reward, log, _pairs(spec, log, people, seed + 1), session_levels(log).of(spec.task)
    )
    metrics = check_metrics(check, seed=seed)
    accuracy, correlation = metrics["pair_accuracy"], metrics["within_user_correlation"]
    sentences = [
        f"pair accuracy on users not trained on: {accuracy} over {accuracy.n:,} pairs (chance is .5)",
        f"within-user correlation of a session's mean reward with its level: {correlation} over "
        f"{correlation.n:,} users (wanted >= {HARMFUL_BELOW:g})",
        check.verdict,
    ]
    record = RunRecord(
        command=command,
        seeds=[seed],
        data_hash=log.content_hash,
        config={"reward": str(folder), "spec": asdict(spec)},
        metrics=metrics,
        seconds=time.monotonic() - started,
        notes=[check.verdict],
    )
    return record.to_dict(), sentences, not check.harmful


def check_metrics(check: PreferenceCheck, *, seed: int) -> dict[str, Estimate]:
    """A check's figures with intervals over pairs and over users."""
    rng = np.random.default_rng(seed)
    return {
        "pair_accuracy": mean_interval(check.right.astype(np.float64)),
        "within_user_correlation": bootstrap_interval(
            lambda users: correlation_of(check.moments[users]), len(check.moments), rng
        ),
    }


def people_said(labels: str | None, log: SessionLog) -> tuple[PreferencePairs | None, list[str]]:
    """People's answers as pairs, and what is to be said of them; those of flagged annotators are left out.

    Args:
        labels: File of the labelling page; None for none.
        log: That they are of.

    Raises:
        DatasetError: If the file is of another log, or no answer is left.
    """
    if labels is None:
        return None, []
    pairs, answers = load_answers(Path(labels), log_hash=log.content_hash)
    annotators = judge_annotators(answers)
    flagged = {annotator.name for annotator in annotators if annotator.at_random}
    people = preferences_of(pairs, [answer for answer in answers if answer.annotator not in flagged])
    said = [f"{len(people):,} pairs were labelled by people", *map(str, annotators)]
    if flagged:
        said.append(f"what {', '.join(sorted(flagged))} answered was left out")
    return people, said


def _pairs(spec: PreferenceSpec, log: SessionLog, people: PreferencePairs | None, seed: int) -> LocatedPairs:
    labelled = labelled_pairs(
        log,
        spec.pairs,
        task=spec.task,
        teacher=spec.teacher,
        num_pairs=spec.num_pairs,
        segment_length=spec.segment_length,
        seed=seed,
    )
    return locate_pairs(labelled if people is None else people.followed_by(labelled), log)
