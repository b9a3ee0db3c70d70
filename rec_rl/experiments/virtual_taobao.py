"""PPO and SAC on Virtual Taobao with and without a mental reward (MTRec Sec. 5.2), with controls."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envs.reward_shaping import MODES
from envs.virtual_taobao import VirtualTaobaoVectorEnv
from envs.virtual_taobao_networks import VirtualTaobaoNetworks
from rec_rl.algorithms.constant_action import cross_entropy_search
from rec_rl.evaluation.online import run_episodes
from rec_rl.experiments.mental_rewards import experts_trial, reward_trial
from rec_rl.experiments.presets import OPTIONS, PLAIN
from rec_rl.experiments.records import RunRecord
from rec_rl.experiments.runner import Event, run_trials
from rec_rl.experiments.training import EVALUATION_ENVS, Shaping, TrainingSpec, evaluation_seed, train_trial
from rec_rl.experiments.virtual_taobao_findings import arm_metrics, effects, missed_bars, verdicts
from rec_rl.progress import Progress
from rec_rl.rewards import REWARD_METHODS

EXPERT_SEED = 9_000
"""Of the recorded policy and the reward fits; no arm uses it."""
MIN_CTR = 0.5
"""Of an expert's session, as in the paper."""
FIRST_SEED = 100
"""Seeds below belong to the search for settings."""

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
    differences = effects(by_arm, steps)
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
        metrics=differences,
        arms={name: arm_metrics(rows, steps) for name, rows in by_arm.items() if name not in shuffled},
        controls={name: arm_metrics(rows, steps) for name, rows in (shuffled | controls).items()},
        missed=missed_bars(by_arm),
        seconds=time.monotonic() - started,
        steps_per_second=sum(r["steps"] for r in runs.values()) / sum(r["seconds"] for r in runs.values()),
        notes=[
            "The state never depends on the action here, so this is a contextual bandit: a mental reward can "
            "only change what is learned from a page, not plan for the user's future.",
            "Effects are differences over shared seeds against the same rewards shuffled over states.",
            *verdicts(differences),
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
    experts = run_trials(experts_trial, {"experts": spec}, store=folder / "trials", progress=progress)[
        "experts"
    ]
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
    return experts, run_trials(reward_trial, fits, store=folder / "trials", progress=progress)


def _run_arms(specs: dict[str, Any], folder: Path, progress: Progress) -> dict[str, Any]:
    return run_trials(timed_train_trial, specs, store=folder / "trials", progress=progress, together="runs")


def timed_train_trial(spec: Mapping[str, Any]) -> Iterator[Event]:
    """`train_trial` with its wall time in the result."""
    started = time.monotonic()
    for event in train_trial(spec):
        if "result" in event:
            event["result"]["seconds"] = time.monotonic() - started
        yield event


def _control_arms(
    weights: str, steps: int, seeds: list[int], folder: Path, progress: Progress
) -> dict[str, list[dict[str, Any]]]:
    specs = {
        f"{kind}#{seed}": {"kind": kind, "weights": weights, "steps": steps, "seed": seed}
        for kind in CONTROLS
        for seed in seeds
    }
    results = run_trials(control_trial, specs, store=folder / "trials", progress=progress)
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
