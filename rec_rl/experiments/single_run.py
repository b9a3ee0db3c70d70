"""One run in its own folder: configuration, checkpoints, metrics, record, figures and report."""

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from envs.virtual_taobao import VirtualTaobaoVectorEnv
from envs.virtual_taobao_networks import VirtualTaobaoNetworks
from rec_rl.checkpoint import CHECKPOINTS, last_checkpoint
from rec_rl.errors import ConfigError, DatasetError
from rec_rl.evaluation.intervals import Estimate, mean_interval
from rec_rl.evaluation.online import Episodes, ectr_of_totals, run_episodes
from rec_rl.experiments.records import RunRecord, to_plain, write_text
from rec_rl.experiments.training import (
    EVALUATION_ENVS,
    TrainingSpec,
    build_algorithm,
    greedy_policy,
    train,
)
from rec_rl.progress import progress, say

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def run_training(spec: TrainingSpec, folder: Path, *, resume: bool, command: str) -> dict[str, Any]:
    """Trains and leaves the run in ``folder``; returns its record.

    Raises:
        ConfigError: If the folder holds a run and ``resume`` is not asked for, or holds another one.
    """
    started = time.monotonic()
    claim_folder(folder, spec, resume)
    result: dict[str, Any] = {}
    with progress() as shown:
        for event in train(spec, checkpoints=folder / CHECKPOINTS):
            if "note" in event:
                say(event["note"])
            note = f"eCTR {event['ectr']:.3f}" if "ectr" in event else ""
            shown.update(spec.algorithm, event["step"], event["total"], note)
            result = event.get("result", result)
    seconds = time.monotonic() - started
    if result["curve"]:  # none where the run is shorter than the time to its first evaluation
        pd.DataFrame(result["curve"]).to_csv(folder / "metrics.csv", index=False)
    record = RunRecord(
        command=command,
        seeds=[spec.seed],
        data_hash=VirtualTaobaoNetworks.load(spec.weights).content_hash,
        config={**asdict(spec), "steps_taken": result["steps"]},
        metrics={name: _point(result[name]) for name in FIGURES if name in result},
        seconds=seconds,
        steps_per_second=result["steps"] / seconds,
    )
    record.save(folder / "record.json")
    from rec_rl.report.page import write_report

    write_report(
        folder, title=f"{spec.algorithm}, seed {spec.seed}", curves={spec.algorithm: [result["curve"]]}
    )
    return record.to_dict()


FIGURES = ("ectr", "ectr_of_totals", "satisfaction")


def run_evaluation(folder: Path, num_episodes: int, seed: int, command: str) -> dict[str, Any]:
    """Evaluates the last checkpoint of a run on fresh episodes."""
    spec = read_spec(folder)
    algorithm = build_algorithm(spec)
    try:
        checkpoint = last_checkpoint(folder / CHECKPOINTS)
        if checkpoint is None:
            raise DatasetError(f"{folder} has no checkpoint to evaluate")
        algorithm.load_checkpoint(str(checkpoint))
        env = VirtualTaobaoVectorEnv(EVALUATION_ENVS, weights=spec.weights)
        episodes = run_episodes(env, greedy_policy(algorithm.policy_module()), num_episodes, seed)
    finally:
        algorithm.stop()
    return RunRecord(
        command=command,
        seeds=[seed],
        data_hash=env.networks.content_hash,
        config={"run": str(folder), "checkpoint": checkpoint.name, "episodes": num_episodes},
        metrics=episode_metrics(episodes),
    ).to_dict()


def episode_metrics(episodes: Episodes) -> dict[str, Estimate]:
    """Figures of a set of episodes, with intervals over episodes."""
    metrics = {
        "ectr": episodes.ectr,
        "ectr_of_totals": _point(ectr_of_totals(episodes.clicks, episodes.steps), len(episodes.steps)),
    }
    if episodes.satisfaction is not None:
        metrics["satisfaction"] = mean_interval(episodes.satisfaction)
    return metrics


def read_config(folder: Path) -> dict[str, Any]:
    """The settings of the run in ``folder``, as plain values.

    Raises:
        DatasetError: If it is not the folder of a run.
    """
    try:
        return dict(json.loads((folder / "config.json").read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise DatasetError(f"{folder} is not the folder of a run: {error}") from error


def read_spec(folder: Path) -> TrainingSpec:
    """The specification of the online run in ``folder``.

    Raises:
        DatasetError: If it is not the folder of such a run.
    """
    try:
        return TrainingSpec.from_plain(read_config(folder))
    except (TypeError, AttributeError) as error:
        raise DatasetError(f"{folder} is not the folder of a run: {error}") from error


def claim_folder(folder: Path, spec: "DataclassInstance", resume: bool) -> None:
    """Writes a run's settings into its folder, or on ``resume`` checks that it holds the same.

    Raises:
        ConfigError: If the folder holds a run and ``resume`` is not asked for, or holds another one.
    """
    config, settings = folder / "config.json", to_plain(asdict(spec))
    if config.exists():
        if not resume:
            raise ConfigError(
                f"{folder} holds a run already: --resume goes on with it, another name begins one"
            )
        if read_config(folder) != settings:
            raise ConfigError(f"{folder} holds a run with other settings than these; it cannot be resumed")
        return
    if resume:
        raise ConfigError(f"there is no run at {folder} to resume")
    write_text(config, json.dumps(settings, indent=1) + "\n")


def _point(value: float, n: int = 1) -> Estimate:
    return Estimate(value=value, low=float("nan"), high=float("nan"), n=n)
