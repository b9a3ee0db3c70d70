"""The policy that wrote a log, as a Gaussian around a mean: known from the serving layer, or fitted."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from rec_rl.data.half import to_single
from rec_rl.errors import DatasetError

Floats = NDArray[np.float32]

CHUNK = 1 << 16  # rows turned into float32 at a time
_HALF_LOG_2PI = 0.5 * float(np.log(2 * np.pi))


@dataclass(frozen=True, kw_only=True)
class GaussianBehaviour:
    """Logged actions were drawn from N(mean, diag(scale^2)).

    A deterministic policy that the same layer serves has the density N(its mean, diag(scale^2)).

    Attributes:
        mean: Shape [n, A], one row per request.
        scale: Standard deviation of each action dimension, > 0, shape [A].
        estimated: Whether it was fitted to the log rather than recorded by the serving layer.
    """

    mean: Floats
    scale: Floats
    estimated: bool = False

    def noise(self, actions: Floats) -> Floats:
        """(action - mean) / scale, shape [n, A]: standard normal where the behaviour is right."""
        standard: Floats = (actions - self.mean) / self.scale
        return standard

    def log_density(self, actions: Floats) -> Floats:
        """log N(action; mean, diag(scale^2)) of each request, shape [n]."""
        return gaussian_log_density(actions, self.mean, self.scale)

    def log_ratio(self, actions: Floats, target_mean: Floats) -> Floats:
        """log pi(a|s) - log b(a|s) for the policy of ``target_mean`` [n, A] and the same scale, shape [n].

        Computed as noise . step - |step|^2 / 2 with step = (target_mean - mean) / scale, in which the
        densities' units cancel.
        """
        step = self.step(target_mean)
        log_ratio: Floats = np.einsum("ij,ij->i", self.noise(actions) - 0.5 * step, step)
        return log_ratio

    def step(self, target_mean: Floats) -> Floats:
        """How far a policy's mean is from the behaviour's, in units of the noise, shape [n, A]."""
        if target_mean.shape != self.mean.shape:
            raise ValueError(f"target_mean must have shape {self.mean.shape}, got {target_mean.shape}")
        step: Floats = (target_mean - self.mean) / self.scale
        return step


def gaussian_log_density(actions: Floats, mean: Floats, scale: Floats) -> Floats:
    """log N(action; mean, diag(scale^2)), [n, A] and [A] to [n]."""
    z = (actions - mean) / scale
    log_density: Floats = (
        -0.5 * np.einsum("ij,ij->i", z, z) - np.log(scale).sum() - z.shape[1] * _HALF_LOG_2PI
    )
    return log_density


@dataclass(frozen=True, kw_only=True)
class LinearBehaviour:
    """A behaviour fitted to a log: its mean is linear in the standardised state.

    Attributes:
        center, spread: Mean and deviation of each state column, shape [S].
        weights: Of the standardised state and a constant, shape [S + 1, A].
        scale: Residual standard deviation of each action dimension, shape [A].
    """

    center: Floats
    spread: Floats
    weights: Floats
    scale: Floats

    def mean(self, states: NDArray[np.floating]) -> Floats:
        """Mean action at states, [n, S] to [n, A]."""
        parts = [
            with_constant(states[i : i + CHUNK], self.center, self.spread) @ self.weights
            for i in range(0, len(states), CHUNK)
        ]
        return np.concatenate(parts)

    def on(self, states: NDArray[np.floating]) -> GaussianBehaviour:
        """The behaviour at a log's states."""
        return GaussianBehaviour(mean=self.mean(states), scale=self.scale, estimated=True)


def fit_behaviour(states: NDArray[np.floating], actions: Floats, *, ridge: float = 1e-3) -> LinearBehaviour:
    """Ridge regression of the action on the state; the scale is the residuals'.

    Args:
        states: Shape [n, S].
        actions: Shape [n, A].
        ridge: Penalty in units of the columns' variance, >= 0; the constant is not penalised.

    Raises:
        DatasetError: If an action dimension is constant or a linear function of the state: nothing was
            explored.
    """
    center, spread = column_moments(states)
    size = states.shape[1] + 1
    gram, cross = np.zeros((size, size)), np.zeros((size, actions.shape[1]))
    for start in range(0, len(states), CHUNK):
        x = with_constant(states[start : start + CHUNK], center, spread)
        gram += x.T @ x
        cross += x.T @ actions[start : start + CHUNK]
    weights = solve_ridge(gram, cross, ridge * len(states)).astype(np.float32)
    fitted = LinearBehaviour(
        center=center, spread=spread, weights=weights, scale=np.ones(actions.shape[1], np.float32)
    )
    scale = (actions - fitted.mean(states)).std(axis=0)
    flat = scale <= 1e-4 * np.abs(actions).max(axis=0)
    if flat.any():
        raise DatasetError(
            f"actions must vary in a given state, dimension {int(np.argmax(flat))} has a residual "
            f"deviation of {scale[flat][0]:.3g}"
        )
    return replace(fitted, scale=scale)


def solve_ridge(gram: NDArray[np.float64], cross: NDArray[np.float64], penalty: float) -> NDArray[np.float64]:
    """(gram + penalty I)^-1 cross; the last feature is the constant and free of the penalty."""
    penalised = gram.copy()
    penalised[np.arange(len(gram) - 1), np.arange(len(gram) - 1)] += penalty
    return np.linalg.solve(penalised, cross).astype(np.float64)


def column_moments(states: NDArray[np.floating]) -> tuple[Floats, Floats]:
    """Mean and standard deviation of each column, [n, S] to [S] each; a constant column's deviation is 1."""
    total, squares = np.zeros(states.shape[1]), np.zeros(states.shape[1])
    for start in range(0, len(states), CHUNK):
        x = to_single(states[start : start + CHUNK])
        total += x.sum(axis=0, dtype=np.float64)
        squares += np.einsum("ij,ij->j", x, x, dtype=np.float64)
    mean = total / len(states)
    variance = squares / len(states) - mean**2
    sd = np.sqrt(np.where(variance > 1e-8, variance, 1))
    return mean.astype(np.float32), sd.astype(np.float32)


def with_constant(states: NDArray[np.floating], mean: Floats, sd: Floats) -> Floats:
    """Standardised states and a last column of ones, [n, S] to [n, S + 1]."""
    x = np.ones((len(states), states.shape[1] + 1), np.float32)
    np.subtract(to_single(states), mean, out=x[:, :-1])
    x[:, :-1] /= sd
    return x


def log_session_weights(
    log_ratio: NDArray[np.floating], session: NDArray[np.int64], num_sessions: int, *, cap: float
) -> NDArray[np.float64]:
    """log of the mean of min(ratio, cap) over each session, shape [num_sessions]; -inf without a request."""
    capped = np.minimum(np.asarray(log_ratio, np.float64), np.log(cap))
    largest = np.full(num_sessions, -np.inf)
    np.maximum.at(largest, session, capped)
    total = np.bincount(session, np.exp(capped - largest[session]), num_sessions)
    count = np.bincount(session, minlength=num_sessions)
    with np.errstate(divide="ignore"):
        log_weights: NDArray[np.float64] = (
            largest + np.log(total) - np.log(count, where=count > 0, out=np.zeros(num_sessions))
        )
    return log_weights


def effective_sample_size(log_weights: NDArray[np.float64]) -> float:
    """(sum w)^2 / sum w^2: how many equally weighted units the weighted ones are worth (Kish 1965)."""
    weights = np.exp(log_weights - log_weights.max())
    return float(weights.sum() ** 2 / np.square(weights).sum())
