"""The main job end to end: sessions, a mental reward, SAC with and without it, and a verdict in words."""

import shutil
import time
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from rec_rl.data.transitions import UserTransitions
from rec_rl.evaluation.intervals import Estimate, mean_interval, paired_difference
from rec_rl.experiments.experts import EVERY_SESSION
from rec_rl.experiments.mental_rewards import experts_trial, reward_trial
from rec_rl.experiments.presets import PLAIN
from rec_rl.experiments.records import RunRecord
from rec_rl.experiments.runner import Event, run_trials
from rec_rl.experiments.training import Shaping, TrainingSpec, train_trial
from rec_rl.progress import Progress
from rec_rl.report.figures import histogram, save
from rec_rl.report.page import write_report
from rec_rl.rewards import MentalRewardModel

METHOD, MODE, KAPPA = "qr_iql", "difference", 0.2
SETTINGS = PLAIN["sac"] | {"initial_alpha": 0.1}
"""A low first temperature learns the synthetic users within the demonstration's steps."""
NUM_SEEDS = 2
RECORDED_STEPS, NUM_SESSIONS = 10_000, 6_000
FIT = {"steps": 600, "head_steps": 300, "batch_size": 1_000}
HISTOGRAM_ROWS = 5_000


def run_demo(
    *, weights: str, steps: int, seed: int, folder: Path, progress: Progress, command: str
) -> dict[str, Any]:
    """Runs the demonstration anew in ``folder`` and returns its record.

    Args:
        weights: Folder of the published networks, or "synthetic".
        steps: Environment steps of every run.
        seed: First of the two seeds; the experts have one of their own.
        folder: Emptied first.
        progress: Where progress is shown.
        command: For the record.
    """
    started = time.monotonic()
    shutil.rmtree(folder, ignore_errors=True)
    run = partial(run_trials, store=folder / "trials", on_event=partial(_show, progress))
    expert_training = TrainingSpec(
        algorithm="sac", settings=SETTINGS, weights=weights, steps=RECORDED_STEPS, seed=seed + 9_000
    )
    expert_spec = {
        "training": asdict(expert_training),
        "num_trajectories": NUM_SESSIONS,
        "min_ctr": EVERY_SESSION,
        "path": str(folder / "experts.parquet"),
    }
    experts = run(experts_trial, {"record sessions": expert_spec})["record sessions"]
    fit_spec = {
        "method": METHOD,
        "settings": FIT,
        "seed": seed,
        "experts": experts["path"],
        "data_hash": experts["data_hash"],
        "path": str(folder / "reward"),
    }
    fit = run(reward_trial, {"learn the mental reward": fit_spec})["learn the mental reward"]
    arms = {
        "clicks alone": None,
        "with mental reward": Shaping(reward=fit["path"], kappa=KAPPA, mode=MODE),
        "with shuffled reward": Shaping(reward=fit["path"], kappa=KAPPA, mode=MODE, shuffled=True),
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
    control = "with shuffled reward"
    record = RunRecord(
        command=command,
        seeds=seeds,
        data_hash=experts["data_hash"],
        config={
            "weights": weights,
            "steps": steps,
            "method": METHOD,
            "mode": MODE,
            "kappa": KAPPA,
            "sac": SETTINGS,
            "experts": {k: v for k, v in experts.items() if k != "path"},
            "fit": {k: v for k, v in fit.items() if k != "path"},
        },
        metrics={
            f"effect_on_{name}": paired_difference(
                [row[name] for row in by_arm["with mental reward"]], [row[name] for row in by_arm[control]]
            )
            for name in metrics["clicks alone"]
        },
        arms={name: metrics[name] for name in arms if name != control},
        controls={control: metrics[control]},
        seconds=time.monotonic() - started,
        steps_per_second=sum(row["steps"] for row in results.values()) / (time.monotonic() - started),
    )
    verdict = describe(record.metrics)
    record.notes.append(verdict)
    record.save(folder / "record.json")
    drawn = _reward_histogram(folder, experts["path"])
    curves = {name: [row["curve"] for row in rows] for name, rows in by_arm.items()}
    write_report(
        folder,
        title="SAC on Virtual Taobao, with and without a mental reward",
        curves={f"SAC/{name}": runs for name, runs in curves.items()},
        figures={"Learned mental rewards of the recorded pages": drawn},
        verdict=verdict,
    )
    return record.to_dict()


def describe(effects: dict[str, Estimate]) -> str:
    """What the effects against the shuffled control say, in words."""
    sentences = []
    for name, effect in effects.items():
        what = name.removeprefix("effect_on_")
        if effect.low > 0:
            says = "raises"
        elif effect.high < 0:
            says = "lowers"
        else:
            says = "shows no effect on"
        sentences.append(
            f"the mental reward {says} {what}: {effect.value:+.3f} [{effect.low:.3f}, {effect.high:.3f}]"
        )
    return f"Against the same rewards shuffled, {'; '.join(sentences)}. Two seeds leave wide intervals."


def _metrics(rows: list[dict[str, Any]]) -> dict[str, Estimate]:
    names = [name for name in ("ectr", "satisfaction") if all(name in row for row in rows)]
    return {name: mean_interval([row[name] for row in rows], seeds=True) for name in names}


def _reward_histogram(folder: Path, experts: str) -> Path:
    transitions = UserTransitions.load(experts)
    rows = np.random.default_rng(0).permutation(len(transitions))[:HISTOGRAM_ROWS]
    rewards = MentalRewardModel.load(folder / "reward").reward(transitions.states[rows])
    path = folder / "figures" / "mental-reward.png"
    save(histogram({"click": rewards[:, 1], "skip": rewards[:, 0]}, "mental reward"), path)
    return path


def _show(progress: Progress, name: str, event: Event) -> None:
    if "step" in event:
        progress.update(
            name, event["step"], event["total"], f"eCTR {event['ectr']:.3f}" if "ectr" in event else ""
        )
