"""Which pair an annotator is asked about at which place, on which side, and when once more.

Everyone is asked about the same pairs in the same order, so that they can be compared. Every tenth question
is a hidden repeat of an earlier one with its sides swapped: who reads, answers it the same way.
"""

import zlib
from dataclasses import dataclass

import numpy as np

REPEAT_EVERY = 10
"""Of so many questions the last is a repeat of one of the first half."""

_NEW = REPEAT_EVERY - 1


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is shown at one place.

    Attributes:
        place: From 0.
        pair: Number of the pair.
        a_on_left: Whether segment a is on the left.
        is_repeat: Whether the annotator was asked about the pair before.
    """

    place: int
    pair: int
    a_on_left: bool
    is_repeat: bool


def num_questions(num_pairs: int) -> int:
    """Questions about so many pairs, repeats included."""
    return num_pairs + num_pairs // _NEW


def question_at(place: int, *, annotator: str, seed: int) -> Question:
    """The question of an annotator at a place, a function of the arguments alone."""
    block, position = divmod(place, REPEAT_EVERY)
    rng = np.random.default_rng([seed, zlib.crc32(annotator.encode()), place])
    if position < _NEW:
        pair = block * _NEW + position
        return Question(place=place, pair=pair, a_on_left=bool(rng.integers(2)), is_repeat=False)
    earlier = place - _NEW + int(rng.integers(REPEAT_EVERY // 2))
    first = question_at(earlier, annotator=annotator, seed=seed)
    return Question(place=place, pair=first.pair, a_on_left=not first.a_on_left, is_repeat=True)
