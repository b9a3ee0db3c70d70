"""Click models with and without mental rewards on a log: the form of MTRec's Table 1.

Each arm is compared with plain cross-entropy of the same backbone on the same test rows. A reward that helps
must beat its controls too: the same rewards shuffled, a constant one, and the difference of Q.
"""

import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rec_rl.data.hashing import content_hash
from rec_rl.evaluation.intervals import Estimate
from rec_rl.evaluation.ranking import METRICS
from rec_rl.evaluation.ranking_draws import seed_and_user_interval
from rec_rl.experiments.ctr_study import CONTROLS, ClickStudy
from rec_rl.experiments.ctr_trials import StudyRuns, run_study
from rec_rl.experiments.records import RunRecord
from rec_rl.progress import Progress

QUICK_MODELS = ("deepfm", "din", "dcn")
ALL = "all backbones"

ArmDraws = Mapping[str, NDArray[np.float64]]
"""Draws of every metric by seed, shape [num_seeds, 1 + draws]."""


def run_table(study: ClickStudy, *, folder: Path, progress: Progress, command: str) -> RunRecord:
    """Runs the study, or what ``folder`` lacks of it, and compares its arms.

    Arms of the record are "<backbone>/<arm>"; ``<metric>_gain`` is the arm's minus that of "<backbone>/ce".
    Its metrics are the gains' means over the backbones, "<arm>.<metric>_gain".
    """
    started = time.monotonic()
    runs = run_study(study, folder, progress)
    draws = {
        (model, arm): {
            metric: np.array([runs.arms[model, seed, arm]["draws"][metric] for seed in study.seeds], float)
            for metric in METRICS
        }
        for model in study.models
        for arm in study.arms
    }
    estimates = {key: _estimates(draws[key], draws[key[0], "ce"], key[1]) for key in draws}
    metrics = {
        f"{arm}.{name}_gain": seed_and_user_interval(
            np.mean([draws[model, arm][name] - draws[model, "ce"][name] for model in study.models], axis=0)
        )
        for arm in study.arms
        if arm != "ce"
        for name in METRICS
    }
    seconds = {
        "rewards": sum(run["cpu_seconds"] for run in runs.rewards.values()),
        "click models": sum(run["cpu_seconds"] for run in runs.arms.values()),
    }
    rows = sum(run["rows"] for run in runs.arms.values())
    return RunRecord(
        command=command,
        seeds=list(study.seeds),
        data_hash=content_hash(np.array(runs.data_hashes)),
        config={
            **study.settings(),
            "splits": list(runs.data_hashes),
            "cpu_seconds": seconds,
            "rows_per_cpu_second": rows / seconds["click models"],
            "rewards": {
                f"{body}/{arm} seed {seed}": {key: run[key] for key in ("log_likelihood", "clipped")}
                for (body, seed, arm), run in runs.rewards.items()
            },
        },
        metrics=metrics,
        arms={f"{model}/{arm}": row for (model, arm), row in estimates.items() if arm not in CONTROLS},
        controls={f"{model}/{arm}": row for (model, arm), row in estimates.items() if arm in CONTROLS},
        seconds=time.monotonic() - started,
        notes=study_notes(study, runs) + verdicts(study, metrics),
    )


def study_notes(study: ClickStudy, runs: StudyRuns) -> list[str]:
    """How the intervals and rewards came about, and what the log cannot say."""
    body = "each click model's own backbone" if study.reward_body == "own" else study.reward_body
    notes = [
        "Intervals: Student's t over seeds, each with its own weights and, where negatives are sampled, its "
        "own split; in quadrature with a bootstrap over users that all arms share, which alone remains with "
        "one seed.",
        f"Rewards are fitted on {body}"
        + (" (MTRec A.3)." if study.reward_body == "own" else ", once a seed."),
        *runs.notes,
    ]
    for (name, seed, arm), run in runs.rewards.items():
        if run["clipped"] > 0.5:
            notes.append(
                f"The reward of {arm} on {name}, seed {seed}, hardly depends on the state: "
                f"{run['clipped']:.0%} of its differences are clipped, and its arm is little but a placebo."
            )
    said = dict.fromkeys(text for run in runs.rewards.values() for text in run["assumptions"])
    return notes + list(said)


def verdicts(study: ClickStudy, metrics: Mapping[str, Estimate]) -> list[str]:
    """One sentence per reward: what it does to AUC, and whether a control does the same."""
    controls = [arm for arm in study.arms if arm in CONTROLS]
    sentences = []
    for arm in study.reward_arms:
        gain = metrics[f"{arm}.auc_gain"]
        if gain.low > 0:
            same = [c for c in controls if metrics[f"{c}.auc_gain"].high >= gain.low]
            text = f"raises AUC, but {', '.join(same)} may do as much" if same else "raises AUC"
        elif gain.high < 0:
            text = "lowers AUC"
        else:
            text = "shows no effect on AUC"
        sentences.append(f"{arm} {text} over {ALL}: {gain.value:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}].")
    return sentences


def _estimates(draws: ArmDraws, plain: ArmDraws, arm: str) -> dict[str, Estimate]:
    values = {name: seed_and_user_interval(rows) for name, rows in draws.items()}
    if arm == "ce":
        return values
    return values | {
        f"{name}_gain": seed_and_user_interval(rows - plain[name]) for name, rows in draws.items()
    }
