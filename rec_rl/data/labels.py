"""People's answers on which of two sessions is better, in a SQLite file that survives being cut off.

The file holds the pairs that are asked about, in their order, and every annotator's answers. It is written
in WAL mode with full synchronisation: an answer is on the disk when `LabelStore.record` returns.
"""

import sqlite3
import time
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from rec_rl.data.preferences import PreferencePairs
from rec_rl.errors import DatasetError

Choice = Literal["left", "right", "equal", "skip"]
CHOICES: tuple[Choice, ...] = get_args(Choice)

_SCHEMA = """
CREATE TABLE IF NOT EXISTS about (log_hash TEXT NOT NULL, seed INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS pairs (
    number INTEGER PRIMARY KEY,
    user_a INTEGER NOT NULL, start_a INTEGER NOT NULL, length_a INTEGER NOT NULL,
    user_b INTEGER NOT NULL, start_b INTEGER NOT NULL, length_b INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS answers (
    annotator TEXT NOT NULL, place INTEGER NOT NULL,
    pair INTEGER NOT NULL REFERENCES pairs (number),
    a_on_left INTEGER NOT NULL, is_repeat INTEGER NOT NULL,
    choice TEXT NOT NULL CHECK (choice IN ('left', 'right', 'equal', 'skip')),
    seconds REAL NOT NULL, answered_at REAL NOT NULL,
    PRIMARY KEY (annotator, place)
);
"""


@dataclass(frozen=True, kw_only=True)
class SessionPair:
    """Two segments to compare, as in `PreferencePairs`."""

    user_a: int
    start_a: int
    length_a: int
    user_b: int
    start_b: int
    length_b: int


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What an annotator said to one question.

    Attributes:
        annotator: Their alias.
        place: Which of their questions it was, from 0.
        pair: Number of the pair.
        a_on_left: Whether segment a was shown on the left.
        is_repeat: Whether they had been asked about this pair before.
        choice: What they said.
        seconds: How long they took, >= 0.
    """

    annotator: str
    place: int
    pair: int
    a_on_left: bool
    is_repeat: bool
    choice: Choice
    seconds: float

    @property
    def label(self) -> float | None:
        """1 where a is better, 0 where b is, .5 for equal; None where it was skipped."""
        if self.choice in ("equal", "skip"):
            return 0.5 if self.choice == "equal" else None
        return float((self.choice == "left") == self.a_on_left)


class LabelStore:
    """Pairs and answers in one file. Not for several threads at a time.

    Args:
        path: The file; made where it does not exist.
        log_hash: Content hash of the log that the pairs are from.
        seed: Of the pairs and their order, for a new file; an old one keeps its own.

    Raises:
        DatasetError: If the file is something else, or belongs to another log.
    """

    def __init__(self, path: Path, *, log_hash: str, seed: int = 0) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
            self._connection.execute("PRAGMA foreign_keys = ON")
            self._connection.executescript(_SCHEMA)
            about = self._connection.execute("SELECT log_hash, seed FROM about").fetchone()
            if about is None:
                about = (log_hash, seed)
                self._connection.execute("INSERT INTO about VALUES (?, ?)", about)
        except sqlite3.Error as error:
            raise DatasetError(f"{path} cannot be used as a file of labels: {error}") from error
        check_same_log(path, about[0], log_hash)
        self.seed: int = about[1]

    def close(self) -> None:
        """Closes the file."""
        self._connection.close()

    @property
    def num_pairs(self) -> int:
        """Pairs asked about so far."""
        return int(self._connection.execute("SELECT COUNT(*) FROM pairs").fetchone()[0])

    def pairs(self) -> list[SessionPair]:
        """The pairs in their order."""
        return _pairs(self._connection)

    def add_pairs(self, pairs: Sequence[SessionPair]) -> None:
        """Adds pairs after those that are there, all of them or none."""
        first = self.num_pairs
        rows = [(first + i, *astuple(pair)) for i, pair in enumerate(pairs)]
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            self._connection.executemany("INSERT INTO pairs VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
        except sqlite3.Error:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    def answers(self) -> list[Answer]:
        """All answers, those of one annotator in their order."""
        return _answers(self._connection)

    def record(self, answer: Answer) -> None:
        """Keeps an answer; it is on the disk when this returns.

        Raises:
            ValueError: If the annotator has answered this question before.
        """
        try:
            self._connection.execute(
                "INSERT INTO answers VALUES (?, ?, ?, ?, ?, ?, ?, ?)", (*astuple(answer), time.time())
            )
        except sqlite3.IntegrityError as error:
            raise ValueError(
                f"answer {answer.place} of {answer.annotator} cannot be kept: {error}"
            ) from error

    def take_back(self, annotator: str, place: int) -> None:
        """Forgets one answer."""
        self._connection.execute("DELETE FROM answers WHERE annotator = ? AND place = ?", (annotator, place))


def load_answers(path: Path, *, log_hash: str | None = None) -> tuple[list[SessionPair], list[Answer]]:
    """Pairs and answers of a file, which is only read.

    Args:
        path: The file.
        log_hash: Of the log that the labels must be of; None takes any.

    Raises:
        DatasetError: If it is no file of labels, or of another log.
    """
    if not path.is_file():
        raise DatasetError(f"there is no file of labels at {path}")
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        try:
            about = connection.execute("SELECT log_hash FROM about").fetchone()
            pairs, answers = _pairs(connection), _answers(connection)
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise DatasetError(f"{path} is no file of labels: {error}") from error
    if log_hash is not None:
        check_same_log(path, about[0], log_hash)
    return pairs, answers


def preferences_of(pairs: Sequence[SessionPair], answers: Sequence[Answer]) -> PreferencePairs:
    """What annotators said as preferences: skipped pairs and hidden repeats do not count.

    Raises:
        DatasetError: If there is no answer that counts.
    """
    kept = [answer for answer in answers if answer.label is not None and not answer.is_repeat]
    if not kept:
        raise DatasetError("there is no answer to learn from, every one was skipped or there is none")
    rows = [pairs[answer.pair] for answer in kept]

    def sides(name: str) -> NDArray[np.int64]:
        return np.array([[getattr(row, f"{name}_a"), getattr(row, f"{name}_b")] for row in rows], np.int64)

    return PreferencePairs(
        users=sides("user"),
        starts=sides("start"),
        lengths=sides("length"),
        label=np.array([answer.label for answer in kept], np.float32),
        annotators=tuple(answer.annotator for answer in kept),
    )


def check_same_log(path: Path, recorded: str, log_hash: str) -> None:
    """Raises DatasetError if labels are of another log."""
    if recorded != log_hash:
        raise DatasetError(f"{path} holds labels of the log {recorded[:12]}, got the log {log_hash[:12]}")


def _pairs(connection: sqlite3.Connection) -> list[SessionPair]:
    names = [field.name for field in fields(SessionPair)]
    rows = connection.execute(f"SELECT {', '.join(names)} FROM pairs ORDER BY number")
    return [SessionPair(**dict(zip(names, row, strict=True))) for row in rows]


def _answers(connection: sqlite3.Connection) -> list[Answer]:
    rows = connection.execute(
        "SELECT annotator, place, pair, a_on_left, is_repeat, choice, seconds FROM answers "
        "ORDER BY annotator, place"
    )
    return [
        Answer(
            annotator=annotator,
            place=place,
            pair=pair,
            a_on_left=bool(a_on_left),
            is_repeat=bool(is_repeat),
            choice=choice,
            seconds=seconds,
        )
        for annotator, place, pair, a_on_left, is_repeat, choice, seconds in rows
    ]
