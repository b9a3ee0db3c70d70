"""One run on a session log in its own folder: checkpoints, policy, metrics, record, figures and report."""

import math
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pandas as pd

from rec_rl.algorithms.session_policy import load_session_policy
from rec_rl.checkpoint import CHECKPOINTS
from rec_rl.data.levels import TASKS
from rec_rl.errors import DatasetError
from rec_rl.evaluation.intervals import Estimate
from rec_rl.evaluation.off_policy import NOT_SUPPORTED
from rec_rl.experiments.offline_training import OfflineSpec, check_settings, judge, train_offline
from rec_rl.experiments.records import RunRecord
from rec_rl.experiments.session_data import SessionData, logs_of, with_kept_reward
from rec_rl.experiments.single_run import claim_folder, read_config
from rec_rl.progress import progress, say
from rec_rl.rewards.bradley_terry import BradleyTerryReward


def run_offline_training(spec: OfflineSpec, folder: Path, *, resume: bool, command: str) -> dict[str, Any]:
    """Trains, judges on the test users, and leaves the run in ``folder``; returns its record.

    Raises:
        ConfigError: If a setting is wrong; if the folder holds a run and ``resume`` is not asked for, or
            holds another one.
    """
    from rec_rl.report.figures import save
    from rec_rl.report.offline_figures import curves_figure
    from rec_rl.report.page import rewrite_report

    started = time.monotonic()
    check_settings(spec)
    claim_folder(folder, spec, resume)
    result: dict[str, Any] = {}
    with progress() as shown:
        data = with_kept_reward(
            spec.data,
            folder / CHECKPOINTS / "reward",
            on_step=lambda step, total, now: shown.update(
                "reward", step, total, f"accuracy {now['accuracy']:.2f}"
            ),
        )
        for event in train_offline(replace(spec, data=data), folder):
            if "note" in event:
                say(event["note"])
            if event["total"]:
                shown.update(spec.algorithm, event["step"], event["total"])
            result = event.get("result", result)
    seconds = time.monotonic() - started
    record = RunRecord(
        command=command,
        seeds=[spec.seed],
        data_hash=logs_of(spec.data).train.content_hash,
        config=asdict(spec),
        metrics=judged_metrics(result),
        seconds=seconds,
        steps_per_second=result["steps"] / seconds if result["steps"] else None,
        notes=verdicts(result),
    )
    record.save(folder / "record.json")
    if result["curve"]:
        pd.DataFrame(result["curve"]).to_csv(folder / "metrics.csv", index=False)
        for task in TASKS:
            drawn = curves_figure({spec.algorithm: [result["curve"]]}, task)
            save(drawn, folder / "figures" / f"ncis-{task}-while-training.png")
    rewrite_report(folder)
    return record.to_dict()


def learned_from(data: SessionData, reward: Path) -> SessionData:
    """The data with a reward that was fitted to preferences before, in the folder ``reward``.

    Raises:
        CheckpointError: If it is not the folder of such a reward.
        DatasetError: If the reward is of other states or actions than the log's.
    """
    network = BradleyTerryReward.load(reward).network
    log = logs_of(data).train
    takes = len(network.center), len(network.action_scale)
    has = log.states.shape[1], log.actions.shape[1]
    if takes != has:
        raise DatasetError(f"{reward} is of states and actions of sizes {takes}, the log's have {has}")
    return replace(data, reward="network", reward_folder=str(reward.absolute()))


def run_offline_evaluation(folder: Path, seed: int, command: str) -> dict[str, Any]:
    """Judges the policy of a run on its test users; in the world, in life ``seed`` of theirs.

    Raises:
        DatasetError: If it is the folder of another run.
    """
    config = read_config(folder)
    if "algorithm" not in config:
        raise DatasetError(f"{folder} is not the folder of a run of rec-rl train")
    spec = OfflineSpec.from_plain(config)
    result = judge(spec.data, load_session_policy(folder), life=seed)
    return RunRecord(
        command=command,
        seeds=[seed],
        data_hash=logs_of(spec.data).test.content_hash,
        config={"run": str(folder)},
        metrics=judged_metrics(result),
        notes=verdicts(result),
    ).to_dict()


def judged_metrics(result: Mapping[str, Any]) -> dict[str, Estimate]:
    """What `judge` said, as metrics: the tasks' true values if there are any, and NCIS of each."""
    online = {
        task: Estimate(value=value, low=float("nan"), high=float("nan"), n=1)
        for task, value in result.get("online", {}).items()
    }
    return online | {f"ncis_{task}": refused(Estimate(**found)) for task, found in result["ncis"].items()}


def refused(estimate: Estimate) -> Estimate:
    """The estimate, without its number where its verdict is NOT SUPPORTED."""
    if not str(estimate.verdict).startswith(NOT_SUPPORTED):
        return estimate
    return replace(estimate, value=math.nan, low=math.nan, high=math.nan, per_seed=None)


def verdicts(result: Mapping[str, Any]) -> list[str]:
    """What the log of the test users says of the policy, in words."""
    return [
        f"ncis_{task}: {found['verdict']} (D2 {found['d2']:.2f}, worth {found['ess']:,.0f} sessions)"
        for task, found in result["ncis"].items()
    ]
