"""One click model from a log: split, mental reward, aligned training, metrics, record and report.

A run with a mental reward trains the plain model and three controls on the same rows beside it: rewards dealt
at random (shuffled), the same reward everywhere (placebo) and the difference of Q, which is the click logit
again (q_difference). Every other arm is compared with the plain model over the test users they share.
"""

import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rec_rl.checkpoint import CHECKPOINTS, Checkpoints
from rec_rl.data.catalogue import load_log
from rec_rl.data.interactions import Interactions
from rec_rl.data.splits import ClickDataset, split_log
from rec_rl.data.tables import ColumnMap
from rec_rl.errors import CheckpointError, ConfigError, check_name
from rec_rl.evaluation.ranking import ranking_differences, ranking_estimates
from rec_rl.experiments.ctr_notes import split_notes
from rec_rl.experiments.ctr_rewards import (
    assumptions,
    control_differences,
    fit_reward_on_backbone,
    train_decisions,
)
from rec_rl.experiments.ctr_training import (
    CTRConfig,
    CTRTraining,
    backbone_config,
    predict,
    reward_differences,
)
from rec_rl.experiments.records import RunRecord
from rec_rl.experiments.single_run import claim_folder
from rec_rl.models import MODELS
from rec_rl.models.batches import Rows
from rec_rl.models.state_body import backbone_body
from rec_rl.progress import Progress, progress
from rec_rl.report.figures import histogram, save
from rec_rl.report.page import write_report
from rec_rl.rewards import REWARD_METHODS, MentalRewardModel

REWARD_FOLDER = "reward"


@dataclass(frozen=True, kw_only=True)
class CTRRunSpec:
    """What is trained on which log.

    Attributes:
        data: Folder or file of the log.
        mapping: Roles of the columns of a table in no known layout, as ``ColumnMap.parse`` reads them.
        training: Settings of every click model; its kappa is that of the arms other than the plain one.
        reward: A name in REWARD_METHODS; None trains the plain model alone, and kappa is then 0.
        reward_epochs: Passes over the training rows, for Q and again for the reward head. More overfit the
            embeddings, as more than three do those of a click model.
        feedback: The log's column of explicit feedback that calibrates the anchored reward.
        seed: Of the split, the weights and the order of the rows.
        num_workers: Ray's processes that share each click model's training, a GPU each where there are as
            many; zero trains in this process, on the CPU. The result is the same.
    """

    data: str
    mapping: str | None = None
    training: CTRConfig = field(default_factory=CTRConfig)
    reward: str | None = None
    reward_epochs: int = 3
    feedback: str | None = None
    seed: int = 0
    num_workers: int = 0

    def __post_init__(self) -> None:
        if self.num_workers < 0:
            raise ConfigError(f"num_workers must be >= 0, got {self.num_workers}")
        check_name("model", self.training.model, MODELS)
        if self.reward is not None:
            check_name("reward method", self.reward, REWARD_METHODS)
        if (self.reward is None) != (self.training.kappa == 0):
            raise ConfigError(
                f"a mental reward and kappa > 0 go together, got reward {self.reward} and "
                f"kappa {self.training.kappa:g}"
            )
        if self.reward_epochs < 1:
            raise ConfigError(f"reward_epochs must be >= 1, got {self.reward_epochs}")
        if self.feedback is not None and self.reward != "anchored":
            raise ConfigError(f"feedback calibrates the reward anchored, got reward {self.reward}")

    @property
    def main_arm(self) -> str:
        """The model that the run is about: the aligned one if there is one."""
        return self.reward or "ce"


def run_ctr(spec: CTRRunSpec, folder: Path, *, resume: bool, command: str) -> dict[str, Any]:
    """Trains, judges, and leaves the run in ``folder``; returns its record.

    A resumed run goes on from the last checkpoint of each model and of the reward; a model shared by several
    workers begins anew.

    Raises:
        ConfigError: If the folder holds a run and ``resume`` is not asked for, or holds another one.
        DatasetError: If the log cannot be read or split.
        CheckpointError: If the log is no longer the one that the run began with.
    """
    started = time.monotonic()
    log = load_log(Path(spec.data), ColumnMap.parse(spec.mapping) if spec.mapping else None)
    data = split_log(log, seed=spec.seed)
    claim_folder(folder, spec, resume)
    with progress() as shown:
        differences: dict[str, NDArray[np.float32]] = {}
        notes = split_notes(data)
        if spec.reward is not None:
            model, differences = _mental_reward(spec, log, data, folder, shown)
            notes += assumptions(model, data)
        trained = {
            arm: _train(spec, data, folder, arm, differences.get(arm), shown) for arm in ("ce", *differences)
        }
    main = trained[spec.main_arm]
    pd.DataFrame([asdict(epoch) for epoch in main.epochs]).to_csv(folder / "metrics.csv", index=False)
    seconds = time.monotonic() - started
    num_steps = sum(training.steps_per_epoch * len(training.epochs) for training in trained.values())
    record = RunRecord(
        command=command,
        seeds=[spec.seed],
        data_hash=data.content_hash,
        config={**asdict(spec), "split": dict(data.settings), "epochs": len(main.epochs)},
        seconds=seconds,
        steps_per_second=num_steps / seconds,
        notes=notes,
    )
    record = _judge(record, spec, data, trained)
    record.save(folder / "record.json")
    figures = {}
    if spec.reward is not None:
        figures = {"mental reward": folder / "figures" / "mental-reward.png"}
        drawn = histogram({spec.reward: differences[spec.reward]}, "Dn of the training rows")
        save(drawn, figures["mental reward"])
    write_report(folder, title=f"{spec.training.model}, seed {spec.seed}", curves={}, figures=figures)
    return record.to_dict()


