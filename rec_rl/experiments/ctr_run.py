"""One click model from a log: split, mental reward, aligned training, metrics, record and report.

A run with a mental reward trains the plain model and three controls on the same rows beside it: rewards dealt
at random (shuffled), the same reward everywhere (placebo) and the difference of Q, which is the click logit
again (q_difference). Every other arm is compared with the plain model over the test users they share.
"""

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rec_rl.checkpoint import save_state
from rec_rl.data.catalogue import load_log
from rec_rl.data.interactions import Interactions
from rec_rl.data.splits import SAMPLED, ClickDataset, exposure_split, sampled_negative_split
from rec_rl.data.tables import ColumnMap
from rec_rl.data.transitions import UserTransitions
from rec_rl.errors import ConfigError, check_name
from rec_rl.evaluation.ranking import ranking_differences, ranking_estimates
from rec_rl.experiments.ctr_training import (
    CTRConfig,
    CTRTraining,
    backbone_config,
    predict,
    reward_differences,
)
from rec_rl.experiments.records import RunRecord, to_plain, write_text
from rec_rl.models import MODELS
from rec_rl.models.batches import Rows
from rec_rl.models.state_body import backbone_body, encode_states
from rec_rl.progress import Progress, progress
from rec_rl.report.figures import histogram, save
from rec_rl.report.page import write_report
from rec_rl.rewards import REWARD_METHODS, MentalRewardModel, fit_mental_reward
from rec_rl.rewards.controls import ShuffledReward
from rec_rl.rewards.mental_reward import EXPOSED

REWARD_HISTORY = 20  # items of history that a reward sees: all its states are in memory at once

SAMPLED_NOTE = (
    "the log records no exposures: the skips that the mental reward was fitted on are sampled negatives, "
    "which are no decisions of the user"
)


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
    """

    data: str
    mapping: str | None = None
    training: CTRConfig = field(default_factory=CTRConfig)
    reward: str | None = None
    reward_epochs: int = 3
    feedback: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
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


def run_ctr(spec: CTRRunSpec, folder: Path, *, command: str) -> dict[str, Any]:
    """Trains, judges, and leaves the run in ``folder``; returns its record.

    Raises:
        ConfigError: If the folder holds a run.
        DatasetError: If the log cannot be read or split.
    """
    started = time.monotonic()
    if (folder / "record.json").exists():
        raise ConfigError(f"{folder} holds a run already: give another --name")
    log = load_log(Path(spec.data), ColumnMap.parse(spec.mapping) if spec.mapping else None)
    data = split_log(log, seed=spec.seed)
    write_text(folder / "config.json", json.dumps(to_plain(asdict(spec)), indent=1) + "\n")
    with progress() as shown:
        differences: dict[str, NDArray[np.float32]] = {}
        notes = [f"{reason}: {count:,}" for reason, count in data.notes.items()]
        if spec.reward is not None:
            model, transitions, order = _fit_reward(spec, log, data, shown)
            model.save(folder / "reward")
            differences = _differences(spec.reward, model, transitions, order)
            notes += _assumptions(model, data)
        trained = {arm: _train(spec, data, arm, differences.get(arm), shown) for arm in ("ce", *differences)}
    main = trained[spec.reward or "ce"]
    save_state(folder / "checkpoints" / "last", main.state(), "ctr")
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


def split_log(log: Interactions, *, seed: int) -> ClickDataset:
    """By time where the log records exposures, by DIN's protocol with sampled negatives where it does not."""
    return exposure_split(log) if log.exposed.any() else sampled_negative_split(log, seed=seed)


