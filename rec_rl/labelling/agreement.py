"""How far annotators agree: Cohen's kappa of two, Krippendorff's alpha of all."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import krippendorff
import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import cohen_kappa_score

from rec_rl.data.labels import Answer
from rec_rl.evaluation.intervals import Estimate, bootstrap_interval
from rec_rl.labelling.annotators import LABELS, Annotator, judge_annotators, labels_of

BOOTSTRAP_DRAWS = 100


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
    firsts = {name: labels_of(answers, name, is_repeat=False) for name in names}
    kappa = {}
    for a, b in combinations(names, 2):
        if shared := sorted(firsts[a].keys() & firsts[b].keys()):
            pairs = np.array([(firsts[a][pair], firsts[b][pair]) for pair in shared])
            kappa[a, b] = _bootstrapped(pairs, cohens_kappa, rng)
    return Agreement(
        annotators=judge_annotators(answers), kappa=kappa, alpha=_alpha(list(firsts.values()), rng)
    )


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
    return float(krippendorff.alpha(ratings.T, level_of_measurement="ordinal", value_domain=LABELS))


def _alpha(firsts: Sequence[dict[int, float]], rng: np.random.Generator) -> Estimate | None:
    pairs = sorted({pair for labels in firsts for pair in labels})
    ratings = np.array([[labels.get(pair, np.nan) for labels in firsts] for pair in pairs])
    if not len(pairs) or not (several := (~np.isnan(ratings)).sum(axis=1) > 1).any():
        return None
    return _bootstrapped(ratings[several], krippendorffs_alpha, rng)


def _bootstrapped(
    rows: NDArray[np.float64], statistic: Callable[[NDArray[np.float64]], float], rng: np.random.Generator
) -> Estimate:
    return bootstrap_interval(lambda index: statistic(rows[index]), len(rows), rng, draws=BOOTSTRAP_DRAWS)
