"""Batches of labelled segments as tensors, in an order that a checkpoint can go on with."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rec_rl.data.preferences import LocatedPairs
from rec_rl.data.sessions import SessionLog
from rec_rl.errors import CheckpointError


class PreferenceBatch(NamedTuple):
    """B pairs of segments, padded to the longest.

    Attributes:
        states: Shape [B, 2, T, S], in float16 as the log has them; axis 1 is segment a, segment b.
        actions: Shape [B, 2, T, A].
        mask: 1 where a request is, 0 where a segment has ended, shape [B, 2, T].
        label: Shape [B].
    """

    states: Tensor
    actions: Tensor
    mask: Tensor
    label: Tensor


class PreferenceSampler:
    """Endless batches of pairs: each pair once before any comes again, then in a new order.

    Args:
        log: Holds the segments' rows.
        pairs: The pairs.
        batch_size: Pairs a batch, at most the number of pairs.
        seed: Of the order.
    """

    def __init__(self, log: SessionLog, pairs: LocatedPairs, *, batch_size: int, seed: int) -> None:
        if not 1 <= batch_size <= len(pairs):
            raise ValueError(f"batch_size must be in [1, {len(pairs)}], got {batch_size}")
        self.batch_size = batch_size
        self._log, self._pairs = log, pairs
        self._rng = np.random.default_rng(seed)
        self._order, self._position = self._rng.permutation(len(pairs)), 0

    def __len__(self) -> int:
        return len(self._pairs)

    def next_batch(self) -> PreferenceBatch:
        """The next ``batch_size`` pairs."""
        if self._position + self.batch_size > len(self._order):
            left = self._order[self._position :]
            self._order = np.concatenate([left, self._rng.permutation(len(self._pairs))])
            self._position = 0
        index = self._order[self._position : self._position + self.batch_size]
        self._position += self.batch_size
        return gather_pairs(self._log, self._pairs, index)

    def get_state(self) -> dict[str, Any]:
        """Where the order stands."""
        return {"rng": self._rng.bit_generator.state, "order": self._order.copy(), "position": self._position}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Goes on where ``get_state`` was called, bit for bit.

        Raises:
            CheckpointError: If the state is of another number of pairs.
        """
        if np.max(state["order"]) >= len(self._pairs):
            raise CheckpointError(f"the state is of other pairs than these {len(self._pairs)}")
        self._rng.bit_generator.state = state["rng"]
        self._order, self._position = np.asarray(state["order"]).copy(), int(state["position"])


def gather_pairs(log: SessionLog, pairs: LocatedPairs, index: NDArray[np.int64]) -> PreferenceBatch:
    """The pairs at ``index`` as a batch."""
    lengths = pairs.lengths[index, :, None]
    steps = np.arange(lengths.max())
    rows = torch.from_numpy(pairs.first_rows[index, :, None] + np.minimum(steps, lengths - 1))
    return PreferenceBatch(
        states=torch.from_numpy(log.states)[rows],
        actions=torch.from_numpy(log.actions)[rows],
        mask=torch.from_numpy((steps < lengths).astype(np.float32)),
        label=torch.from_numpy(pairs.label[index]),
    )
