"""PPO and SAC on Virtual Taobao with and without a mental reward (MTRec Sec. 5.2), with controls."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envs.reward_shaping import MODES
from envs.virtual_taobao import VirtualTaobaoVectorEnv
from envs.virtual_taobao_networks import VirtualTaobaoNetworks
from rec_rl.algorithms.constant_action import cross_entropy_search
from rec_rl.evaluation.intervals import Estimate, interquartile_mean, mean_interval, paired_difference
from rec_rl.evaluation.online import run_episodes
from rec_rl.experiments.mental_rewards import experts_trial, reward_trial
from rec_rl.experiments.presets import OPTIONS, PLAIN
from rec_rl.experiments.records import RunRecord
from rec_rl.experiments.runner import Event, run_trials
from rec_rl.experiments.training import EVALUATION_ENVS, Shaping, TrainingSpec, evaluation_seed, train_trial
from rec_rl.progress import Progress
from rec_rl.rewards import REWARD_METHODS

EXPERT_SEED = 9_000
"""Of the recorded policy and the reward fits; no arm uses it."""
MIN_CTR = 0.5
"""Of an expert's session, as in the paper."""
FIRST_SEED = 100
"""Seeds below belong to the search for settings."""
EFFECT_STEPS = (10_000, 25_000, 50_000)
THRESHOLD = 0.9

Arm = dict[str, Any]


def arms(rewards: Mapping[str, str], kappa: float) -> dict[str, Arm]:
    """Every arm by name: algorithm, settings and shaping.

    Without options the grid holds the paper's raw mode; with options every mode. Each mode of each grid has
    its control: the rewards of qr_iql, shuffled.
    """
    table: dict[str, Arm] = {}
    for algorithm in ("sac", "ppo"):
        for options, modes in ((False, ("raw",)), (True, MODES)):
            base = f"{algorithm}+options" if options else algorithm
            settings = PLAIN[algorithm] | (OPTIONS[algorithm] if options else {})
            table[base] = {"algorithm": algorithm, "settings": settings, "shaping": None}
            for mode in modes:
                for method in (*REWARD_METHODS, "shuffled"):
                    shuffled = method == "shuffled"
                    folder = rewards["qr_iql" if shuffled else method]
                    shaping = Shaping(reward=folder, kappa=kappa, mode=mode, shuffled=shuffled)
                    table[f"{base}/{method}/{mode}"] = {
                        "algorithm": algorithm,
                        "settings": settings,
                        "shaping": shaping,
                    }
    return table


def run_table(
    *,
    weights: str,
    steps: int,
    num_seeds: int,
    num_trajectories: int,
    kappa: float,
    folder: Path,
    progress: Progress,
    command: str,
) -> tuple[RunRecord, dict[str, list[dict[str, Any]]]]:
    """Records experts, learns the rewards, trains every arm on every seed, and compares.

    Args:
        weights: Folder of the published networks, or "synthetic".
        steps: Environment steps of every run.
        num_seeds: Runs of every arm.
        num_trajectories: Size of the expert set.
        kappa: Weight of the mental reward.
        folder: Keeps finished trials, so that an interrupted table goes on.
        progress: Where progress is shown.
        command: For the record.

    Returns:
        The record, and the runs of every arm in the order of seeds (curves for the figure).
    """
    started = time.monotonic()
    experts, rewards = learn_rewards(weights, num_trajectories, folder, progress)
    grid = arms({method: result["path"] for method, result in rewards.items()}, kappa)
    seeds = [FIRST_SEED + i for i in range(num_seeds)]
    specs = {
        f"{name}#{seed}": asdict(TrainingSpec(**arm, weights=weights, steps=steps, seed=seed))
        for seed in seeds
        for name, arm in grid.items()
    }
    runs = _run_arms(specs, folder, progress)
    by_arm = {name: [runs[f"{name}#{seed}"] for seed in seeds] for name in grid}
    controls = _control_arms(weights, steps, seeds, folder, progress)
    shuffled = {name: rows for name, rows in by_arm.items() if "/shuffled/" in name}
    record = RunRecord(
        command=command,
        seeds=seeds,
        data_hash=experts["data_hash"],
        config={
            "weights": VirtualTaobaoNetworks.load(weights).content_hash,
            "steps": steps,
            "kappa": kappa,
            "experts": {k: v for k, v in experts.items() if k != "path"},
            "plain": PLAIN,
            "options": OPTIONS,
            "rewards": {m: {k: v for k, v in r.items() if k != "path"} for m, r in rewards.items()},
        },
        metrics=effects(by_arm, steps),
        arms={name: _arm_metrics(rows, steps) for name, rows in by_arm.items() if name not in shuffled},
        controls={name: _arm_metrics(rows, steps) for name, rows in (shuffled | controls).items()},
        missed=missed_bars(by_arm),
        seconds=time.monotonic() - started,
        steps_per_second=sum(r["steps"] for r in runs.values()) / sum(r["seconds"] for r in runs.values()),
        notes=[
            "The state never depends on the action here, so this is a contextual bandit: a mental reward can "
            "only change what is learned from a page, not plan for the user's future.",
            "Effects are differences over shared seeds against the same rewards shuffled over states.",
        ],
    )
    return record, by_arm


