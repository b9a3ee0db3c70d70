"""What a sweep can tune: algorithms, mental rewards and click models, each as a trial with named metrics."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from envs.click_world import ClickWorld
from envs.virtual_taobao_networks import VirtualTaobaoNetworks
from rec_rl.checkpoint import load_state, save_state
from rec_rl.data.catalogue import load_log
from rec_rl.data.splits import ClickDataset, split_log
from rec_rl.data.tables import ColumnMap
from rec_rl.data.transitions import UserTransitions
from rec_rl.errors import ConfigError, check_name
from rec_rl.experiments.ctr_training import CTRConfig, CTRTraining
from rec_rl.experiments.presets import PLAIN
from rec_rl.experiments.session_data import REPLAY, WORLD, SessionData, logs_of
from rec_rl.experiments.training import TrainingSpec, train
from rec_rl.models import MODELS
from rec_rl.rewards import REWARD_METHODS, fit_mental_reward
from tuning.search_spaces import (
    AnchoredSpace,
    CriticSpace,
    CTRSpace,
    IQLearnSpace,
    OfflineSpace,
    PPOSpace,
    SACSpace,
    SearchSpace,
    SupportedSpace,
)

VIRTUAL_TAOBAO, CLICK_WORLD, CLICK_LOG = "virtual-taobao", "click-world", "click-log"
REPORTS = 9
"""Reports of a trial on the way, after which a scheduler may stop it."""
OFFLINE_REPORTS = 3
UNSUPPORTED = 0.0
"""What an estimate counts that a log does not support: the least that users can earn."""
WORLD_USERS = 20_000
CTR_EPOCHS = 10

Reports = Iterator[dict[str, float]]


@dataclass(frozen=True, kw_only=True)
class SweepTarget:
    """What is tuned, on what.

    Attributes:
        name: Of an algorithm, a mental reward or a click model.
        env: A name in TARGETS: where it is tuned.
        data: File or folder of a log, for session-replay, click-log and mental rewards.
        mapping: Columns of a click log in no known layout.
        weights: Networks of Virtual Taobao.
        steps: Environment or gradient steps of an algorithm.
        seed: Of everything random in a trial.
    """

    name: str
    env: str
    data: str | None = None
    mapping: str | None = None
    weights: str = "synthetic"
    steps: int = 20_000
    seed: int = 0

    def __post_init__(self) -> None:
        check_name("env", self.env, TARGETS)
        check_name(f"target on {self.env}", self.name, self.kind.names())
        if self.env in (CLICK_LOG, REPLAY) and self.data is None:
            raise ConfigError(f"env {self.env} needs --data")
        if self.steps < REPORTS:
            raise ConfigError(f"steps must be >= {REPORTS}, got {self.steps}")

    @property
    def kind(self) -> "TargetKind":
        """What its trials have in common."""
        return TARGETS[self.env]

    @property
    def space(self) -> SearchSpace:
        """Where its settings are drawn from."""
        return self.kind.space(self.name)

    @property
    def data_hash(self) -> str:
        """Of the data that decided; results compare only where it is equal."""
        return self.kind.data_hash(self)

    @property
    def metrics(self) -> dict[str, str]:
        """What its trials report, and whether the most ("max") or the least ("min") is best."""
        knows_satisfaction = self.env == VIRTUAL_TAOBAO and self.weights == "synthetic"
        return {**self.kind.metrics, **({"satisfaction": "max"} if knows_satisfaction else {})}

    @property
    def max_steps(self) -> int:
        """Step of a trial's last report."""
        return self.kind.max_steps or self.steps


@dataclass(frozen=True, kw_only=True)
class TargetKind:
    """What the targets of one environment share.

    Attributes:
        names: What can be tuned there.
        space: The space of a name.
        trial: See `run_trial`.
        data_hash: See `SweepTarget.data_hash`.
        metrics: Names with "max" or "min"; the first decides unless told otherwise.
        mutable: Settings that can change in mid-trial.
        max_steps: Step of the last report; 0 is the target's ``steps``.
        reports_on_the_way: Whether a scheduler has something to decide on.
    """

    names: Callable[[], Iterable[str]]
    space: Callable[[str], SearchSpace]
    trial: Callable[[SweepTarget, Mapping[str, Any], Path], Reports]
    data_hash: Callable[[SweepTarget], str]
    metrics: Mapping[str, str]
    mutable: tuple[str, ...] = ()
    max_steps: int = 0
    reports_on_the_way: bool = True


def run_trial(target: SweepTarget, settings: Mapping[str, Any], folder: Path) -> Reports:
    """One trial of ``target``; see `tuning.tuner.Trial`."""
    import torch

    torch.set_num_threads(1)
    yield from target.kind.trial(target, settings, folder)


def _online(target: SweepTarget, settings: Mapping[str, Any], folder: Path) -> Reports:
    spec = TrainingSpec(
        algorithm=target.name,
        settings={**PLAIN[target.name], **settings},
        weights=target.weights,
        steps=target.steps,
        seed=target.seed,
        evaluate_every=target.steps // REPORTS,
    )
    for event in train(spec, folder):
        if "ectr" in event:
            figures = event.get("result", event)
            yield {"step": event["step"], **{name: figures[name] for name in target.metrics}}


