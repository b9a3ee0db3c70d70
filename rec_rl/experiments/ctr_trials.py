"""Studies on click logs as trials: one mental reward a seed, and on it one click model a backbone and arm.

The reward of a method is fitted once a seed, on one backbone, and shared by every click model of that seed:
its fit costs as much as two click models, and arms of different backbones then differ in nothing else.
"""

import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from rec_rl.data.satisfaction import Label
from rec_rl.errors import DatasetError
from rec_rl.evaluation.ranking_draws import ranking_draws
from rec_rl.experiments.ctr_notes import split_notes
from rec_rl.experiments.ctr_rewards import (
    assumptions,
    control_differences,
    fit_reward_on_backbone,
    states_of,
    train_decisions,
)
from rec_rl.experiments.ctr_study import CONTROLS, REWARDS, ClickStudy
from rec_rl.experiments.ctr_training import CTRConfig, CTRTraining, predict, reward_differences
from rec_rl.experiments.runner import Event, Trial, run_trials, trial_key
from rec_rl.losses.click import LIMIT
from rec_rl.models.batches import Rows
from rec_rl.progress import Progress
from rec_rl.rewards.mental_reward import calibrate_mental_reward

DRAWS = 400
ASKED_SHARE = 0.1
"""Of the clicked training rows, where the anchored reward is calibrated."""
STEPS_BETWEEN_EVENTS = 25


@dataclass(frozen=True, kw_only=True)
class StudyRuns:
    """What the trials of a study gave.

    Attributes:
        data_hashes: Of each seed's split.
        rewards: Results of `reward_trial` by (body, seed, arm).
        arms: Results of `arm_trial` by (model, seed, arm).
        notes: What the loader and the split left out, of the first seed.
    """

    data_hashes: tuple[str, ...]
    rewards: Mapping[tuple[str, int, str], Mapping[str, Any]]
    arms: Mapping[tuple[str, int, str], Mapping[str, Any]]
    notes: tuple[str, ...]


def run_study(study: ClickStudy, folder: Path, progress: Progress) -> StudyRuns:
    """Runs what ``folder`` does not hold yet, as many trials at a time as there are cores."""
    hashes: list[str] = []
    notes: tuple[str, ...] = ()
    for seed in study.seeds:
        _, data = study.dataset(seed)
        hashes.append(data.content_hash)
        notes = notes or tuple(split_notes(data))
    shared = {key: value for key, value in asdict(study).items() if key not in ("models", "arms", "seeds")}
    common = {
        seed: {"study": shared, "seed": seed, "data_hash": name}
        for seed, name in zip(study.seeds, hashes, strict=True)
    }
    specs = {
        (body, seed, arm): {**common[seed], "arm": arm, "body": body, "arrays": str(folder / "arrays")}
        for seed in study.seeds
        for body in dict.fromkeys(map(study.body_of, study.models))
        for arm in study.reward_arms
    }
    rewards = _run(reward_trial, specs, folder, progress, "rewards")
    arms = {}
    for seed in study.seeds:
        for model in study.models:
            for arm in study.arms:
                reward = arm if arm in REWARDS else study.control_reward if arm in CONTROLS else None
                arms[model, seed, arm] = {
                    **common[seed],
                    "model": model,
                    "arm": arm,
                    "reward": None if reward is None else rewards[study.body_of(model), seed, reward]["path"],
                    "arrays": str(folder / "arrays"),
                }
    return StudyRuns(
        data_hashes=tuple(hashes),
        rewards=rewards,
        arms=_run(arm_trial, arms, folder, progress, "click models"),
        notes=notes,
    )