def train_decisions(
    data: ClickDataset, log: Interactions, *, feedback: str | None = None
) -> tuple[UserTransitions, NDArray[np.int64]]:
    """The training rows as decisions, in the order of users and time.

    The next state is the user's next training row. After the last one the record stops while the user stays:
    the row is truncated, and what comes next is taken to be the item shown before, to a history that has
    grown by the click. An exit is known only where a session ends and a later one of the same user follows.
    A sampled negative is put before the action that it was drawn for, so that histories grow by clicks alone.

    Args:
        data: Split of ``log``.
        log: Knows sessions and feedback.
        feedback: A column of ``log.feedback``, brought from its range to [0, 1].

    Returns:
        The transitions, and the index of each in ``data.train``, shape [n].
    """
    sampled = _is_sampled(data)
    keys = (data.train.clicks, data.train.ends, data.train.users) if sampled else (data.train.sources,)
    order = np.lexsort(keys).astype(np.int64)
    rows = data.train.rows(order)
    at = np.arange(len(rows))
    is_last = np.append(rows.users[1:] != rows.users[:-1], True)
    is_first = np.append(True, is_last[:-1])
    following = rows.rows(at + np.where(is_last, np.where(is_first, 0, -1), 1))
    after = replace(
        following,
        starts=np.where(is_last, rows.starts, following.starts),
        ends=np.where(is_last, rows.ends + rows.clicks, following.ends),
    )
    left = np.zeros(len(rows), np.bool_)
    if log.sessions is not None and not sampled:
        session = log.sessions[rows.sources]
        left[:-1] = ~is_last[:-1] & (session[1:] != session[:-1])
    width = min(REWARD_HISTORY, int(data.settings["max_history"]))
    transitions = UserTransitions(
        states=encode_states(data, rows, width),
        actions=rows.clicks.astype(np.int64),
        next_states=encode_states(data, after, width),
        terminated=left,
        truncated=is_last,
        users=rows.users.astype(np.int64),
        feedback=None if feedback is None else _feedback(log, feedback)[rows.sources],
    )
    return transitions, order


def _feedback(log: Interactions, name: str) -> NDArray[np.float32]:
    """A column in [0, 1], and NaN behind its last row, where the source of a sampled row points."""
    column = log.feedback[check_name("feedback", name, log.feedback)]
    values = np.unique(column[~np.isnan(column)])
    if len(values) < 2:
        raise ConfigError(f"feedback {name!r} must hold two values or more, got {values.tolist()}")
    low, high = values[0], values[-1]
    return np.append((column - low) / (high - low), np.nan).astype(np.float32)


def _assumptions(model: MentalRewardModel, data: ClickDataset) -> list[str]:
    """What the rewards rest on, corrected where the log has no skips of its own."""
    sampled = _is_sampled(data)
    return [SAMPLED_NOTE if sampled and text == EXPOSED else text for text in model.record.assumptions]


def _is_sampled(data: ClickDataset) -> bool:
    return bool((data.train.sources == SAMPLED).any())


def _fit_reward(
    spec: CTRRunSpec, log: Interactions, data: ClickDataset, shown: Progress
) -> tuple[MentalRewardModel, UserTransitions, NDArray[np.int64]]:
    assert spec.reward is not None
    transitions, order = train_decisions(data, log, feedback=spec.feedback)
    training = spec.training
    steps = spec.reward_epochs * -(-len(transitions) // training.batch_size)
    config = REWARD_METHODS[spec.reward](
        learning_rate=training.learning_rate, batch_size=training.batch_size, steps=steps, head_steps=steps
    )
    model = fit_mental_reward(
        transitions,
        config,
        seed=spec.seed,
        body=backbone_body(training.model, backbone_config(data, training), data.item_categories),
        on_step=lambda step, total, _: shown.update(f"reward {spec.reward}", step, total),
    )
    return model, transitions, order


def _differences(
    method: str, model: MentalRewardModel, transitions: UserTransitions, order: NDArray[np.int64]
) -> dict[str, NDArray[np.float32]]:
    """Dn of every aligned arm on the training rows, shape [n] each."""
    rewards = model.reward(transitions.states)
    by_arm = {
        method: reward_differences(rewards),
        "shuffled": reward_differences(ShuffledReward(rewards)(transitions.states)),
        "placebo": np.ones(len(transitions), np.float32),
        "q_difference": reward_differences(model.q(transitions.states)),
    }
    back = np.argsort(order)
    return {arm: difference[back] for arm, difference in by_arm.items()}


def _train(
    spec: CTRRunSpec,
    data: ClickDataset,
    arm: str,
    difference: NDArray[np.float32] | None,
    shown: Progress,
) -> CTRTraining:
    config = spec.training if difference is not None else replace(spec.training, kappa=0.0)
    training = CTRTraining(data, config, seed=spec.seed, difference=difference)

    def show(step: int, total: int, metrics: dict[str, float]) -> None:
        auc = metrics.get("validation_auc")
        shown.update(f"{config.model} {arm}", step, total, "" if auc is None else f"validation AUC {auc:.4f}")

    training.finish(show)
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
