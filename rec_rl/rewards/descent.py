"""Gradient descents on random batches of rows, one after another, that go on where they were ended."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rec_rl.checkpoint import Checkpoints, as_tensors, check_same
from rec_rl.progress import OnStep
from rec_rl.rewards.soft_q import SoftQConfig


class Descent:
    """Adam on random batches of rows; can be ended after any step and gone on with, bit for bit.

    Rows are drawn uniformly by torch's global generator.

    Args:
        module: Whose parameters move.
        loss: Row indices [batch_size] to a scalar.
        num_rows: Rows are drawn from 0..num_rows-1.
        num_steps: How many there are to be.
        config: Rate and batch size.
        after_step: Called after each step.

    Attributes:
        losses: Of every step so far.
    """

    def __init__(
        self,
        module: nn.Module,
        loss: Callable[[Tensor], Tensor],
        *,
        num_rows: int,
        num_steps: int,
        config: SoftQConfig,
        after_step: Callable[[], None] | None = None,
    ) -> None:
        self.num_steps = num_steps
        self.losses: list[float] = []
        self._module, self._loss, self._after_step = module, loss, after_step
        self._num_rows, self._batch_size = num_rows, min(config.batch_size, num_rows)
        self._rate = config.learning_rate
        self._optimizer = torch.optim.Adam(module.parameters(), lr=self._rate, fused=True)

    @property
    def finished(self) -> bool:
        """Whether every step is taken."""
        return len(self.losses) >= self.num_steps

    @property
    def last_loss(self) -> float:
        """Mean loss of the last tenth of the steps."""
        return float(np.mean(self.losses[-max(1, self.num_steps // 10) :]))

    def step(self) -> float:
        """One gradient step; returns its batch's loss."""
        flat = 0.6 * self.num_steps
        falling = max(0.0, len(self.losses) - flat) / (self.num_steps - flat)
        self._optimizer.param_groups[0]["lr"] = self._rate * (1 - 0.9 * falling)
        loss = self._loss(torch.randint(self._num_rows, (self._batch_size,)))
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        if self._after_step is not None:
            self._after_step()
        self.losses.append(loss.item())
        return self.losses[-1]

    def state(self) -> dict[str, Any]:
        """Everything that the steps to come depend on, but for the generator."""
        return {
            "module": self._module.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "losses": self.losses,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on where ``state`` was taken; it holds tensors."""
        self._module.load_state_dict(state["module"])
        self._optimizer.load_state_dict(state["optimizer"])
        self.losses = list(state["losses"])


class DescentSequence:
    """Descents that follow one another, kept in a folder every few seconds.

    All that is random between and in them must come from torch's global generator.

    Args:
        checkpoints: The folder; a sequence that was ended there goes on, bit for bit. None keeps none.
        kind: What is fitted, for the checkpoints.
        num_steps: Of all descents.
        on_step: Called after every gradient step with the name and the loss of its descent.
        identity: Settings, seed and data, which the folder's sequence must share.

    Raises:
        CheckpointError: If another sequence lies in the folder.
    """

    def __init__(
        self,
        checkpoints: Path | None,
        kind: str,
        *,
        num_steps: int,
        on_step: OnStep | None,
        identity: Mapping[str, Any],
    ) -> None:
        self._checkpoints = Checkpoints(checkpoints, kind)
        self._num_steps, self._on_step, self._identity = num_steps, on_step, identity
        self._descents: dict[str, Descent] = {}
        self._found: dict[str, Any] = {"descents": {}}
        self._checkpoints.restore(self._take)

    def run(self, name: str, descent: Descent) -> float:
        """Takes the descent's steps that are left; returns its last loss."""
        before = sum(earlier.num_steps for earlier in self._descents.values())
        self._descents[name] = descent
        if name in self._found["descents"]:
            descent.restore(self._found["descents"][name])
            torch.set_rng_state(self._found["rng"])
        while not descent.finished:
            loss, step = descent.step(), before + len(descent.losses)
            if self._on_step is not None:
                self._on_step(step, self._num_steps, {name: loss})
            self._checkpoints.offer(step, self._state)
        self._checkpoints.keep(before + descent.num_steps, self._state)
        return descent.last_loss

    def _state(self) -> dict[str, Any]:
        descents = {name: descent.state() for name, descent in self._descents.items()}
        return {**self._identity, "descents": descents, "rng": torch.get_rng_state()}

    def _take(self, state: dict[str, Any]) -> None:
        check_same(state, **self._identity)
        self._found = as_tensors(state)