def reward_trial(spec: Mapping[str, Any]) -> Iterator[Event]:
    """Fits one mental reward and leaves what arms need of it in a file.

    Args:
        spec: {"study": values of a `ClickStudy`, "seed", "data_hash", "arm": a name in REWARDS, "body": a
            backbone, "arrays": folder of the file}.

    Yields:
        At last {"path", "assumptions", "clipped": share of Dn at its limit, "log_likelihood", "cpu_seconds"}.
        The file holds Dn of the training rows as "train <arm>" (its own and the controls') and
        r*(click) - r*(skip) of the test rows as "test".
    """
    started = time.process_time()
    study = _begin(spec)
    yield {"step": 0, "total": 1}
    log, data = study.dataset(spec["seed"])
    transitions, order = train_decisions(data, log)
    model = fit_reward_on_backbone(
        transitions,
        data,
        method=REWARDS[spec["arm"]],
        body=replace(study.training, model=spec["body"], kappa=0.0),
        epochs=study.reward_epochs,
        seed=spec["seed"],
    )
    rewards, back = model.reward(transitions.states), np.argsort(order)
    trained = {spec["arm"]: reward_differences(rewards)}
    trained |= control_differences(rewards, model.q(transitions.states), transitions.states)
    test_states = states_of(data, data.test)
    arrays = {f"train {arm}": values[back] for arm, values in trained.items()}
    arrays["test"] = np.diff(model.reward(test_states))[:, 0]
    if spec["arm"] == "anchored":
        asked = _asked(len(transitions), spec["seed"])
        for label in map(Label.parse, study.labels):
            answers = label.answers(log, np.where(data.train.clicks == 1, data.train.sources, 0))[order]
            answers[~asked | (transitions.actions == 0)] = np.nan
            calibrated = calibrate_mental_reward(model, replace(transitions, feedback=answers))
            arrays[f"test {label}"] = np.diff(calibrated.reward(test_states))[:, 0]
    path = _save_arrays(spec, arrays)
    record = model.record
    yield {
        "result": {
            "path": path,
            "assumptions": assumptions(model, data),
            "clipped": float((np.abs(trained[spec["arm"]]) >= LIMIT).mean()),
            "log_likelihood": record.log_likelihood,
            "cpu_seconds": time.process_time() - started,
        }
    }


def _asked(num_rows: int, seed: int) -> NDArray[np.bool_]:
    asked: NDArray[np.bool_] = np.random.default_rng([seed, 5]).random(num_rows) < ASKED_SHARE
    return asked


def arm_trial(spec: Mapping[str, Any]) -> Iterator[Event]:
    """Trains one click model and judges it on the test rows.

    Args:
        spec: {"study", "seed", "data_hash", "model", "arm", "reward": path that `reward_trial` gave or None,
            "arrays"}.

    Yields:
        At last {"path", "draws": `ranking_draws` by metric, "epochs", "rows" trained on, "cpu_seconds"}. The
        file holds the probabilities of the test rows as "test".
    """
    started = time.process_time()
    study = _begin(spec)
    _, data = study.dataset(spec["seed"])
    aligned = spec["reward"] is not None
    difference = load_arrays(spec["reward"])[f"train {spec['arm']}"] if aligned else None
    config = replace(study.training, model=spec["model"], kappa=study.kappa if aligned else 0.0)
    training = CTRTraining(data, config, seed=spec["seed"], difference=difference)
    total = training.steps_per_epoch * config.max_epochs
    for step in range(total):
        if training.finished:
            break
        training.step()
        if step % STEPS_BETWEEN_EVENTS == 0:
            yield {"step": step, "total": total}
    probabilities = predict(training.finish(), Rows.of(data, data.test))
    draws = ranking_draws(
        data.test.clicks, probabilities, data.test.users, num_users=data.num_users, draws=DRAWS
    )
    yield {
        "result": {
            "path": _save_arrays(spec, {"test": probabilities}),
            "draws": draws,
            "epochs": len(training.epochs),
            "rows": len(training.epochs) * len(data.train),
            "cpu_seconds": time.process_time() - started,
        }
    }


def load_arrays(path: str) -> dict[str, NDArray[np.float32]]:
    """What a trial left.

    Raises:
        DatasetError: If the file is gone or broken, while the trial's result is still there.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)
    except (OSError, ValueError, BadZipFile) as error:
        trials = Path(path).parents[1] / "trials"
        raise DatasetError(f"{path} cannot be read; remove {trials} to run its trials again") from error


def _begin(spec: Mapping[str, Any]) -> ClickStudy:
    import torch

    torch.set_num_threads(1)
    values = dict(spec["study"])
    training = {**values["training"], "hidden_sizes": tuple(values["training"]["hidden_sizes"])}
    names = {"models": (spec.get("model") or spec["body"],), "arms": ("ce",), "seeds": (spec["seed"],)}
    return ClickStudy(**{**values, **names, "training": CTRConfig(**training)})


def _save_arrays(spec: Mapping[str, Any], arrays: Mapping[str, NDArray[np.float32]]) -> str:
    folder = Path(spec["arrays"])
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{trial_key(spec)}.npz"
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return str(path)


def _run(
    trial: Trial, specs: Mapping[tuple[str, int, str], Any], folder: Path, progress: Progress, what: str
) -> dict[tuple[str, int, str], Any]:
    """`run_trials` with keys of three parts."""
    names = {f"{model}/{arm} seed {seed}": (model, seed, arm) for model, seed, arm in specs}
    results = run_trials(
        trial,
        {name: specs[key] for name, key in names.items()},
        store=folder / "trials",
        progress=progress,
        together=what,
    )
    return {key: results[name] for name, key in names.items()}
