"""Fits a mental reward on a log or a world, and puts a fitted one through the gate."""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from envs.click_world import ClickWorld
from rec_rl.data.transitions import UserTransitions
from rec_rl.errors import DatasetError, check_name
from rec_rl.evaluation.intervals import Estimate
from rec_rl.experiments.records import RunRecord
from rec_rl.experiments.unfinished_fit import unfinished_fit
from rec_rl.progress import Progress, progress
from rec_rl.rewards import REWARD_METHODS, MentalRewardModel, fit_mental_reward
from rec_rl.rewards.check import check_reward
from rec_rl.rewards.mental_reward import KIND

TRANSITIONS = "transitions.parquet"


@dataclass(frozen=True, kw_only=True)
class MentalFitSpec:
    """What a mental reward is fitted to.

    Attributes:
        method: Name in `rec_rl.rewards.REWARD_METHODS`.
        data: Parquet file of user transitions, or "virtual-taobao" or "click-world", which are recorded anew.
        settings: Of the method, in place of its defaults.
        weights: Networks of Virtual Taobao.
        num_users: Users or sessions to record.
        seed: Of the record and the fit.
    """

    method: str
    data: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    weights: str = "synthetic"
    num_users: int = 20_000
    seed: int = 0

    def __post_init__(self) -> None:
        check_name("reward method", self.method, REWARD_METHODS)


def fit_reward(spec: MentalFitSpec, out: Path, *, resume: bool, command: str) -> dict[str, Any]:
    """Fits the reward and leaves it, its rows and its record in ``out``.

    Raises:
        ConfigError, CheckpointError: As `unfinished_fit`.
        DatasetError: If the file of transitions cannot be read.
    """
    started = time.monotonic()
    config = REWARD_METHODS[spec.method](**spec.settings)
    with unfinished_fit(out, KIND, spec, resume=resume) as folder, progress() as shown:
        transitions = _transitions(spec, folder / TRANSITIONS, shown)
        model = fit_mental_reward(
            transitions,
            config,
            seed=spec.seed,
            on_step=lambda step, total, _: shown.update(f"fit {spec.method}", step, total),
            checkpoints=folder,
        )
        model.save(out)
        transitions.save(out / TRANSITIONS)
        record = RunRecord(
            command=command,
            seeds=[spec.seed],
            data_hash=transitions.content_hash,
            config={
                "method": spec.method,
                "data": spec.data,
                "settings": asdict(config),
                "fit": asdict(model.record),
            },
            seconds=time.monotonic() - started,
            notes=list(model.record.assumptions),
        )
        record.save(out / "record.json")
    return record.to_dict()


def _transitions(spec: MentalFitSpec, recorded: Path, shown: Progress) -> UserTransitions:
    """The rows; of Virtual Taobao they are kept in ``recorded``, since its experts take a while to train."""
    if spec.data == "click-world":
        return ClickWorld().simulate(spec.num_users, seed=spec.seed).transitions
    if spec.data == "virtual-taobao":
        if not recorded.exists():
            _record_virtual_taobao(spec, shown).save(recorded)
        return UserTransitions.load(recorded)
    if not Path(spec.data).is_file():
        raise DatasetError(
            f"--data must be a Parquet file, 'virtual-taobao' or 'click-world', got {spec.data!r}"
        )
    return UserTransitions.load(spec.data)


def _record_virtual_taobao(spec: MentalFitSpec, shown: Progress) -> UserTransitions:
    from rec_rl.experiments.experts import ExpertSpec, record_experts
    from rec_rl.experiments.presets import PLAIN
    from rec_rl.experiments.runner import start_ray
    from rec_rl.experiments.training import TrainingSpec

    start_ray()
    training = TrainingSpec(
        algorithm="sac", settings=PLAIN["sac"], weights=spec.weights, steps=25_000, seed=spec.seed
    )
    experts = ExpertSpec(training=training, num_trajectories=spec.num_users)
    return record_experts(experts, lambda done, total: shown.update("record experts", done, total))


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
