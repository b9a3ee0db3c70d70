"""Which of two segments of histories is better: pairs, files, a scripted teacher (PrefRec Sec. 4.1)."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import ArrayLike, NDArray

from rec_rl.data.sessions import SessionLog
from rec_rl.errors import DatasetError, check_name

Teacher = Literal["request", "session", "mean"]
TEACHERS: tuple[Teacher, ...] = get_args(Teacher)

_COLUMNS = ("user_a", "start_a", "length_a", "user_b", "start_b", "length_b", "label", "annotator")
_SUFFIXES = (".jsonl", ".parquet")


@dataclass(frozen=True, kw_only=True)
class PreferencePairs:
    """Pairs of segments (a, b), each some consecutive requests of one user, and which one is better.

    Files hold a pair per row or line: user_a, start_a, length_a, user_b, start_b, length_b, label, annotator.

    Attributes:
        users: Whose segments, shape [n, 2], int64.
        starts: First request of each segment, counted from 0 in its user's history, shape [n, 2], int64.
        lengths: Requests of each segment, >= 1, shape [n, 2], int64. They may differ.
        label: 1 where a is better, 0 where b is, .5 for a tie; the paper's y(0). Shape [n], float32.
        annotators: Who said so: a person's alias, or "scripted:NAME". Length n.
    """

    users: NDArray[np.int64]
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]
    label: NDArray[np.float32]
    annotators: tuple[str, ...]

    def __post_init__(self) -> None:
        n = len(self.label)
        for name in ("users", "starts", "lengths"):
            array = getattr(self, name)
            if array.dtype != np.int64 or array.shape != (n, 2):
                raise DatasetError(
                    f"{name} must be int64 of shape {(n, 2)}, got {array.dtype} of {array.shape}"
                )
        if len(self.annotators) != n:
            raise DatasetError(f"annotators must be {n}, one per pair, got {len(self.annotators)}")
        _refuse_rows("label must be 0, .5 or 1", ~np.isin(self.label, (0, 0.5, 1)))
        _refuse_rows("start must be >= 0", (self.starts < 0).any(axis=1))
        _refuse_rows("length must be >= 1", (self.lengths < 1).any(axis=1))

    def __len__(self) -> int:
        return len(self.label)

    def rows(self, index: NDArray[np.int64] | NDArray[np.bool_]) -> "PreferencePairs":
        """The pairs at ``index``, in its order."""
        chosen = np.arange(len(self))[index]
        return PreferencePairs(
            users=self.users[chosen],
            starts=self.starts[chosen],
            lengths=self.lengths[chosen],
            label=self.label[chosen],
            annotators=tuple(self.annotators[i] for i in chosen),
        )

    def followed_by(self, others: "PreferencePairs") -> "PreferencePairs":
        """These pairs, then the others."""
        return PreferencePairs(
            users=np.concatenate([self.users, others.users]),
            starts=np.concatenate([self.starts, others.starts]),
            lengths=np.concatenate([self.lengths, others.lengths]),
            label=np.concatenate([self.label, others.label]),
            annotators=self.annotators + others.annotators,
        )

    def save(self, path: str | Path) -> None:
        """Writes JSON lines or Parquet, by the path's suffix; the file appears whole or not at all."""
        path = Path(path)
        check_name("preference file suffix", path.suffix, _SUFFIXES)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.tmp")
        try:
            if path.suffix == ".parquet":
                pq.write_table(pa.table(self._columns()), temporary)
            else:
                rows = zip(*self._columns().values(), strict=True)
                lines = (json.dumps(dict(zip(_COLUMNS, row, strict=True))) for row in rows)
                temporary.write_text("".join(f"{line}\n" for line in lines))
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: str | Path) -> "PreferencePairs":
        """Reads what ``save`` wrote, or what a person's tool wrote in the same form.

        Raises:
            DatasetError: If the file is missing or a row is not a pair.
        """
        path = Path(path)
        check_name("preference file suffix", path.suffix, _SUFFIXES)
        try:
            columns = _read_parquet(path) if path.suffix == ".parquet" else _read_json_lines(path)
            return cls(
                users=_integers(columns, "user"),
                starts=_integers(columns, "start"),
                lengths=_integers(columns, "length"),
                label=np.array(columns["label"], dtype=np.float32),
                annotators=tuple(map(str, columns["annotator"])),
            )
        except (OSError, pa.ArrowException, ValueError, TypeError) as error:
            raise DatasetError(f"{path} holds no preference pairs: {error}") from error
        except DatasetError as error:
            raise DatasetError(f"{path}: {error}") from error

    def _columns(self) -> dict[str, list[Any]]:
        pairs = (self.users, self.starts, self.lengths)
        a, b = ([array[:, side].tolist() for array in pairs] for side in (0, 1))
        values = (*a, *b, self.label.tolist(), list(self.annotators))
        return dict(zip(_COLUMNS, values, strict=True))


@dataclass(frozen=True, kw_only=True)
class LocatedPairs:
    """Pairs as rows of a log.

    Attributes:
        first_rows: First row of each segment, shape [n, 2].
        lengths: Rows of each segment, shape [n, 2].
        label: As in `PreferencePairs`, shape [n].
        num_missing: Pairs left out because the log does not hold both of their segments.
    """

    first_rows: NDArray[np.int64]
    lengths: NDArray[np.int64]
    label: NDArray[np.float32]
    num_missing: int

    def __len__(self) -> int:
        return len(self.label)


