"""The search behind `rec_rl.experiments.presets`: a small grid around what is usual, on seeds of its own."""

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from envs.virtual_taobao_networks import VirtualTaobaoNetworks
from rec_rl.evaluation.intervals import mean_interval
from rec_rl.experiments.presets import OPTIONS, PLAIN
from rec_rl.experiments.records import RunRecord
from rec_rl.experiments.runner import run_trials
from rec_rl.experiments.training import TrainingSpec, train_trial
from rec_rl.experiments.virtual_taobao import FIRST_SEED
from rec_rl.progress import Progress

GRIDS: dict[str, tuple[dict[str, Any], ...]] = {
    "sac": ({}, {"target_entropy": -27.0}, {"initial_alpha": 0.1}),
    "sac+options": ({}, {"initial_alpha": 0.1}, {"batch_size": 128, "updates_per_round": 1}),
    "ppo": ({}, {"initial_log_std": -1.0}, {"num_passes": 10}),
    "ppo+options": ({}, {"initial_log_std": -1.5}, {"self_imitation_weight": 0.1}),
}
"""Changes to the preset, one at a time."""


def run_search(
    *, weights: str, steps: int, num_seeds: int, folder: Path, progress: Progress, command: str
) -> RunRecord:
    """Trains every candidate and reports its eCTR by seed; the presets hold the best of each grid."""
    started = time.monotonic()
    if num_seeds > FIRST_SEED:
        raise ValueError(f"num_seeds must be <= {FIRST_SEED}, where the table's seeds begin, got {num_seeds}")
    specs: dict[str, Any] = {}
    for name, changes in GRIDS.items():
        algorithm, _, options = name.partition("+")
        preset = PLAIN[algorithm] | (OPTIONS[algorithm] if options else {})
        for change in changes:
            for seed in range(num_seeds):
                spec = TrainingSpec(
                    algorithm=algorithm, settings=preset | change, weights=weights, steps=steps, seed=seed
                )
                specs[f"{_label(name, change)}#{seed}"] = asdict(spec)
    runs = run_trials(train_trial, specs, store=folder / "trials", progress=progress, together="search")
    arms = {
        _label(name, change): {
            "ectr": mean_interval(
                [runs[f"{_label(name, change)}#{seed}"]["ectr"] for seed in range(num_seeds)], seeds=True
            )
        }
        for name, changes in GRIDS.items()
        for change in changes
    }
    return RunRecord(
        command=command,
        seeds=list(range(num_seeds)),
        data_hash=VirtualTaobaoNetworks.load(weights).content_hash,
        config={"steps": steps, "plain": PLAIN, "options": OPTIONS},
        arms=arms,
        seconds=time.monotonic() - started,
    )


def _label(name: str, change: dict[str, Any]) -> str:
    return f"{name} " + (", ".join(f"{k}={v}" for k, v in change.items()) or "preset")
