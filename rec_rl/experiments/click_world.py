"""The click-world table: what each mental reward recovers of a known truth, and what alignment makes of it.

MTRec has no such table: its data sets hold no truth. The bands say what a right implementation reaches; those
of truth B are a limit of learning from clicks, shown rather than hidden.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from rec_rl.data.hashing import content_hash
from rec_rl.evaluation.intervals import Estimate, mean_interval
from rec_rl.experiments.click_world_seed import CONTROLS, OnProgress, Progress, RunSize, run_seed
from rec_rl.rewards import REWARD_METHODS

QUICK = RunSize(num_users=1000, steps=40, head_steps=20, click_steps=20)

BANDS: dict[tuple[str, str], tuple[float, float]] = {
    ("best_possible", "log_likelihood"): (-0.562, -0.554),
    ("click_logit", "difference_correlation"): (0.930, 0.950),
    ("iq_learn", "log_likelihood"): (-0.576, -0.568),
    ("iq_learn", "reward_correlation"): (0.49, 0.56),
    ("iq_learn", "difference_correlation"): (0.940, 0.960),
    ("iq_learn", "difference_rmse"): (0.60, 0.68),
    ("iq_learn", "bait_gap"): (-np.inf, 0.10),
    ("iq_learn", "level_gauge"): (-0.005, 0.005),
    ("iq_learn", "coverage_error"): (0.0, 0.02),
    ("qr_iql", "log_likelihood"): (-0.575, -0.567),
    ("qr_iql", "reward_correlation"): (0.49, 0.56),
    ("qr_iql", "difference_correlation_over_iq_learn"): (-0.01, 0.01),
    ("qr_iql", "difference_rmse"): (0.60, 0.68),
    ("qr_iql", "bait_gap"): (-np.inf, 0.10),
    ("qr_iql", "crossings"): (0.35, 0.46),
    ("qr_iql", "level_gauge"): (-0.005, 0.005),
    ("qr_iql", "coverage_error"): (0.0, 0.02),
    ("anchored", "log_likelihood"): (-0.562, np.inf),
    ("anchored", "reward_correlation"): (0.98, 1.0),
    ("anchored", "difference_correlation"): (0.985, 1.0),
    ("anchored", "difference_rmse"): (0.0, 0.20),
    ("anchored", "bait_gap"): (0.33, 0.45),
    ("anchored", "crossings"): (0.0, 0.0),
    ("anchored", "coverage_error"): (0.0, 0.02),
    ("anchored", "satisfaction_auc_gain"): (0.006, np.inf),
    ("iq_learn", "satisfaction_auc_gain"): (0.001, 0.006),
    ("qr_iql", "satisfaction_auc_gain"): (0.001, 0.006),
    ("qr_iql", "satisfaction_auc_over_iq_learn"): (-0.001, 0.001),
    ("q_difference", "satisfaction_auc_gain"): (-0.003, 0.003),
    ("shuffled", "satisfaction_auc_gain"): (-np.inf, 0.0),
    **{(arm, "auc_gain"): (-0.002, 0.002) for arm in REWARD_METHODS},
    **{(arm, "satisfaction_auc_truth_b_gain"): (-0.018, -0.004) for arm in REWARD_METHODS},
}

_NEAR_LOGIT = (
    "this reward stays close to a rescaled click logit (see its bait_gap), so it moves the ranking of baits, "
    "and with it the satisfaction that truth B takes away, less than the band says"
)
REASONS = {(arm, "satisfaction_auc_truth_b_gain"): _NEAR_LOGIT for arm in ("iq_learn", "qr_iql")}


def run_table(
    *, seeds: Sequence[int] = (1, 2, 3), quick: bool = False, on_progress: OnProgress | None = None
) -> dict[str, Any]:
    """Reproduces the click-world table.

    Args:
        seeds: One population, split and set of weights each; intervals are over them.
        quick: A small run that shows the form of the table; its numbers fall outside the bands.
        on_progress: Called as on_progress(done, total, what) after every gradient step.

    Returns:
        "arms" and "controls" ({name: {"metrics": {metric: Estimate}}}), "bands" ({"arm.metric": {"low",
        "high", "value", "inside"}}), "missed" ([{"bar", "value", "reason"}]) and "data_hash".
    """
    if len(seeds) == 0:
        raise ValueError("seeds must hold at least one seed")
    size = QUICK if quick else RunSize()
    progress = Progress(on_progress, total=len(seeds) * size.total_steps)
    runs = [run_seed(seed, size, progress) for seed in seeds]
    per_seed = [metrics for metrics, _ in runs]
    estimates = {
        arm: {
            "metrics": {
                name: mean_interval([metrics[arm][name] for metrics in per_seed], seeds=True)
                for name in per_seed[0][arm]
            }
        }
        for arm in per_seed[0]
    }
    bands, missed = _judge(estimates, quick)
    return {
        "arms": {arm: row for arm, row in estimates.items() if arm not in CONTROLS},
        "controls": {arm: row for arm, row in estimates.items() if arm in CONTROLS},
        "bands": bands,
        "missed": missed,
        "data_hash": content_hash(np.array([data_hash for _, data_hash in runs])),
    }


def _judge(
    estimates: dict[str, dict[str, dict[str, Estimate]]], quick: bool
) -> tuple[dict[str, dict[str, Any]], list[dict[str, Any]]]:
    bands, missed = {}, []
    for (arm, name), (low, high) in BANDS.items():
        value = estimates[arm]["metrics"][name].value
        inside = low <= value <= high
        bar = f"{arm}.{name}"
        ends = {"low": low if np.isfinite(low) else None, "high": high if np.isfinite(high) else None}
        bands[bar] = {**ends, "value": value, "inside": inside}
        if not inside:
            reason = "a quick run" if quick else REASONS.get((arm, name), "outside the band on these seeds")
            missed.append({"bar": f"{bar} in [{low:g}, {high:g}]", "value": value, "reason": reason})
    return bands, missed
