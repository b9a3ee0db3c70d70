"""How far annotators agree with each other and with themselves, and who answers at random."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import krippendorff
import numpy as np
from numpy.typing import NDArray
from scipy import stats
from sklearn.metrics import cohen_kappa_score

from rec_rl.data.labels import Answer
from rec_rl.evaluation.intervals import Estimate, bootstrap_interval

FEWEST_COMPARISONS = 10
"""Answers to compare with one other source before they can be told from chance."""

CHANCE_LEVEL = 0.05
"""An annotator is flagged unless chance would agree as often with at most this probability."""

BOOTSTRAP_DRAWS = 100
_LABELS = (0.0, 0.5, 1.0)

Label = float
Comparison = tuple[Label, Label]


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
        told += f", {self.median_seconds:.1f} s each, left {self.share_left:.0%}"
        if self.repeats:
            told += f", {self.same:.0%} of {self.repeats} repeats the same"
        if self.chance is None:
            return f"{told}; too few pairs were answered twice to say more"
        if self.at_random:
            return f"{told}; FLAGGED: the answers cannot be told from random ones (p = {self.chance:.2f})"
        return f"{told}; not random (p = {self.chance:.2g})"


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """All annotators.

    Attributes:
        annotators: By name.
        kappa: Cohen's, with its interval over shared pairs, by two annotators.
        alpha: Krippendorff's for ordered labels (worse, equal, better), with its interval over pairs; None
            where no pair has two answers.
    """

    annotators: tuple[Annotator, ...]
    kappa: dict[tuple[str, str], Estimate]
    alpha: Estimate | None

    def sentences(self) -> list[str]:
        """In words."""
        told = [str(annotator) for annotator in self.annotators]
        told += [
            f"Cohen's kappa of {a} and {b}: {kappa} over {kappa.n} pairs"
            for (a, b), kappa in self.kappa.items()
        ]
        if self.alpha is not None:
            told.append(f"Krippendorff's alpha: {self.alpha} over {self.alpha.n} pairs with several answers")
        return told


def agreement(answers: Sequence[Answer], *, seed: int = 0) -> Agreement:
    """Judges every annotator and how far they agree.

    Args:
        answers: Of all annotators.
        seed: Of the bootstraps.
    """
    rng = np.random.default_rng(seed)
    names = sorted({answer.annotator for answer in answers})
    firsts = {name: _labels(answers, name, is_repeat=False) for name in names}
    annotators = tuple(_judge(name, answers, firsts) for name in names)
    kappa = {}
    for a, b in combinations(names, 2):
        if shared := sorted(firsts[a].keys() & firsts[b].keys()):
            pairs = np.array([(firsts[a][pair], firsts[b][pair]) for pair in shared])
            kappa[a, b] = _bootstrapped(pairs, cohens_kappa, rng)
    return Agreement(annotators=annotators, kappa=kappa, alpha=_alpha(list(firsts.values()), rng))


def cohens_kappa(pairs: NDArray[np.float64]) -> float:
    """Cohen's kappa of two annotators' labels [n, 2]; NaN where both gave one label throughout."""
    codes = (2 * pairs).astype(int)
    if len(np.unique(codes)) == 1:
        return float("nan")
    return float(cohen_kappa_score(codes[:, 0], codes[:, 1]))


def krippendorffs_alpha(ratings: NDArray[np.float64]) -> float:
    """Krippendorff's alpha of ordered labels, pairs by annotators [n, m], NaN where one gave none."""
    if len(np.unique(ratings[~np.isnan(ratings)])) < 2:
        return float("nan")
    return float(krippendorff.alpha(ratings.T, level_of_measurement="ordinal", value_domain=_LABELS))


def probability_by_chance(comparisons: Sequence[Comparison], own: Sequence[Label]) -> float:
    """Probability that random answers agree at least as often as ``comparisons`` do.

    A random answer is drawn from the annotator's ``own`` answers, so that someone who says "equal" to
    everything gains nothing by it.
    """
    share = {label: float(np.mean(np.array(own) == label)) for label in _LABELS}
    chance = float(np.mean([share[other] for _, other in comparisons]))
    same = sum(mine == other for mine, other in comparisons)
    return float(stats.binom.sf(same - 1, len(comparisons), chance))


def _judge(name: str, answers: Sequence[Answer], firsts: dict[str, dict[int, Label]]) -> Annotator:
    own = [answer for answer in answers if answer.annotator == name]
    labels = [answer.label for answer in own if answer.label is not None]
    sides = [answer.choice == "left" for answer in own if answer.choice in ("left", "right")]
    again = _labels(answers, name, is_repeat=True)
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


def _labels(answers: Sequence[Answer], name: str, *, is_repeat: bool) -> dict[int, Label]:
    return {
        answer.pair: answer.label
        for answer in answers
        if answer.annotator == name and answer.is_repeat == is_repeat and answer.label is not None
    }


def _alpha(firsts: Sequence[dict[int, Label]], rng: np.random.Generator) -> Estimate | None:
    pairs = sorted({pair for labels in firsts for pair in labels})
    ratings = np.array([[labels.get(pair, np.nan) for labels in firsts] for pair in pairs])
    if not len(pairs) or not (several := (~np.isnan(ratings)).sum(axis=1) > 1).any():
        return None
    return _bootstrapped(ratings[several], krippendorffs_alpha, rng)


def _bootstrapped(
    rows: NDArray[np.float64], statistic: Callable[[NDArray[np.float64]], float], rng: np.random.Generator
) -> Estimate:
    return bootstrap_interval(lambda index: statistic(rows[index]), len(rows), rng, draws=BOOTSTRAP_DRAWS)
