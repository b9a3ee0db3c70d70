"""The main job end to end: sessions, a mental reward, SAC with and without it, and a verdict in words."""

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from envs.virtual_taobao_networks import VirtualTaobaoNetworks
from rec_rl.data.transitions import UserTransitions
from rec_rl.evaluation.intervals import Estimate, mean_interval, paired_difference
from rec_rl.experiments.experts import EVERY_SESSION
from rec_rl.experiments.mental_rewards import experts_trial, reward_trial
from rec_rl.experiments.presets import PLAIN
from rec_rl.experiments.records import RunRecord
from rec_rl.experiments.runner import run_trials
from rec_rl.experiments.training import Shaping, TrainingSpec, train_trial
from rec_rl.progress import Progress
from rec_rl.report.figures import histogram, save
from rec_rl.report.page import write_report
from rec_rl.rewards import MentalRewardModel

MODE, KAPPA = "difference", 0.5
CLICKS, FEEDBACK = "qr_iql", "anchored"
"""The methods that learn from clicks alone, and from clicks and what a few users say."""
FEEDBACK_SHARE = 0.05
"""Of the pages with a click: users say how glad they are of it, where the networks know."""
SETTINGS = PLAIN["sac"] | {"initial_alpha": 0.1}
"""A low first temperature learns the synthetic users within the demonstration's steps."""
NUM_SEEDS = 2
RECORDED_STEPS, NUM_SESSIONS, NOISE_SCALE = 10_000, 6_000, 2.0
FIT = {"steps": 600, "head_steps": 300, "batch_size": 1_000}
HISTOGRAM_ROWS = 5_000

CONTROL = "shuffled reward (control)"


def run_demo(
    *, weights: str, steps: int, seed: int, folder: Path, progress: Progress, command: str
) -> dict[str, Any]:
    """Runs the demonstration anew in ``folder`` and returns its record.

    Args:
        weights: Folder of the published networks, or "synthetic". The published ones know no satisfaction, so
            that nobody there can say how glad a page made them.
        steps: Environment steps of every run.
        seed: First of the two seeds; the experts have one of their own.
        folder: Emptied first.
        progress: Where progress is shown.
        command: For the record.
    """
    started = time.monotonic()
    shutil.rmtree(folder, ignore_errors=True)
    run = partial(run_trials, store=folder / "trials", progress=progress)
    asks = VirtualTaobaoNetworks.load(weights).satisfaction is not None
    experts = _record_experts(run, folder, weights, seed, FEEDBACK_SHARE if asks else 0.0)
    fits = _learn_rewards(run, folder, experts, seed, (CLICKS, FEEDBACK) if asks else (CLICKS,))
    shaping = {method: Shaping(reward=fit["path"], kappa=KAPPA, mode=MODE) for method, fit in fits.items()}
    arms = {
        "clicks alone": None,
        "mental reward from clicks": shaping[CLICKS],
        **({"mental reward with feedback": shaping[FEEDBACK]} if asks else {}),
        CONTROL: replace(shaping[FEEDBACK if asks else CLICKS], shuffled=True),
    }
    seeds = [seed + i for i in range(NUM_SEEDS)]
    specs = {
        f"{name}, seed {s}": asdict(
            TrainingSpec(
                algorithm="sac",
                settings=SETTINGS,
                weights=weights,
                shaping=shaping,
                steps=steps,
                seed=s,
                evaluate_every=1_000,
                evaluation_episodes=256,
                final_episodes=2_000,
            )
        )
        for s in seeds
        for name, shaping in arms.items()
    }
    results = run(train_trial, specs)
    by_arm = {name: [results[f"{name}, seed {s}"] for s in seeds] for name in arms}
    metrics = {name: _metrics(rows) for name, rows in by_arm.items()}
    seconds = time.monotonic() - started
    record = RunRecord(
        command=command,
        seeds=seeds,
        data_hash=experts["data_hash"],
        config={
            "weights": weights,
            "steps": steps,
            "mode": MODE,
            "kappa": KAPPA,
            "sac": SETTINGS,
            "experts": {k: v for k, v in experts.items() if k != "path"},
            "rewards": {m: {k: v for k, v in fit.items() if k != "path"} for m, fit in fits.items()},
        },
        metrics={
            f"effect of {name} on {metric}": paired_difference(
                [row[metric] for row in by_arm[name]], [row[metric] for row in by_arm[CONTROL]]
            )
            for name in arms
            if name.startswith("mental reward")
            for metric in metrics[name]
        },
        arms={name: metrics[name] for name in arms if name != CONTROL},
        controls={CONTROL: metrics[CONTROL]},
        seconds=seconds,
        steps_per_second=sum(row["steps"] for row in results.values()) / seconds,
    )
    verdict = describe(record.metrics)
    record.notes.append(verdict)
    record.save(folder / "record.json")
    curves = {name: [row["curve"] for row in rows] for name, rows in by_arm.items()}
    write_report(
        folder,
        title="SAC on Virtual Taobao, with and without a mental reward",
        curves={f"SAC/{name}": runs for name, runs in curves.items()},
        figures={"Learned rewards of the recorded pages": _reward_histogram(folder, fits, experts["path"])},
        verdict=verdict,
    )
    return record.to_dict()


