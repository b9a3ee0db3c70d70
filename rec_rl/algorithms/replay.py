"""A flat ring buffer: preallocated arrays, no Python object per transition."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rec_rl.errors import CheckpointError

Arrays = dict[str, NDArray[Any]]


class ReplayBuffer:
    """Keeps the last ``capacity`` transitions and draws minibatches from them.

    Args:
        capacity: Transitions kept, >= 1.
        rng: Source of the draws; its state is part of the buffer's.
        balance: Name of an integer column. Balanced draws take each value that occurs in it equally often.
    """

    def __init__(self, capacity: int, rng: np.random.Generator, *, balance: str | None = None) -> None:
        if capacity < 1:
            raise ValueError(f"capacity must be >= 1, got {capacity}")
        self.capacity = capacity
        self.size = 0
        self._next = 0
        self._rng = rng
        self._balance = balance
        self._columns: Arrays = {}

    def add(self, rows: Mapping[str, NDArray[Any]]) -> None:
        """Appends rows, each column of shape [n, ...]; the oldest make room."""
        if not self._columns:
            self._columns = {k: np.zeros((self.capacity, *v.shape[1:]), v.dtype) for k, v in rows.items()}
        if set(rows) != set(self._columns):
            raise ValueError(f"columns must be {sorted(self._columns)}, got {sorted(rows)}")
        num_rows = len(next(iter(rows.values())))
        kept = min(num_rows, self.capacity)
        slots = (self._next + np.arange(num_rows - kept, num_rows)) % self.capacity
        for name, column in self._columns.items():
            column[slots] = rows[name][num_rows - kept :]
        self._next = int((self._next + num_rows) % self.capacity)
        self.size = min(self.size + num_rows, self.capacity)

    def sample(self, num_batches: int, batch_size: int, *, balanced_fraction: float = 0.0) -> Arrays:
        """Draws with replacement.

        Args:
            num_batches, batch_size: Shape of what is drawn.
            balanced_fraction: Part of every batch drawn evenly over the values of the ``balance`` column, in
                [0, 1].

        Returns:
            Columns of shape [num_batches, batch_size, ...].
        """
        if self.size == 0:
            raise ValueError("cannot sample from an empty buffer")
        num_balanced = round(balanced_fraction * batch_size)
        rows = self._rng.integers(0, self.size, (num_batches, batch_size))
        if num_balanced:
            rows[:, :num_balanced] = self._balanced_rows((num_batches, num_balanced))
        return {name: column[rows] for name, column in self._columns.items()}

    def _balanced_rows(self, shape: tuple[int, int]) -> NDArray[np.int64]:
        if self._balance is None:
            raise ValueError("balanced draws need the name of a balance column")
        labels = self._columns[self._balance][: self.size]
        order = np.argsort(labels, kind="stable")  # a radix sort on small integers
        values, starts, counts = np.unique(labels[order], return_index=True, return_counts=True)
        chosen = self._rng.integers(0, len(values), shape)
        within = (self._rng.random(shape) * counts[chosen]).astype(np.int64)
        picked: NDArray[np.int64] = order[starts[chosen] + within]
        return picked

    def get_state(self) -> dict[str, Any]:
        """Everything that decides the buffer's next draw; rows not yet filled are left out."""
        return {
            "columns": {k: v[: self.size] for k, v in self._columns.items()},
            "capacity": self.capacity,
            "size": self.size,
            "next": self._next,
            "rng": self._rng.bit_generator.state,
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Goes on where `get_state` was called.

        Raises:
            CheckpointError: If the state is of a buffer of another capacity.
        """
        if state["capacity"] != self.capacity:
            raise CheckpointError(f"replay capacity must be {self.capacity}, got {state['capacity']}")
        self.size, self._next = state["size"], state["next"]
        self._columns = {
            k: np.zeros((self.capacity, *v.shape[1:]), v.dtype) for k, v in state["columns"].items()
        }
        for name, column in self._columns.items():
            column[: self.size] = state["columns"][name]
        self._rng.bit_generator.state = state["rng"]
