"""Whether an annotator's answers can be told from random ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from rec_rl.data.labels import Answer

FEWEST_COMPARISONS = 10
"""Answers to compare with one other source before they can be told from chance."""

CHANCE_LEVEL = 0.05
"""An annotator is flagged unless chance would agree as often with at most this probability."""

LABELS = (0.0, 0.5, 1.0)
Comparison = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Annotator:
    """One person's answers.

    Attributes:
        name: Alias.
        num_answers: Skipped ones and repeats included.
        num_skipped: Of them.
        share_equal: Of the answers that were not skipped.
        share_left: Left among left and right; .5 where nobody looks at the side.
        median_seconds: An answer.
        repeats: Comparisons of a first answer with that to its repeat.
        same: Share of the repeats answered the same way; NaN without any.
        chance: Probability that random answers agree as often as these do, with the first answers to the
            repeats or with any one other annotator, whichever agrees most; corrected for having the choice.
            None where none of these has FEWEST_COMPARISONS answers to compare.
    """

    name: str
    num_answers: int
    num_skipped: int
    share_equal: float
    share_left: float
    median_seconds: float
    repeats: int
    same: float
    chance: float | None

    @property
    def at_random(self) -> bool:
        """Whether nothing tells the answers from random ones, though there are enough to tell."""
        return self.chance is not None and self.chance > CHANCE_LEVEL

    def __str__(self) -> str:
        told = f"{self.name}: {self.num_answers} answers, {self.num_skipped} skipped"
        told += f", {self.median_seconds:.1f} s each"
        if not np.isnan(self.share_left):
            told += f", left {self.share_left:.0%}"
        if self.repeats:
            told += f", {self.same:.0%} of {self.repeats} repeats the same"
        if self.chance is None:
            return f"{told}; too few pairs were answered twice to say more"
        if self.at_random:
            return f"{told}; FLAGGED: the answers cannot be told from random ones (p = {self.chance:.2f})"
        return f"{told}; not random (p = {self.chance:.2g})"


def judge_annotators(answers: Sequence[Answer]) -> tuple[Annotator, ...]:
    """Every annotator by name, from the answers of all."""
    names = sorted({answer.annotator for answer in answers})
    firsts = {name: labels_of(answers, name, is_repeat=False) for name in names}
    return tuple(_judge(name, answers, firsts) for name in names)


def labels_of(answers: Sequence[Answer], name: str, *, is_repeat: bool) -> dict[int, float]:
    """An annotator's labels by pair, of first answers or of those to repeats; skipped ones left out."""
    return {
        answer.pair: answer.label
        for answer in answers
        if answer.annotator == name and answer.is_repeat == is_repeat and answer.label is not None
    }


def probability_by_chance(comparisons: Sequence[Comparison], own: Sequence[float]) -> float:
    """Probability that random answers agree at least as often as ``comparisons`` do.

    A random answer is drawn from the annotator's ``own`` answers, so that someone who says "equal" to
    everything gains nothing by it.
    """
    share = {label: float(np.mean(np.array(own) == label)) for label in LABELS}
    chance = float(np.mean([share[other] for _, other in comparisons]))
    same = sum(mine == other for mine, other in comparisons)
    return float(stats.binom.sf(same - 1, len(comparisons), chance))


def _judge(name: str, answers: Sequence[Answer], firsts: Mapping[str, Mapping[int, float]]) -> Annotator:
    own = [answer for answer in answers if answer.annotator == name]
    labels = [answer.label for answer in own if answer.label is not None]
    sides = [answer.choice == "left" for answer in own if answer.choice in ("left", "right")]
    again = labels_of(answers, name, is_repeat=True)
    mine = firsts[name]
    repeats = [(label, mine[pair]) for pair, label in again.items() if pair in mine]
    others = [
        [(mine[pair], label) for pair, label in theirs.items() if pair in mine]
        for other, theirs in firsts.items()
        if other != name
    ]
    telling = [source for source in (repeats, *others) if len(source) >= FEWEST_COMPARISONS]
    by_chance = [probability_by_chance(source, labels) for source in telling]
    return Annotator(
        name=name,
        num_answers=len(own),
        num_skipped=len(own) - len(labels),
        share_equal=float(np.mean([label == 0.5 for label in labels])) if labels else float("nan"),
        share_left=float(np.mean(sides)) if sides else float("nan"),
        median_seconds=float(np.median([answer.seconds for answer in own])),
        repeats=len(repeats),
        same=float(np.mean([a == b for a, b in repeats])) if repeats else float("nan"),
        chance=min(1.0, len(by_chance) * min(by_chance)) if by_chance else None,
    )
