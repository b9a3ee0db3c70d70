"""What offline algorithms learn from: a session log in memory, a reward model, preferences."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rec_rl.data.behaviour import column_moments
from rec_rl.data.preferences import LocatedPairs
from rec_rl.data.sessions import RequestReward, SessionLog

ACTION_QUANTILE = 0.995  # of |a| in the log: what networks divide actions by


@dataclass(frozen=True, kw_only=True)
class OfflineData:
    """Training data of one run.

    Attributes:
        log: Of the training users.
        reward: Scores requests, or what each request of the log is paid, shape [n]; None for imitation.
            Algorithms with critics evaluate a `BradleyTerryReward` on the learner, or take what was paid.
        pairs: Preferences over segments of the log, for fine-tuning the reward.
    """

    log: SessionLog
    reward: RequestReward | NDArray[np.float32] | None = None
    pairs: LocatedPairs | None = None


DataBuilder = Callable[[], OfflineData]
"""Picklable, and cheap to call again: every learner process calls it once, the one that builds it twice."""


class Inputs(NamedTuple):
    """Constants with which networks standardise what they see.

    Attributes:
        center, spread: Mean and deviation of each state column, shape [S].
        action_scale: ACTION_QUANTILE of the size of each action dimension, shape [A].
    """

    center: NDArray[np.float32]
    spread: NDArray[np.float32]
    action_scale: NDArray[np.float32]


def input_constants(log: SessionLog) -> Inputs:
    """The constants of a log."""
    center, spread = column_moments(log.states)
    scale = np.quantile(np.abs(log.actions), ACTION_QUANTILE, axis=0).astype(np.float32)
    return Inputs(center, spread, np.where(scale > 0, scale, np.float32(1)))


class Transitions(NamedTuple):
    """A minibatch as it was logged: states and next_states [B, S], actions [B, A]."""

    states: Tensor
    actions: Tensor
    next_states: Tensor


class TransitionTable:
    """A log's transitions on a device. Each state lies there once, in float16; rows are drawn by index.

    On the CPU the log's own memory is used.

    Attributes:
        rows: Of the log, that minibatches are drawn from, shape [n], on the CPU.
    """

    def __init__(self, log: SessionLog, device: torch.device) -> None:
        self._states = torch.from_numpy(log.states).to(device)
        self._actions = torch.from_numpy(log.actions).to(device)
        self.rows = torch.from_numpy(log.transition_rows)

    def draw(self, size: int, generator: torch.Generator) -> Tensor:
        """Rows of ``size`` transitions, with replacement."""
        return self.rows[torch.randint(len(self.rows), (size,), generator=generator)]

    def at(self, rows: Tensor) -> Transitions:
        """The transitions at rows of the log, which lie on the table's device."""
        return Transitions(self._states[rows].float(), self._actions[rows], self._states[rows + 1].float())