def _offline(target: SweepTarget, settings: Mapping[str, Any], folder: Path) -> Reports:
    """In the world what policies truly earn; elsewhere what the log says on validation users."""
    from rec_rl.experiments.offline_presets import WORLD_SETTINGS, data_for
    from rec_rl.experiments.offline_training import OfflineSpec, train_offline

    spec = OfflineSpec(
        algorithm=target.name,
        settings={**WORLD_SETTINGS[target.name], **settings},
        data=data_for(target.name, _session_data(target)),
        steps=target.steps,
        evaluations=OFFLINE_REPORTS,
        seed=target.seed,
    )
    online = target.env == WORLD
    for event in train_offline(spec, folder, evaluate_online=online):
        if "supported" in event:
            counted = online or event["supported"]
            values = {name: event[name] if counted else UNSUPPORTED for name in target.metrics}
            yield {"step": event["step"], **values}


def _mental_reward(target: SweepTarget, settings: Mapping[str, Any], folder: Path) -> Reports:
    """One report, of held-out users."""
    config = REWARD_METHODS[target.name](**settings)
    record = fit_mental_reward(user_transitions(target), config, seed=target.seed).record
    yield {"step": 1, **{name: getattr(record, name) for name in target.metrics}}


def _click_model(target: SweepTarget, settings: Mapping[str, Any], folder: Path) -> Reports:
    """The best AUC so far on validation rows, after every epoch."""
    config = CTRConfig(model=target.name, max_epochs=CTR_EPOCHS, **settings)
    training = CTRTraining(click_rows(target), config, seed=target.seed)
    kept = folder / "training"
    if kept.exists():
        training.restore(load_state(kept, "ctr"))
    while not training.finished:
        for _ in range(training.steps_per_epoch):
            training.step()
        save_state(kept, training.state(), "ctr")
        best = max(epoch.validation_auc for epoch in training.epochs)
        yield {"step": len(training.epochs), "auc": best}


def user_transitions(target: SweepTarget) -> UserTransitions:
    """What a mental reward is fitted on: a Parquet file, or the click world recorded anew."""
    if target.data is not None:
        return UserTransitions.load(target.data)
    return ClickWorld().simulate(WORLD_USERS, seed=target.seed).transitions


def click_rows(target: SweepTarget) -> ClickDataset:
    """The split log of a click model."""
    assert target.data is not None
    mapping = ColumnMap.parse(target.mapping) if target.mapping else None
    return split_log(load_log(Path(target.data), mapping), seed=target.seed)


def _session_data(target: SweepTarget) -> SessionData:
    return SessionData(env=target.env, log=target.data, seed=target.seed)


def _online_names() -> Iterable[str]:
    from rec_rl.algorithms.catalogue import ALGORITHMS

    return ALGORITHMS


def _offline_names() -> Iterable[str]:
    from rec_rl.algorithms.catalogue import OFFLINE_ALGORITHMS

    return OFFLINE_ALGORITHMS


_OFFLINE_SPACES: dict[str, SearchSpace] = {"il": OfflineSpace(), "prefrec_supported": SupportedSpace()}

_ONLINE_LEVELS = TargetKind(
    names=_offline_names,
    space=lambda name: _OFFLINE_SPACES.get(name, CriticSpace()),
    trial=_offline,
    data_hash=lambda target: logs_of(_session_data(target)).train.content_hash,
    metrics={"mixture": "max", "depth": "max", "frequency": "max"},
)
_ESTIMATED_LEVELS = replace(
    _ONLINE_LEVELS, metrics={"ncis_mixture": "max", "ncis_depth": "max", "ncis_frequency": "max"}
)

TARGETS: dict[str, TargetKind] = {
    VIRTUAL_TAOBAO: TargetKind(
        names=_online_names,
        space=lambda name: PPOSpace() if name == "ppo" else SACSpace(),
        trial=_online,
        data_hash=lambda target: VirtualTaobaoNetworks.load(target.weights).content_hash,
        metrics={"ectr": "max"},
        mutable=("lr", "batch_size"),
    ),
    WORLD: _ONLINE_LEVELS,
    REPLAY: _ESTIMATED_LEVELS,
    CLICK_WORLD: TargetKind(
        names=lambda: REWARD_METHODS,
        space=lambda name: AnchoredSpace() if name == "anchored" else IQLearnSpace(),
        trial=_mental_reward,
        data_hash=lambda target: user_transitions(target).content_hash,
        metrics={"log_likelihood": "max", "coverage_error": "min"},
        max_steps=1,
        reports_on_the_way=False,
    ),
    CLICK_LOG: TargetKind(
        names=lambda: MODELS,
        space=lambda name: CTRSpace(),
        trial=_click_model,
        data_hash=lambda target: click_rows(target).content_hash,
        metrics={"auc": "max"},
        max_steps=CTR_EPOCHS,
    ),
}