def locate_pairs(pairs: PreferencePairs, log: SessionLog) -> LocatedPairs:
    """Finds the pairs' segments in a log.

    Raises:
        DatasetError: If the log holds none of the pairs.
    """
    order = np.argsort(log.user_ids)
    position = np.searchsorted(log.user_ids, pairs.users, sorter=order).clip(max=len(order) - 1)
    block = order[position]
    first_rows = log.user_starts[block] + pairs.starts
    inside = first_rows + pairs.lengths <= log.user_starts[block + 1]
    held = (inside & (log.user_ids[block] == pairs.users)).all(axis=1)
    if not held.any():
        raise DatasetError(f"the log must hold both segments of some pair, got none of {len(pairs)}")
    return LocatedPairs(
        first_rows=first_rows[held],
        lengths=pairs.lengths[held],
        label=pairs.label[held],
        num_missing=int((~held).sum()),
    )


def scripted_preferences(
    log: SessionLog,
    level: NDArray[np.float64],
    *,
    teacher: Teacher = "request",
    num_pairs: int = 20_000,
    segment_length: int = 100,
    min_requests: int = 200,
    seed: int,
) -> PreferencePairs:
    """Labels random pairs by the engagement that their segments brought.

    Source: Xue et al. 2023 (PrefRec), Sec. 5.1.

    Teachers:
        request: Every request carries the level of its session, a segment sums them; two users. The paper's.
        session: Every session counts once, a segment sums them; two users. More pairs are predicted
            rightly, but the reward learned is harmful: many short sessions beat a few good ones.
        mean: Mean level of the segment's sessions; both segments from one user.

    Segments are drawn from what lies before a user's last session, which has no level.

    Args:
        log: Where segments come from.
        level: Of each session, NaN where excluded, shape [num_sessions].
        teacher: How segments are scored.
        num_pairs: Pairs to label.
        segment_length: Requests of a segment.
        min_requests: Users must have more requests than this.
        seed: Of the draws.

    Raises:
        DatasetError: If no user has enough requests.
    """
    check_name("teacher", teacher, TEACHERS)
    rng = np.random.default_rng(seed)
    last_sessions = np.append(np.flatnonzero(np.diff(log.session_user_index)), len(log.session_users) - 1)
    seen = log.session_starts[last_sessions] - log.user_starts[:-1]
    (eligible,) = np.nonzero((np.diff(log.user_starts) > min_requests) & (seen >= segment_length))
    if len(eligible) == 0:
        raise DatasetError(
            f"some user must have > {min_requests} requests, {segment_length} of them before the last "
            f"session; none of {len(seen)} has"
        )
    users = rng.choice(eligible, (num_pairs, 2))
    if teacher == "mean":
        users[:, 1] = users[:, 0]
    starts = rng.integers(0, seen[users] - segment_length + 1)
    first_rows = log.user_starts[users] + starts
    score = _segment_scores(log, level, first_rows, segment_length, teacher)
    return PreferencePairs(
        users=log.user_ids[users],
        starts=starts,
        lengths=np.full((num_pairs, 2), segment_length),
        label=(0.5 * (1 + np.sign(score[:, 0] - score[:, 1]))).astype(np.float32),
        annotators=(f"scripted:{teacher}",) * num_pairs,
    )


def _segment_scores(
    log: SessionLog, level: NDArray[np.float64], first_rows: NDArray[np.int64], length: int, teacher: Teacher
) -> NDArray[np.float64]:
    """Score of each segment, [n, 2] to [n, 2]. Sessions that a segment cuts count as its own."""
    counted, worth = ~np.isnan(level), np.nan_to_num(level)
    if teacher == "request":
        per_request = np.append(0, np.repeat(worth, log.depths).cumsum())
        request_score: NDArray[np.float64] = per_request[first_rows + length] - per_request[first_rows]
        return request_score
    session = log.session_index
    first, beyond = session[first_rows], session[first_rows + length - 1] + 1
    total, count = np.append(0, worth.cumsum()), np.append(0, counted.cumsum())
    score: NDArray[np.float64] = total[beyond] - total[first]
    if teacher == "mean":
        score = score / np.maximum(count[beyond] - count[first], 1)
    return score


def _refuse_rows(bound: str, wrong: ArrayLike) -> None:
    if np.any(wrong):
        raise DatasetError(f"{bound}, row {int(np.argmax(wrong))} is not")


def _read_parquet(path: Path) -> dict[str, list[Any]]:
    return dict(pq.read_table(path, columns=list(_COLUMNS)).to_pydict())


def _read_json_lines(path: Path) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = {name: [] for name in _COLUMNS}
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        pair = json.loads(line) if line.strip() else None
        if not isinstance(pair, dict) or set(_COLUMNS) - pair.keys():
            raise ValueError(f"line {number} must hold {', '.join(_COLUMNS)}")
        for name, values in columns.items():
            values.append(pair[name])
    return columns


def _integers(columns: dict[str, list[Any]], name: str) -> NDArray[np.int64]:
    sides = [np.array(columns[f"{name}_{side}"]).reshape(-1) for side in ("a", "b")]
    if any(len(side) and not np.issubdtype(side.dtype, np.integer) for side in sides):
        raise ValueError(f"{name}_a and {name}_b must be integers")
    return np.stack(sides, axis=1).astype(np.int64)
