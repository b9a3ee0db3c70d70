"""What annotators are asked and what becomes of their answers; knows nothing of the web."""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from rec_rl.data.converted_logs import ITEMS, load_items, load_users
from rec_rl.data.labels import Answer, Choice, LabelStore
from rec_rl.data.session_files import load_log
from rec_rl.data.sessions import SessionLog
from rec_rl.errors import ConfigError, check_name
from rec_rl.labelling.agreement import agreement
from rec_rl.labelling.cards import SessionCards
from rec_rl.labelling.pairs import active_choice, random_choice, to_segments, to_sessions
from rec_rl.labelling.questions import Question, num_questions, question_at
from rec_rl.rewards.linear_reward import segment_sums

Choosing = Literal["random", "active"]
CHOOSINGS: tuple[Choosing, ...] = get_args(Choosing)

BLOCK = 18
"""Pairs chosen at a time; twenty questions with the repeats."""

RATE_WINDOW = 20


@dataclass(frozen=True, kw_only=True)
class DeskConfig:
    """How many pairs are asked about and how they are chosen.

    Attributes:
        num_pairs: Pairs that every annotator is asked about, >= 1.
        choosing: "random", or "active": where an ensemble fitted to the answers so far disagrees.
    """

    num_pairs: int = 100
    choosing: Choosing = "random"

    def __post_init__(self) -> None:
        if self.num_pairs < 1:
            raise ConfigError(f"num_pairs must be >= 1, got {self.num_pairs}")
        check_name("way of choosing pairs", self.choosing, CHOOSINGS)


class LabellingDesk:
    """Asks annotators about the sessions of a log and keeps their answers. For one thread at a time.

    Args:
        log: The sessions.
        cards: Shows them.
        store: Of pairs and answers, of the same log.
        config: How many pairs, how chosen.
    """

    def __init__(self, log: SessionLog, cards: SessionCards, store: LabelStore, config: DeskConfig) -> None:
        self._log, self._cards, self._store, self._config = log, cards, store, config
        self._pairs = store.pairs()
        self._total = max(config.num_pairs, len(self._pairs))
        self._answers: dict[str, list[Answer]] = defaultdict(list)
        for answer in store.answers():
            self._answers[answer.annotator].append(answer)
        self._sums: NDArray[np.float64] | None = None

    def page(self, annotator: str) -> dict[str, Any]:
        """What the annotator's page shows now: progress and, unless they are done, a question."""
        answers = self._answers[annotator]
        question = self._question(annotator)
        shown = {
            "annotator": annotator,
            "done": len(answers),
            "total": num_questions(self._total),
            "per_minute": rate(answers),
            "can_undo": bool(answers),
            "place": len(answers),
            "question": None,
        }
        if question is None:
            return shown
        a, b = (self._cards.session(int(s)) for s in to_sessions(self._log, [self._pairs[question.pair]])[0])
        left, right = (a, b) if question.a_on_left else (b, a)
        return shown | {"question": {"left": left, "right": right}}

    def answer(self, annotator: str, place: int, choice: Choice, seconds: float) -> None:
        """Keeps an answer; it is on the disk when this returns. One that was kept before is not kept twice.

        Args:
            annotator: Who.
            place: Of the question on their page.
            choice: What they said.
            seconds: How long they took.

        Raises:
            ValueError: If the question at ``place`` was not asked yet.
        """
        answers = self._answers[annotator]
        if place < len(answers):
            return
        question = self._question(annotator)
        if question is None or place != question.place:
            raise ValueError(f"place must be {len(answers)}, the next question, got {place}")
        answer = Answer(
            annotator=annotator,
            place=place,
            pair=question.pair,
            a_on_left=question.a_on_left,
            is_repeat=question.is_repeat,
            choice=choice,
            seconds=seconds,
        )
        self._store.record(answer)
        answers.append(answer)

    def undo(self, annotator: str) -> None:
        """Takes the annotator's last answer back, if there is one; they are asked again."""
        if answers := self._answers[annotator]:
            self._store.take_back(annotator, answers[-1].place)
            answers.pop()

    def findings(self) -> list[str]:
        """How far annotators agree, in sentences."""
        return agreement(self._all_answers()).sentences()

    def _all_answers(self) -> list[Answer]:
        return [answer for answers in self._answers.values() for answer in answers]

    def _question(self, annotator: str) -> Question | None:
        """The annotator's next question; None if they are done."""
        place = len(self._answers[annotator])
        if place >= num_questions(self._total):
            return None
        question = question_at(place, annotator=annotator, seed=self._store.seed)
        while question.pair >= len(self._pairs):
            self._choose_more()
            if place >= num_questions(self._total):
                return None
        return question

    def _choose_more(self) -> None:
        """Adds a block of pairs, or finds that the log has no more."""
        known = to_sessions(self._log, self._pairs)
        wanted = min(BLOCK, self._total - len(known))
        rng = np.random.default_rng([self._store.seed, len(known)])
        taken = [(a, b) for a, b in known.tolist()]
        if self._config.choosing == "active":
            labelled, label = self._labelled()
            chosen = active_choice(self._log, self._features(), labelled, label, taken, wanted, rng)
        else:
            chosen = random_choice(self._log, taken, wanted, rng)
        if len(chosen) == 0:
            self._total = len(known)
            return
        added = to_segments(self._log, chosen)
        self._store.add_pairs(added)
        self._pairs += added

    def _features(self) -> NDArray[np.float64]:
        if self._sums is None:
            self._sums = segment_sums(self._log, self._log.session_starts, self._log.depths)
        return self._sums

    def _labelled(self) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Pairs of sessions that were answered, and the answers."""
        counted = [a for a in self._all_answers() if a.label is not None and not a.is_repeat]
        pairs = to_sessions(self._log, [self._pairs[answer.pair] for answer in counted])
        return pairs, np.array([answer.label for answer in counted], np.float32)


def rate(answers: list[Answer]) -> float | None:
    """Answers a minute, by the median time of the last ones; None before there are three."""
    last = [answer.seconds for answer in answers[-RATE_WINDOW:]]
    return round(60 / max(median(last), 0.1), 1) if len(last) >= 3 else None


def open_desk(path: Path, labels: Path, config: DeskConfig, *, seed: int) -> LabellingDesk:
    """A desk for a log and a file of labels, which is made where it does not exist.

    Args:
        path: Parquet file of a session log, or the folder of a converted one, which has titles and names.
        labels: The file.
        config: Of the desk.
        seed: Of the pairs and their order, for a new file.

    Raises:
        DatasetError: If the log cannot be read, or the labels are of another one.
    """
    log = load_log(path)
    items, names = None, None
    if (folder := path if path.is_dir() else path.parent).joinpath(ITEMS).is_file() and log.items is not None:
        items, users = load_items(folder), load_users(folder)
        names = dict(zip(users.codes.tolist(), users.names, strict=True))
    store = LabelStore(labels, log_hash=log.content_hash, seed=seed)
    return LabellingDesk(log, SessionCards(log, items, names), store, config)