def describe(effects: dict[str, Estimate]) -> str:
    """What the effects against the shuffled control say, in words."""
    said = []
    for name, effect in effects.items():
        arm, metric = name.removeprefix("effect of ").split(" on ")
        verb = "raises" if effect.low > 0 else "lowers" if effect.high < 0 else "shows no effect on"
        said.append(f"the {arm} {verb} {metric} ({effect.value:+.3f} [{effect.low:.3f}, {effect.high:.3f}])")
    return f"Against the same rewards shuffled, {'; '.join(said)}. Two seeds leave wide intervals."


def _record_experts(
    run: Callable[..., dict[str, Any]], folder: Path, weights: str, seed: int, feedback_share: float
) -> dict[str, Any]:
    training = TrainingSpec(
        algorithm="sac", settings=SETTINGS, weights=weights, steps=RECORDED_STEPS, seed=seed + 9_000
    )
    spec = {
        "training": asdict(training),
        "num_trajectories": NUM_SESSIONS,
        "min_ctr": EVERY_SESSION,
        "noise_scale": NOISE_SCALE,
        "feedback_share": feedback_share,
        "path": str(folder / "experts.parquet"),
    }
    experts: dict[str, Any] = run(experts_trial, {"record sessions": spec})["record sessions"]
    return experts


def _learn_rewards(
    run: Callable[..., dict[str, Any]],
    folder: Path,
    experts: dict[str, Any],
    seed: int,
    methods: Sequence[str],
) -> dict[str, dict[str, Any]]:
    specs = {
        f"learn {method}": {
            "method": method,
            "settings": FIT,
            "seed": seed,
            "experts": experts["path"],
            "data_hash": experts["data_hash"],
            "path": str(folder / "rewards" / method),
        }
        for method in methods
    }
    fits = run(reward_trial, specs)
    return {method: fits[f"learn {method}"] for method in methods}


def _metrics(rows: list[dict[str, Any]]) -> dict[str, Estimate]:
    names = [name for name in ("ectr", "satisfaction") if all(name in row for row in rows)]
    return {name: mean_interval([row[name] for row in rows], seeds=True) for name in names}


def _reward_histogram(folder: Path, fits: dict[str, dict[str, Any]], experts: str) -> Path:
    """Distributions of r(click) - r(skip) over recorded pages, by method."""
    transitions = UserTransitions.load(experts)
    rows = np.random.default_rng(0).permutation(len(transitions))[:HISTOGRAM_ROWS]
    rewards = {
        m: MentalRewardModel.load(fit["path"]).reward(transitions.states[rows]) for m, fit in fits.items()
    }
    path = folder / "figures" / "mental-reward.png"
    save(histogram({m: r[:, 1] - r[:, 0] for m, r in rewards.items()}, "r(click) - r(skip)"), path)
    return path