def learn_rewards(
    weights: str, num_trajectories: int, folder: Path, progress: Progress, *, training_steps: int = 25_000
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """The expert set and a mental reward of every method, as what their trials tell."""
    training = TrainingSpec(
        algorithm="sac", settings=PLAIN["sac"], weights=weights, steps=training_steps, seed=EXPERT_SEED
    )
    spec = {
        "training": asdict(training),
        "num_trajectories": num_trajectories,
        "min_ctr": MIN_CTR,
        "path": str(folder / "experts.parquet"),
    }
    experts = run_trials(
        experts_trial, {"experts": spec}, store=folder / "trials", on_event=partial(_show, progress)
    )["experts"]
    fits = {
        method: {
            "method": method,
            "settings": {},
            "seed": EXPERT_SEED,
            "experts": experts["path"],
            "data_hash": experts["data_hash"],
            "path": str(folder / "rewards" / method),
        }
        for method in REWARD_METHODS
    }
    return experts, run_trials(reward_trial, fits, store=folder / "trials", on_event=partial(_show, progress))


def _run_arms(specs: dict[str, Any], folder: Path, progress: Progress) -> dict[str, Any]:
    done: set[str] = set()

    def show(name: str, event: Event) -> None:
        if "result" in event:
            done.add(name)
            progress.update("runs", len(done), len(specs), f"{name} eCTR {event['result']['ectr']:.3f}")

    progress.update("runs", 0, len(specs))
    return run_trials(timed_train_trial, specs, store=folder / "trials", on_event=show)


def timed_train_trial(spec: Mapping[str, Any]) -> Iterator[Event]:
    """`train_trial` with its wall time in the result."""
    started = time.monotonic()
    for event in train_trial(spec):
        if "result" in event:
            event["result"]["seconds"] = time.monotonic() - started
        yield event


def _show(progress: Progress, name: str, event: Event) -> None:
    if "step" in event:
        progress.update(name, event["step"], event["total"])


def _arm_metrics(rows: list[dict[str, Any]], steps: int) -> dict[str, Estimate]:
    final = [row["ectr"] for row in rows]
    metrics = {
        "ectr": mean_interval(final, seeds=True),
        "ectr_interquartile_mean": _point(interquartile_mean(final), len(final)),
        "ectr_of_totals": mean_interval([row["ectr_of_totals"] for row in rows], seeds=True),
    }
    if all(row["curve"] for row in rows):
        for at in EFFECT_STEPS:
            if at < steps:
                metrics[f"ectr_at_{at}"] = mean_interval([ectr_at(row, at) for row in rows], seeds=True)
        reached = mean_interval([steps_to(row, THRESHOLD, steps) for row in rows], seeds=True)
        metrics[f"steps_to_{THRESHOLD}"] = reached
    for name in ("satisfaction", "seconds"):
        if all(name in row for row in rows):
            metrics[name] = mean_interval([row[name] for row in rows], seeds=True)
    return metrics


def _point(value: float, n: int) -> Estimate:
    return Estimate(value=value, low=float("nan"), high=float("nan"), n=n)


def ectr_at(row: Mapping[str, Any], step: int) -> float:
    """eCTR at the last evaluation up to ``step``; the final one where training ended before."""
    points = [point["ectr"] for point in row["curve"] if point["step"] <= step + 600]
    return float(points[-1])


def steps_to(row: Mapping[str, Any], threshold: float, steps: int) -> float:
    """Environment steps at the first evaluation at or above ``threshold``; ``steps`` if there was none."""
    return float(next((p["step"] for p in row["curve"] if p["ectr"] >= threshold), steps))


def effects(by_arm: Mapping[str, list[dict[str, Any]]], steps: int) -> dict[str, Estimate]:
    """eCTR of every shaped arm minus that of its shuffled control, over shared seeds, along training."""
    metrics: dict[str, Estimate] = {}
    for name, rows in by_arm.items():
        base, _, reward = name.partition("/")
        method, _, mode = reward.partition("/")
        if not reward or method == "shuffled":
            continue
        control = by_arm[f"{base}/shuffled/{mode}"]
        for at in EFFECT_STEPS:
            if at < steps:
                a, b = ([ectr_at(row, at) for row in side] for side in (rows, control))
            elif at == steps:
                a, b = ([row["ectr"] for row in side] for side in (rows, control))
            else:
                continue
            metrics[f"effect_at_{at}/{name}"] = paired_difference(a, b)
    return metrics


def missed_bars(by_arm: Mapping[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Which of the experiment's bars were not reached."""
    best_sac = max((n for n in by_arm if n.startswith("sac")), key=lambda n: _mean(by_arm[n]))
    bars = (
        ("SAC's best form: mean eCTR >= .98", best_sac, _mean, 0.98),
        ("SAC's best form: every seed >= .93", best_sac, _worst, 0.93),
        ("PPO without options: mean eCTR >= .90", "ppo", _mean, 0.90),
        ("PPO with self-imitation: mean eCTR >= .98", "ppo+options", _mean, 0.98),
        ("PPO with self-imitation: every seed >= .93", "ppo+options", _worst, 0.93),
    )
    return [
        {"bar": bar, "arm": arm, "value": figure(by_arm[arm])}
        for bar, arm, figure, least in bars
        if figure(by_arm[arm]) < least
    ]


def _mean(rows: list[dict[str, Any]]) -> float:
    return float(np.mean([row["ectr"] for row in rows]))


def _worst(rows: list[dict[str, Any]]) -> float:
    return float(min(row["ectr"] for row in rows))


def _control_arms(
    weights: str, steps: int, seeds: list[int], folder: Path, progress: Progress
) -> dict[str, list[dict[str, Any]]]:
    specs = {
        f"{kind}#{seed}": {"kind": kind, "weights": weights, "steps": steps, "seed": seed}
        for kind in CONTROLS
        for seed in seeds
    }
    results = run_trials(control_trial, specs, store=folder / "trials", on_event=partial(_show, progress))
    return {kind: [results[f"{kind}#{seed}"] for seed in seeds] for kind in CONTROLS}


CONTROLS = ("random", "constant")


def control_trial(spec: Mapping[str, Any]) -> Iterator[Event]:
    """A policy that knows nothing: uniform actions, or the best constant one that a search found.

    Args:
        spec: {"kind": a name in CONTROLS, "weights", "steps": the search's environment steps, "seed"}.
    """
    rng = np.random.default_rng(spec["seed"])
    env = VirtualTaobaoVectorEnv(EVALUATION_ENVS, weights=spec["weights"])
    dim = env.single_action_space.shape[0]
    if spec["kind"] == "random":

        def policy(obs: NDArray[np.float32]) -> NDArray[np.float32]:
            return rng.uniform(-1, 1, (len(obs), dim)).astype(np.float32)

    else:
        best = best_constant_action(spec["weights"], spec["steps"], rng)

        def policy(obs: NDArray[np.float32]) -> NDArray[np.float32]:
            return np.broadcast_to(best, (len(obs), dim))

    episodes = run_episodes(env, policy, 4_000, evaluation_seed(spec["seed"]))
    figures = {
        "ectr": episodes.ectr.value,
        "ectr_of_totals": float(episodes.clicks.sum() / (10 * episodes.steps.sum())),
        "curve": [],
    }
    if episodes.satisfaction is not None:
        figures["satisfaction"] = float(episodes.satisfaction.mean())
    yield {"result": figures}


def best_constant_action(weights: str, steps: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Cross-entropy search over one action for every user and page, within ``steps`` environment steps."""
    population, repeats = 50, 4
    env = VirtualTaobaoVectorEnv(population * repeats, weights=weights)
    env.reset(seed=int(rng.integers(2**31)))

    def score(candidates: NDArray[np.float32]) -> NDArray[np.floating]:
        _, clicks, _, _, infos = env.step(np.repeat(candidates, repeats, axis=0))
        seen = infos["_clicks"].reshape(population, repeats)
        rates: NDArray[np.floating] = clicks.reshape(population, repeats).sum(1) / np.maximum(seen.sum(1), 1)
        return rates

    dim = env.single_action_space.shape[0]
    return cross_entropy_search(
        score, dim, rng, iterations=steps // (population * repeats), population=population
    )