def _mental_reward(
    spec: CTRRunSpec, log: Interactions, data: ClickDataset, folder: Path, shown: Progress
) -> tuple[MentalRewardModel, dict[str, NDArray[np.float32]]]:
    """The reward model, and Dn of every aligned arm on the training rows, shape [n] each."""
    assert spec.reward is not None
    transitions, order = train_decisions(data, log, feedback=spec.feedback)
    fitted, unfinished = folder / REWARD_FOLDER, folder / CHECKPOINTS / REWARD_FOLDER
    if fitted.exists():
        body = backbone_body(spec.training.model, backbone_config(data, spec.training), data.item_categories)
        model = MentalRewardModel.load(fitted, body=body)
        if model.record.data_hash != transitions.content_hash:
            raise CheckpointError(f"{fitted} holds a reward of other rows than {spec.data} has now")
    else:
        model = fit_reward_on_backbone(
            transitions,
            data,
            method=spec.reward,
            body=spec.training,
            epochs=spec.reward_epochs,
            seed=spec.seed,
            on_step=lambda step, total, _: shown.update(f"reward {spec.reward}", step, total),
            checkpoints=unfinished,
        )
        model.save(fitted)
        shutil.rmtree(unfinished)
    rewards, back = model.reward(transitions.states), np.argsort(order)
    by_arm = {spec.reward: reward_differences(rewards)}
    by_arm |= control_differences(rewards, model.q(transitions.states), transitions.states)
    return model, {arm: difference[back] for arm, difference in by_arm.items()}


def _train(
    spec: CTRRunSpec,
    data: ClickDataset,
    folder: Path,
    arm: str,
    difference: NDArray[np.float32] | None,
    shown: Progress,
) -> CTRTraining:
    config = spec.training if difference is not None else replace(spec.training, kappa=0.0)
    training = CTRTraining(data, config, seed=spec.seed, difference=difference)
    checkpoints = Checkpoints(folder / CHECKPOINTS / arm, "ctr")
    checkpoints.restore(training.restore)
    if spec.num_workers > 0 and not training.finished:
        from rec_rl.experiments.ctr_distributed import train_on_workers

        training = train_on_workers(
            data, config, seed=spec.seed, num_workers=spec.num_workers, difference=difference
        )

    def on_step(step: int, total: int, metrics: dict[str, float]) -> None:
        auc = metrics.get("validation_auc")
        shown.update(f"{config.model} {arm}", step, total, "" if auc is None else f"validation AUC {auc:.4f}")
        checkpoints.offer(step, training.state)

    training.finish(on_step)
    checkpoints.keep(training.steps, training.state)
    return training


def _judge(
    record: RunRecord, spec: CTRRunSpec, data: ClickDataset, trained: Mapping[str, CTRTraining]
) -> RunRecord:
    """The record with every metric on the test rows, gains over the plain model as ``<metric>_gain``."""
    rows, test = Rows.of(data, data.test), data.test
    probabilities = {arm: predict(training.model, rows) for arm, training in trained.items()}
    estimates = {
        arm: ranking_estimates(test.clicks, p, test.users, seed=spec.seed) for arm, p in probabilities.items()
    }
    for arm in trained.keys() - {"ce"}:
        gains = ranking_differences(
            test.clicks, probabilities[arm], probabilities["ce"], test.users, seed=spec.seed
        )
        estimates[arm] |= {f"{name}_gain": gain for name, gain in gains.items()}
    if spec.reward is None:
        return replace(record, metrics=estimates["ce"])
    arms = ("ce", spec.reward)
    return replace(
        record,
        metrics=estimates[spec.reward],
        arms={arm: estimates[arm] for arm in arms},
        controls={arm: estimates[arm] for arm in trained if arm not in arms},
    )
