"""The user's decisions as rows of a Markov decision process (MTRec Sec. 4.1)."""

import os
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from rec_rl.data.hashing import content_hash
from rec_rl.errors import DatasetError

_DTYPES = {
    "states": np.float32,
    "actions": np.int64,
    "next_states": np.float32,
    "terminated": np.bool_,
    "truncated": np.bool_,
    "users": np.int64,
    "feedback": np.float32,
}
_OPTIONAL = ("users", "feedback")


@dataclass(frozen=True, kw_only=True)
class UserTransitions:
    """Rows (s, a, s', terminated, truncated) in which the user, not the recommender, is the agent.

    A state is the user's history and the item shown. A skip is a real exposure that the user declined: a
    sampled negative is no decision, and rewards learned from one mean nothing.

    Attributes:
        states, next_states: Shape [n, d], float32, finite.
        actions: 0 skip or 1 click, shape [n], int64.
        terminated: The user left; V(s') = 0. Shape [n], bool. Never drop these rows: dropped or mislabelled
            exits make the recovered rewards several times worse.
        truncated: The record stopped while the user stayed; s' is kept and bootstraps. Shape [n], bool.
        users: Who acted, shape [n], int64; a user's rows in order of time. None where unknown. Splits keep
            users whole.
        feedback: What the user said about the item: 0 regrets to 1 is glad, NaN where nothing was said.
            Shape [n], float32; None where nobody was asked.
    """

    states: NDArray[np.float32]
    actions: NDArray[np.int64]
    next_states: NDArray[np.float32]
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    users: NDArray[np.int64] | None = None
    feedback: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        if self.states.ndim != 2 or 0 in self.states.shape:
            raise DatasetError(f"states must have shape [n, d] with n, d >= 1, got {self.states.shape}")
        for name, array in self._columns().items():
            shape = self.states.shape if name.endswith("states") else self.states.shape[:1]
            if array.dtype != _DTYPES[name] or array.shape != shape:
                expected = f"{np.dtype(_DTYPES[name])} of shape {shape}"
                raise DatasetError(f"{name} must be {expected}, got {array.dtype} of {array.shape}")
            if name.endswith("states") and not np.isfinite(array).all():
                row = int(np.argmin(np.isfinite(array).all(axis=1)))
                raise DatasetError(f"{name} must be finite, row {row} is not")
        if not np.isin(self.actions, (0, 1)).all():
            other = self.actions[~np.isin(self.actions, (0, 1))][0]
            raise DatasetError(f"actions must be 0 (skip) or 1 (click), got {other}")
        both = self.terminated & self.truncated
        if both.any():
            row = int(np.argmax(both))
            raise DatasetError(f"a row cannot be terminated and truncated, row {row} is both")
        if self.feedback is not None and ((self.feedback < 0) | (self.feedback > 1)).any():
            row = int(np.argmax((self.feedback < 0) | (self.feedback > 1)))
            raise DatasetError(f"feedback must be in [0, 1] or NaN, row {row} has {self.feedback[row]:g}")

    def __len__(self) -> int:
        return len(self.actions)

    @property
    def num_features(self) -> int:
        """Width d of a state."""
        return int(self.states.shape[1])

    @property
    def has_feedback(self) -> bool:
        """Whether any row has explicit feedback."""
        return self.feedback is not None and not bool(np.isnan(self.feedback).all())

    @cached_property
    def content_hash(self) -> str:
        """SHA-256 of every column."""
        return content_hash(*self._columns().values())

    def rows(self, index: NDArray[np.int64] | NDArray[np.bool_]) -> "UserTransitions":
        """The rows at ``index``, in its order."""
        return replace(self, **{name: array[index] for name, array in self._columns().items()})

    def split(self, share: float, *, seed: int) -> tuple["UserTransitions", "UserTransitions"]:
        """All but a share, and the share, drawn by user where users are known and by row where not.

        Raises:
            DatasetError: If one side would be empty.
        """
        if not 0 < share < 1:
            raise ValueError(f"share must be in (0, 1), got {share}")
        units = np.arange(len(self)) if self.users is None else np.unique(self.users, return_inverse=True)[1]
        num_units = int(units.max()) + 1
        num_chosen = round(share * num_units)
        if not 0 < num_chosen < num_units:
            raise DatasetError(f"too few users to hold out a share of {share}: got {num_units}")
        chosen = np.zeros(num_units, dtype=np.bool_)
        chosen[np.random.default_rng(seed).permutation(num_units)[:num_chosen]] = True
        return self.rows(~chosen[units]), self.rows(chosen[units])

    def save(self, path: str | Path) -> None:
        """Writes one Parquet file that carries its content hash; the file appears whole or not at all."""
        path = Path(path)
        table = pa.table({name: _to_arrow(array) for name, array in self._columns().items()})
        table = table.replace_schema_metadata({"content_hash": self.content_hash})
        temporary = path.with_name(f".{path.name}.tmp")
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            pq.write_table(table, temporary, compression="zstd")
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: str | Path) -> "UserTransitions":
        """Reads what ``save`` wrote.

        Raises:
            DatasetError: If the file is missing, is not such a file, or its content does not match its hash.
        """
        try:
            table = pq.read_table(path)
        except (OSError, pa.ArrowException) as error:
            raise DatasetError(f"{path} cannot be read as Parquet: {error}") from error
        recorded = (table.schema.metadata or {}).get(b"content_hash", b"").decode()
        required = [field.name for field in fields(cls) if field.name not in _OPTIONAL]
        missing = [name for name in required if name not in table.column_names]
        if missing or not recorded:
            raise DatasetError(
                f"{path} holds no user transitions: {', '.join(missing) or 'content_hash'} missing"
            )
        columns = {name: _to_numpy(table[name]) for name in _DTYPES if name in table.column_names}
        transitions = cls(**columns)
        if transitions.content_hash != recorded:
            raise DatasetError(
                f"{path} is corrupt: content hash {transitions.content_hash[:12]}, recorded {recorded[:12]}"
            )
        return transitions

    def _columns(self) -> dict[str, NDArray[Any]]:
        columns = {name: getattr(self, name) for name in _DTYPES}
        return {name: array for name, array in columns.items() if array is not None}


def _to_arrow(array: NDArray[Any]) -> "pa.Array":
    if array.ndim == 1:
        return pa.array(array)
    return pa.FixedSizeListArray.from_arrays(pa.array(array.reshape(-1)), array.shape[1])


def _to_numpy(column: "pa.ChunkedArray") -> NDArray[Any]:
    array = column.combine_chunks()
    if pa.types.is_fixed_size_list(array.type):
        flat: NDArray[Any] = array.flatten().to_numpy(zero_copy_only=False)
        return flat.reshape(len(array), -1)
    values: NDArray[Any] = array.to_numpy(zero_copy_only=False)
    return values
