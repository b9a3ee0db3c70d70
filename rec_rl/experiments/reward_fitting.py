"""Fits a mental reward on a log or a world, and puts a fitted one through the gate."""

import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from envs.click_world import ClickWorld
from rec_rl.data.transitions import UserTransitions
from rec_rl.errors import DatasetError, check_name
from rec_rl.evaluation.intervals import Estimate
from rec_rl.experiments.records import RunRecord
from rec_rl.progress import Progress, progress
from rec_rl.rewards import REWARD_METHODS, MentalRewardModel, fit_mental_reward
from rec_rl.rewards.check import check_reward

TRANSITIONS = "transitions.parquet"


def fit_reward(
    method: str,
    data: str,
    out: Path,
    *,
    settings: Mapping[str, Any],
    weights: str,
    num_users: int,
    seed: int,
    command: str,
) -> dict[str, Any]:
    """Fits ``method`` and leaves the reward, and the transitions of a world, in ``out``.

    Args:
        method: Name in `rec_rl.rewards.REWARD_METHODS`.
        data: Parquet file of user transitions, or "virtual-taobao" or "click-world", which are recorded anew.
        out: Folder of the reward.
        settings: Of the method, in place of its defaults.
        weights: Networks of Virtual Taobao.
        num_users: Users or sessions to record.
        seed: Of the record and the fit.
        command: For the record.
    """
    check_name("reward method", method, REWARD_METHODS)
    started = time.monotonic()
    with progress() as shown:
        transitions = _transitions(data, weights, num_users, seed, shown)
        model = fit_mental_reward(
            transitions,
            REWARD_METHODS[method](**settings),
            seed=seed,
            on_step=lambda step, total, _: shown.update(f"fit {method}", step, total),
        )
    model.save(out)
    transitions.save(out / TRANSITIONS)
    record = RunRecord(
        command=command,
        seeds=[seed],
        data_hash=transitions.content_hash,
        config={
            "method": method,
            "data": data,
            "settings": asdict(model.config),
            "fit": asdict(model.record),
        },
        seconds=time.monotonic() - started,
        notes=list(model.record.assumptions),
    )
    record.save(out / "record.json")
    return record.to_dict()


def _transitions(data: str, weights: str, num_users: int, seed: int, shown: Progress) -> UserTransitions:
    if data == "click-world":
        return ClickWorld().simulate(num_users, seed=seed).transitions
    if data == "virtual-taobao":
        from rec_rl.experiments.experts import ExpertSpec, record_experts
        from rec_rl.experiments.presets import PLAIN
        from rec_rl.experiments.runner import start_ray
        from rec_rl.experiments.training import TrainingSpec

        start_ray()
        training = TrainingSpec(
            algorithm="sac", settings=PLAIN["sac"], weights=weights, steps=25_000, seed=seed
        )
        spec = ExpertSpec(training=training, num_trajectories=num_users)
        return record_experts(spec, lambda done, total: shown.update("record experts", done, total))
    if not Path(data).is_file():
        raise DatasetError(f"--data must be a Parquet file, 'virtual-taobao' or 'click-world', got {data!r}")
    return UserTransitions.load(data)


def check_fitted(
    folder: Path, data: Path | None, *, seed: int, command: str
) -> tuple[dict[str, Any], list[str], bool]:
    """Puts a fitted reward through the gate.

    Returns:
        The record, the findings and the verdict in sentences, and whether it passed.
    """
    started = time.monotonic()
    model = MentalRewardModel.load(folder)
    transitions = UserTransitions.load(data or folder / TRANSITIONS)
    result = check_reward(model, transitions, seed=seed)
    marks = {True: "pass", False: "FAIL", None: "  - "}
    sentences = [
        f"{marks[f.passed]}  {f.name}: {f.value:.4g} (wanted {f.bound}). {f.sentence}"
        for f in result.findings
    ]
    record = RunRecord(
        command=command,
        seeds=[seed],
        data_hash=transitions.content_hash,
        config={"reward": str(folder), "findings": [asdict(f) for f in result.findings]},
        metrics={
            f.name.replace(" ", "_"): Estimate(
                value=f.value,
                low=float("nan"),
                high=float("nan"),
                n=len(transitions),
                verdict=marks[f.passed],
            )
            for f in result.findings
        },
        seconds=time.monotonic() - started,
        notes=[result.verdict],
    )
    return record.to_dict(), [*sentences, result.verdict], result.passed is True
