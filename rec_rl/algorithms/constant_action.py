"""The best constant action: a control for every policy that claims to know its users."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray


def cross_entropy_search(
    score: Callable[[NDArray[np.float32]], NDArray[np.floating]],
    dim: int,
    rng: np.random.Generator,
    *,
    iterations: int,
    population: int = 50,
    num_elites: int = 10,
    initial_sd: float = 0.5,
    smallest_sd: float = 0.02,
) -> NDArray[np.float32]:
    """Maximises ``score`` over one vector in [-1, 1]^dim by the cross-entropy method.

    Each round draws a population from an axis-aligned Gaussian, clips it to the box, and fits the Gaussian to
    the elites. ``score`` may be noisy; it is called once a round, ``iterations`` times in all.

    Source: Rubinstein 1999 (the cross-entropy method).

    Args:
        score: Candidates [population, dim] to scores [population], the higher the better.
        dim: Size of the vector.
        rng: Source of the candidates.
        iterations: Rounds.
        population: Candidates a round.
        num_elites: Best candidates that the next Gaussian is fitted to.
        initial_sd: Of the first Gaussian, around zero.
        smallest_sd: Floor of every coordinate's spread, so that the search does not freeze.

    Returns:
        The last Gaussian's mean, shape [dim].

    Raises:
        ValueError: If 1 <= num_elites <= population or iterations >= 1 does not hold, or a score is NaN.
    """
    if iterations < 1:
        raise ValueError(f"iterations must be >= 1, got {iterations}")
    if not 1 <= num_elites <= population:
        raise ValueError(f"num_elites must be in 1..population ({population}), got {num_elites}")
    mean, sd = np.zeros(dim), np.full(dim, initial_sd)
    for _ in range(iterations):
        draws = mean + sd * rng.standard_normal((population, dim))
        candidates = np.clip(draws, -1.0, 1.0).astype(np.float32)
        scores = np.asarray(score(candidates))
        if scores.shape != (population,) or np.isnan(scores).any():
            raise ValueError(f"score must give {population} numbers, got shape {scores.shape}, NaN or both")
        elites = candidates[np.argsort(scores)[-num_elites:]].astype(np.float64)
        mean, sd = elites.mean(axis=0), np.maximum(elites.std(axis=0), smallest_sd)
    return mean.astype(np.float32)
