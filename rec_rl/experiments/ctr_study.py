"""What a study of click models on a log is made of: models, arms, seeds and where the rewards come from."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rec_rl.data.catalogue import load_log
from rec_rl.data.interactions import Interactions
from rec_rl.data.splits import ClickDataset, hold_out_users, split_log
from rec_rl.data.tables import ColumnMap
from rec_rl.errors import ConfigError, check_name
from rec_rl.experiments.ctr_training import CTRConfig
from rec_rl.models import MODELS

REWARDS = {"irl": "iq_learn", "mtrec": "qr_iql", "anchored": "anchored"}
"""Arms with a mental reward, as MTRec's Table 1 names them, and their methods."""

CONTROLS = ("shuffled", "placebo", "q_difference")


@dataclass(frozen=True, kw_only=True)
class ClickStudy:
    """Click models with and without mental rewards, on one log.

    Attributes:
        data: Folder or file of the log.
        mapping: Roles of the columns of a table in no known layout, as ``ColumnMap.parse`` reads them.
        models: Names in MODELS.
        arms: "ce" first, then names in REWARDS and CONTROLS.
        seeds: One split, set of negatives and set of weights each.
        kappa: Weight of the mental reward in every arm but ce.
        reward_body: The backbone that rewards are fitted on; "own" fits them on each click model's (MTRec
            A.3), at many times the cost.
        reward_epochs: Passes over the training rows, for Q and again for the reward head.
        max_history: Items of history that click models and rewards see alike.
        held_out_users: Share of users whose training rows are test rows instead; 0 keeps the split.
        labels: What counts as satisfied, as `Label.parse` reads it. A copy of the anchored reward is
            calibrated on each, on the answers of ASKED_SHARE of the clicked training rows; click models and
            the other rewards never see them.
        training: Settings of every click model but its backbone and kappa.
    """

    data: str
    mapping: str | None = None
    models: tuple[str, ...]
    arms: tuple[str, ...]
    seeds: tuple[int, ...]
    kappa: float = 0.1
    reward_body: str = "din"
    reward_epochs: int = 3
    max_history: int = 20
    held_out_users: float = 0.0
    labels: tuple[str, ...] = ()
    training: CTRConfig = field(default_factory=CTRConfig)

    def __post_init__(self) -> None:
        for name in self.models:
            check_name("model", name, MODELS)
        check_name("reward body", self.reward_body, (*MODELS, "own"))
        if not self.kappa > 0:
            raise ConfigError(f"kappa must be > 0, got {self.kappa:g}")
        if not self.models or not self.seeds:
            raise ConfigError("a study needs a model and a seed")

    @property
    def reward_arms(self) -> tuple[str, ...]:
        """The arms that have a mental reward of their own."""
        return tuple(arm for arm in self.arms if arm in REWARDS)

    def body_of(self, model: str) -> str:
        """The backbone that the rewards of a click model are fitted on."""
        return model if self.reward_body == "own" else self.reward_body

    @property
    def control_reward(self) -> str:
        """The arm whose rewards the controls shuffle and whose Q they take: the last."""
        return self.reward_arms[-1]

    def settings(self) -> dict[str, Any]:
        """Every setting, for a record; the log by its name, since its folder differs between machines."""
        return {**asdict(self), "data": Path(self.data).name}

    def dataset(self, seed: int) -> tuple[Interactions, ClickDataset]:
        """The log and its split of one seed."""
        log = load_log(Path(self.data), ColumnMap.parse(self.mapping) if self.mapping else None)
        data = split_log(log, seed=seed, max_history=self.max_history)
        if self.held_out_users:
            data = hold_out_users(data, self.held_out_users, seed=seed)
        return log, data


def parse_arms(text: str) -> tuple[str, ...]:
    """Arms of ``ce,irl,mtrec,anchored,controls`` in their order; ce is always there, for the differences.

    Raises:
        ConfigError: On an unknown arm, or controls without a reward to control.
    """
    named = [part.strip() for part in text.split(",") if part.strip()]
    for name in named:
        check_name("arm", name, ("ce", *REWARDS, "controls"))
    rewards = [arm for arm in REWARDS if arm in named]
    if "controls" in named and not rewards:
        raise ConfigError(f"controls need a reward arm ({', '.join(REWARDS)}) beside them, got {text!r}")
    return ("ce", *rewards, *(CONTROLS if "controls" in named else ()))
