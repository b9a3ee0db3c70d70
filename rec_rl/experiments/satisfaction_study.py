"""Does a mental reward know what users think of a click afterwards? Real logs with explicit feedback tell.

Clicks train the click models and the mental rewards; likes, follows, comments, long views or stars are kept
from both. Among clicked test rows, each then ranks those that the users were satisfied with: a score that
only knows what gets clicked has no reason to.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rec_rl.data.hashing import content_hash
from rec_rl.data.satisfaction import Label
from rec_rl.evaluation.intervals import Estimate
from rec_rl.evaluation.ranking import auc_statistic, gauc_statistic
from rec_rl.evaluation.ranking_draws import ranking_draws, seed_and_user_interval
from rec_rl.experiments.ctr_study import ClickStudy
from rec_rl.experiments.ctr_table import study_notes
from rec_rl.experiments.ctr_trials import ASKED_SHARE, DRAWS, StudyRuns, load_arrays, run_study
from rec_rl.experiments.records import RunRecord
from rec_rl.progress import Progress

FEWEST_OF_A_CLASS = 20
CONTROL_SCORES = ("shuffled", "constant")
METRICS = {"satisfaction_auc": auc_statistic, "satisfaction_gauc": gauc_statistic}


def run_satisfaction(study: ClickStudy, *, folder: Path, progress: Progress, command: str) -> RunRecord:
    """Runs the study's click models and rewards, and ranks clicked test rows by each.

    Arms of the record are "<label>/<arm>": "ce" and "<reward> model" rank by the click probability of plain
    and aligned models, "<reward>" by the reward's own difference r(click) - r(skip), "anchored + feedback" by
    that of the anchored reward after a share of the clicked training rows was asked. ``<metric>_gain`` is
    over "ce". Controls are rewards dealt to the rows at random and a constant.
    """
    started = time.monotonic()
    runs = run_study(study, folder, progress)
    notes = study_notes(study, runs)
    if "anchored" in study.reward_arms:
        notes.append(
            f"anchored + feedback: calibrated on the label of {ASKED_SHARE:.0%} of the clicked training rows"
        )
    arms: dict[str, dict[str, Estimate]] = {}
    controls: dict[str, dict[str, Estimate]] = {}
    for label in map(Label.parse, study.labels):
        judged = [_judged_rows(study, runs, seed, label) for seed in study.seeds]
        satisfied = [int(rows.satisfied.sum()) for rows in judged]
        found = f"{label}: {min(satisfied):,} of {len(judged[0].users):,} clicked test rows are satisfied"
        left = min(len(rows.users) - count for rows, count in zip(judged, satisfied, strict=True))
        if min(*satisfied, left) < FEWEST_OF_A_CLASS:
            notes.append(f"{found}: too few of a class to rank.")
            continue
        notes.append(f"{found}.")
        estimates = _estimates(judged)
        for arm, row in estimates.items():
            (controls if arm in CONTROL_SCORES else arms)[f"{label}/{arm}"] = row
        rewards = [arm for arm in estimates if arm != "ce" and arm not in CONTROL_SCORES]
        notes += [_verdict(label, arm, estimates[arm]) for arm in rewards if not arm.endswith(" model")]
    return RunRecord(
        command=command,
        seeds=list(study.seeds),
        data_hash=content_hash(np.array(runs.data_hashes)),
        config=study.settings(),
        arms=arms,
        controls=controls,
        seconds=time.monotonic() - started,
        notes=notes,
    )


@dataclass(frozen=True, kw_only=True)
class JudgedRows:
    """Clicked test rows of one seed on which something was said.

    Attributes:
        num_users: Of the data set.
        users: Who clicked, shape [n].
        satisfied: Whether it satisfied, shape [n].
        scores: Of every arm, shape [n] each.
    """

    num_users: int
    users: NDArray[np.int32]
    satisfied: NDArray[np.bool_]
    scores: Mapping[str, NDArray[np.float32]]


def _judged_rows(study: ClickStudy, runs: StudyRuns, seed: int, label: Label) -> JudgedRows:
    log, data = study.dataset(seed)
    (model,) = study.models
    answers = label.answers(log, data.test.sources)
    judged = (data.test.clicks == 1) & ~np.isnan(answers)
    scores = {"ce": load_arrays(runs.arms[model, seed, "ce"]["path"])["test"]}
    for arm in study.reward_arms:
        of_reward = load_arrays(runs.rewards[study.body_of(model), seed, arm]["path"])
        scores[arm] = of_reward["test"]
        if f"test {label}" in of_reward:
            scores[f"{arm} + feedback"] = of_reward[f"test {label}"]
        scores[f"{arm} model"] = load_arrays(runs.arms[model, seed, arm]["path"])["test"]
    scores["shuffled"] = np.random.default_rng(seed).permutation(scores[study.control_reward])
    scores["constant"] = np.zeros(len(data.test), np.float32)
    return JudgedRows(
        num_users=data.num_users,
        users=data.test.users[judged],
        satisfied=answers[judged] == 1,
        scores={arm: values[judged] for arm, values in scores.items()},
    )


def _estimates(judged: Sequence[JudgedRows]) -> dict[str, dict[str, Estimate]]:
    """Every arm's metrics and gains; without a GAUC where no user has clicked rows of both kinds."""
    metrics = dict(METRICS)
    if not all(np.isin(r.users[r.satisfied], r.users[~r.satisfied]).any() for r in judged):
        del metrics["satisfaction_gauc"]
    estimates: dict[str, dict[str, Estimate]] = {}
    plain: dict[str, NDArray[np.float64]] = {}
    for arm in judged[0].scores:  # ce is the first
        per_seed = [
            ranking_draws(
                rows.satisfied,
                rows.scores[arm],
                rows.users,
                num_users=rows.num_users,
                draws=DRAWS,
                metrics=metrics,
            )
            for rows in judged
        ]
        draws = {metric: np.array([row[metric] for row in per_seed]) for metric in metrics}
        plain = plain or draws
        estimates[arm] = {metric: seed_and_user_interval(values) for metric, values in draws.items()}
        if arm != "ce":
            gains = {f"{metric}_gain": values - plain[metric] for metric, values in draws.items()}
            estimates[arm] |= {name: seed_and_user_interval(values) for name, values in gains.items()}
    return estimates


def _verdict(label: Label, arm: str, estimates: Mapping[str, Estimate]) -> str:
    gain, own = estimates["satisfaction_auc_gain"], estimates["satisfaction_auc"]
    if gain.high < 0:
        text = "does not help: among clicked rows it ranks satisfaction worse than the click model does"
    elif gain.low <= 0:
        text = "is not shown to rank satisfaction among clicked rows better or worse than the click model"
    elif own.low <= 0.5:
        text = "ranks satisfaction among clicked rows better than the click model, but not better than chance"
    else:
        text = "ranks satisfaction among clicked rows better than the click model does"
    interval = f"{gain.value:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}]"
    return f"{label}: the reward {arm} {text} ({interval})."
