"""The satisfaction anchor on the click world: what a little explicit feedback adds to clicks.

Clicks cannot tell truth A from truth B, in which the lure of a bait is felt before the click and regretted
after it; a few answers can. Some clicked rows, drawn at random, say whether the click was satisfying. One
anchored reward is fitted on behaviour, calibrated on each share of answers, and aligns a click model; all
is measured on users who were in none of it. Larger shares hold the answers of smaller ones.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envs.click_world import TRUTHS, ClickWorld
from rec_rl.data.hashing import content_hash
from rec_rl.data.transitions import UserTransitions
from rec_rl.evaluation.intervals import mean_interval
from rec_rl.experiments.click_world_seed import (
    Metrics,
    OnProgress,
    Progress,
    RunSize,
    click_metrics,
    click_scores,
    held_out_rows,
    normalised,
)
from rec_rl.rewards import AnchoredConfig, MentalRewardModel, fit_mental_reward
from rec_rl.rewards.mental_reward import calibrate_mental_reward

SHARES = (0.0, 0.005, 0.01, 0.02, 0.05, 0.1)
QUICK = RunSize(num_users=400, steps=20, head_steps=10, click_steps=10)

BAR_SHARE, BAR_TRUTH_B, BAR_TRUTH_A = 0.02, 0.03, 0.0
METRIC_OF_TRUTH = {"A": "satisfaction_auc", "B": "satisfaction_auc_truth_b"}


def run_curve(
    *, seeds: Sequence[int] = (1, 2, 3), quick: bool = False, on_progress: OnProgress | None = None
) -> dict[str, Any]:
    """The learning curve over the share of clicked rows with feedback.

    Args:
        seeds: One population, split, draw of answers and set of weights each; intervals are over them.
        quick: A small run that shows the form of the curve.
        on_progress: Called as on_progress(done, total, what) after every gradient step.

    Returns:
        "arms" ({name: {"metrics": {metric: Estimate}}}; a share's name is ``arm_name``'s, "ce" is plain),
        "controls" (alike: "oracle" is aligned with the true reward), "missed" ([{"bar", "value", "reason"}])
        and "data_hash". Metrics of truth B, whose names end in truth_b, are of the click model whose answers
        came from truth B.
    """
    if len(seeds) == 0:
        raise ValueError("seeds must hold at least one seed")
    size = QUICK if quick else RunSize()
    num_click_models = 1 + len(TRUTHS) * (len(SHARES) + 1)
    steps = size.steps + size.head_steps + num_click_models * size.click_steps
    progress = Progress(on_progress, total=len(seeds) * steps)
    runs = [_run_seed(seed, size, progress) for seed in seeds]
    arms = {
        arm: {
            "metrics": {
                name: mean_interval([metrics[arm][name] for metrics, _ in runs], seeds=True) for name in row
            }
        }
        for arm, row in runs[0][0].items()
    }
    at_bar = arms[arm_name(BAR_SHARE)]["metrics"]
    missed = []
    for truth, bar in (("A", BAR_TRUTH_A), ("B", BAR_TRUTH_B)):
        name = f"{METRIC_OF_TRUTH[truth]}_gain"
        if at_bar[name].value < bar:
            reason = "a quick run" if quick else "outside the bar on these seeds"
            bar_text = f"{arm_name(BAR_SHARE)}.{name} >= {bar:g}"
            missed.append({"bar": bar_text, "value": at_bar[name].value, "reason": reason})
    return {
        "controls": {"oracle": arms.pop("oracle")},
        "arms": arms,
        "missed": missed,
        "data_hash": content_hash(np.array([data_hash for _, data_hash in runs])),
    }


def arm_name(share: float) -> str:
    """Such as "feedback 0.5 %"."""
    return f"feedback {100 * share:g} %"


def _run_seed(seed: int, size: RunSize, progress: Progress) -> tuple[Metrics, str]:
    """The metrics of every arm, and the content hash of the log."""
    world = ClickWorld()
    log = world.simulate(size.num_users, seed=seed)
    is_test = held_out_rows(log, seed)
    train, test = log.transitions.rows(~is_test), log.transitions.rows(is_test)
    model = fit_mental_reward(
        train,
        AnchoredConfig(steps=size.steps, head_steps=size.head_steps),
        seed=seed,
        on_step=lambda *_: progress.step("reward anchored"),
    )
    score = partial(click_scores, train, test=test, steps=size.click_steps, seed=seed)
    plain = score(np.zeros(len(train), np.float32), on_step=partial(progress.step, "click ce"))
    metrics: Metrics = {}
    for truth in TRUTHS:
        satisfied = world.simulate(size.num_users, seed=seed, truth=truth).rewards[~is_test] > 0
        rewards = {arm_name(share): _calibrated(model, train, satisfied, share, seed) for share in SHARES}
        rewards["oracle"] = world.mean_reward(truth)[log.states[~is_test]].astype(np.float32)
        scores = {"ce": plain} | {
            arm: score(normalised(values), on_step=partial(progress.step, f"click {arm}, truth {truth}"))
            for arm, values in rewards.items()
        }
        measured = click_metrics(scores, world, test, log.states[is_test], np.random.default_rng(seed))
        for arm, row in measured.items():
            metrics[arm] = metrics.get(arm, {}) | _of_truth(row, truth)
    return metrics, log.transitions.content_hash


def _calibrated(
    model: MentalRewardModel,
    train: UserTransitions,
    satisfied: NDArray[np.bool_],
    share: float,
    seed: int,
) -> NDArray[np.float32]:
    """Rewards of the training rows after a share of the clicked ones said whether they satisfied, [n, 2]."""
    answers = (train.actions == 1) & (np.random.default_rng([seed, 1]).random(len(train)) < share)
    if answers.any():
        feedback = np.where(answers, satisfied, np.nan).astype(np.float32)
        model = calibrate_mental_reward(model, replace(train, feedback=feedback))
    return model.reward(train.states)


def _of_truth(row: dict[str, float], truth: str) -> dict[str, float]:
    """Click AUC and satisfaction AUC under one truth, with their gains."""
    satisfaction = METRIC_OF_TRUTH[truth]
    click = "auc" if truth == "A" else "auc_truth_b"
    names = {satisfaction: satisfaction, f"{satisfaction}_gain": f"{satisfaction}_gain"}
    names |= {"auc": click, "auc_gain": f"{click}_gain"}
    return {new: row[old] for old, new in names.items() if old in row}
