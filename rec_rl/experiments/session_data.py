"""What a run on session logs learns from and is judged on: logs, preferences, a reward."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from envs.session_rollouts import record_log
from envs.session_world import SessionWorld
from rec_rl.algorithms.offline_data import OfflineData
from rec_rl.data.levels import TASKS, Task, session_levels
from rec_rl.data.preferences import (
    TEACHERS,
    LocatedPairs,
    PreferencePairs,
    Teacher,
    locate_pairs,
    scripted_preferences,
)
from rec_rl.data.session_files import load_log
from rec_rl.data.sessions import RequestReward, SessionLog
from rec_rl.errors import ConfigError, check_name
from rec_rl.progress import OnStep
from rec_rl.rewards.bradley_terry import (
    BradleyTerryConfig,
    BradleyTerryNetwork,
    BradleyTerryRecord,
    BradleyTerryReward,
    fit_bradley_terry,
)
from rec_rl.rewards.linear_reward import fit_linear_reward
from rec_rl.rewards.session_reward import fit_session_reward

WORLD, REPLAY = "session-world", "session-replay"
ENVS = (WORLD, REPLAY)
REWARDS = ("network", "linear", "session", "untrained")
TEST_SEED = 1_000_000
"""Of the users that policies are judged on, and their lives; apart from every training seed."""
TEST_SHARE = 0.2
VALIDATION_USERS = 500
SMALL_REWARD = BradleyTerryConfig(hidden_sizes=(128, 128, 128), batch_size=64)


@dataclass(frozen=True, kw_only=True)
class SessionData:
    """Where a run's data come from; the same values give the same data.

    Attributes:
        env: "session-world" records the logging policy; "session-replay" takes a log file.
        log: The file.
        num_users, num_test_users, num_requests: Of the world. Test users are others than those of training.
        task: Whose levels the scripted teacher compares.
        teacher, num_pairs, segment_length: See `scripted_preferences`.
        pairs: File of labelled pairs that takes the place of the scripted teacher.
        reward: "network" (Bradley-Terry), "linear", "session" (paid with a session's last request), or
            "untrained": a network that saw no pair.
        reward_config: Of the network.
        reward_folder: Where the network is kept, and found by a later run of the same data. None keeps none.
        seed: Of users, lives, splits, pairs and the reward.
    """

    env: str = WORLD
    log: str | None = None
    num_users: int = 6000
    num_test_users: int = 1500
    num_requests: int = 240
    task: Task = "mixture"
    teacher: Teacher = "request"
    num_pairs: int = 4000
    segment_length: int = 100
    pairs: str | None = None
    reward: str = "network"
    reward_config: BradleyTerryConfig = field(default=SMALL_REWARD)
    reward_folder: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        check_name("env", self.env, ENVS)
        check_name("task", self.task, TASKS)
        check_name("teacher", self.teacher, TEACHERS)
        check_name("reward", self.reward, REWARDS)
        if (self.env == REPLAY) != (self.log is not None):
            raise ConfigError(f"env {REPLAY} needs a log and {WORLD} takes none, got log {self.log}")

    @classmethod
    def from_plain(cls, values: Mapping[str, Any]) -> "SessionData":
        """The inverse of `dataclasses.asdict`."""
        reward = values["reward_config"]
        config = BradleyTerryConfig(**{**reward, "hidden_sizes": tuple(reward["hidden_sizes"])})
        return cls(**{**values, "reward_config": config})


class Logs(NamedTuple):
    """Logs of three sets of users: to learn from, to watch learning with, to judge on."""

    train: SessionLog
    validation: SessionLog
    test: SessionLog


def logs_of(data: SessionData) -> Logs:
    """The logs; those of the last call are kept in memory."""
    if data.env == REPLAY:
        assert data.log is not None
        return _split_file(data.log, data.seed)
    return _recorded(data.num_users, data.num_test_users, data.num_requests, data.seed)


def with_kept_reward(data: SessionData, folder: Path, on_step: OnStep) -> SessionData:
    """The data with its network of a reward in ``folder``: fitted there, unless it is, or was given.

    Args:
        data: Of a run.
        folder: Where the run keeps it. A fit that was ended goes on from ``FOLDER.unfinished``.
        on_step: As in `fit_bradley_terry`.
    """
    if data.reward != "network" or data.reward_folder is not None:
        return data
    if not folder.is_dir():
        log, unfinished = logs_of(data).train, folder.with_name(f"{folder.name}.unfinished")
        pairs = preference_pairs(data, log)
        reward = fit_bradley_terry(
            log, pairs, data.reward_config, seed=data.seed, on_step=on_step, checkpoints=unfinished
        )
        reward.save(folder)
        shutil.rmtree(unfinished)
    return replace(data, reward_folder=str(folder.absolute()))


@lru_cache(maxsize=1)
def offline_data(data: SessionData) -> OfflineData:
    """What an algorithm learns from; that of the last call is kept in memory."""
    log = logs_of(data).train
    pairs = preference_pairs(data, log)
    return OfflineData(log=log, reward=_reward(data, log, pairs), pairs=pairs)


def test_world(data: SessionData) -> SessionWorld:
    """The users that policies are judged on, before their logged life."""
    return SessionWorld(data.num_test_users, TEST_SEED + data.seed)


def preference_pairs(data: SessionData, log: SessionLog) -> LocatedPairs:
    """The file's pairs, else the scripted teacher's, in the log."""
    labelled = labelled_pairs(
        log,
        data.pairs,
        task=data.task,
        teacher=data.teacher,
        num_pairs=data.num_pairs,
        segment_length=data.segment_length,
        seed=data.seed,
    )
    return locate_pairs(labelled, log)


def labelled_pairs(
    log: SessionLog,
    file: str | None,
    *,
    task: Task,
    teacher: Teacher,
    num_pairs: int,
    segment_length: int,
    seed: int,
) -> PreferencePairs:
    """The pairs of ``file``, else those of a scripted teacher of ``task`` (see `scripted_preferences`)."""
    if file is not None:
        return PreferencePairs.load(file)
    return scripted_preferences(
        log,
        session_levels(log).of(task),
        teacher=teacher,
        num_pairs=num_pairs,
        segment_length=segment_length,
        min_requests=2 * segment_length,
        seed=seed,
    )


def _reward(data: SessionData, log: SessionLog, pairs: LocatedPairs) -> RequestReward | NDArray[np.float32]:
    if data.reward == "linear":
        return fit_linear_reward(log, pairs)
    if data.reward == "session":
        return fit_session_reward(log, pairs).of_requests(log)
    if data.reward == "untrained":
        return _untrained(data, log)
    if data.reward_folder is None:
        return fit_bradley_terry(log, pairs, data.reward_config, seed=data.seed)
    folder = Path(data.reward_folder)
    if not folder.is_dir():
        fit_bradley_terry(log, pairs, data.reward_config, seed=data.seed).save(folder)
    return BradleyTerryReward.load(folder)


def _untrained(data: SessionData, log: SessionLog) -> BradleyTerryReward:
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(data.seed)
        network = BradleyTerryNetwork(
            log.states.shape[1], log.actions.shape[1], data.reward_config.hidden_sizes
        )
    network.fit_inputs(log)
    network.fit_rewards(log)
    record = BradleyTerryRecord(
        config=data.reward_config,
        seed=data.seed,
        num_pairs=0,
        num_missing=0,
        data_hash=log.content_hash,
        loss=(),
        accuracy=(),
    )
    return BradleyTerryReward(network, record)


@lru_cache(maxsize=1)
def _split_file(path: str, seed: int) -> Logs:
    rest, test = load_log(path).split(TEST_SHARE, seed=seed)
    return _hold_out(rest, test, seed)


@lru_cache(maxsize=1)
def _recorded(num_users: int, num_test_users: int, num_requests: int, seed: int) -> Logs:
    everyone = record_log(SessionWorld(num_users, seed), num_requests).log
    test = record_log(SessionWorld(num_test_users, TEST_SEED + seed), num_requests).log
    return _hold_out(everyone, test, seed)


def _hold_out(rest: SessionLog, test: SessionLog, seed: int) -> Logs:
    """Takes a tenth of the users, and no more than VALIDATION_USERS, for validation."""
    num_users = len(rest.user_ids)
    train, validation = rest.split(min(0.1, VALIDATION_USERS / num_users), seed=seed)
    return Logs(train, validation, test)
