"""A supported policy in closed form: regress the advantage on the noise with which the log was served.

The serving layer's noise eps = (a - mean) / scale is standard normal and independent of the state. An
advantage that is linear in it, A(s, a) = eps' W' x, therefore needs no critic of actions: with C = E[x x']
and M = E[x Y eps'], Y the lambda return less its baseline, the squared error of Y is tr(W' C W) - 2 tr(W' M)
up to a constant. The policy steps from the logging mean by a multiple of w = W' x, which is what gains most
at a given mean squared distance from the behaviour; the multiple is such that this D2 is kappa^2, so that
the policy stays where the log can judge it.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rec_rl.algorithms.returns import advantage_targets
from rec_rl.checkpoint import load_state, save_state
from rec_rl.data.behaviour import (
    LinearBehaviour,
    effective_sample_size,
    fit_behaviour,
    log_session_weights,
    with_constant,
)
from rec_rl.data.sessions import RequestReward, SessionLog
from rec_rl.errors import ConfigError

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

KIND = "noise_advantage"
CAP = 10.0  # of a request's ratio, as in NCIS; without one the effective sample size hangs on a few requests


@dataclass(frozen=True, kw_only=True)
class NoiseAdvantageConfig:
    """Settings of the closed form.

    Attributes:
        gamma: Discount, in [0, 1).
        trace_decay: lambda of the returns, in [0, 1].
        ridge: Penalty of the linear fits in units of the columns' variance, >= 0.
        num_folds: Folds of users over which the weight of the group lasso is chosen, >= 2.
        num_penalties: Weights tried, falling by ``penalty_range`` from where every row vanishes.
        radius: kappa, the root mean square step in units of the noise, > 0. None chooses the largest of
            ``radii`` at which the effective share of sessions is above ``min_effective_share``, or 1 where
            none is. Beyond 2 no estimate of the policy is supported.
    """

    gamma: float = 0.99
    trace_decay: float = 0.8
    ridge: float = 1e-3
    num_folds: int = 5
    num_penalties: int = 12
    penalty_range: float = 100.0
    radius: float | None = None
    radii: tuple[float, ...] = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0)
    min_effective_share: float = 0.2

    def __post_init__(self) -> None:
        if not 0 <= self.gamma < 1:
            raise ConfigError(f"gamma must be in [0, 1), got {self.gamma}")
        if not 0 <= self.trace_decay <= 1:
            raise ConfigError(f"trace_decay must be in [0, 1], got {self.trace_decay}")
        if self.ridge < 0:
            raise ConfigError(f"ridge must be >= 0, got {self.ridge}")
        if self.num_folds < 2:
            raise ConfigError(f"num_folds must be >= 2, got {self.num_folds}")
        if self.radius is not None and not self.radius > 0:
            raise ConfigError(f"radius must be > 0, got {self.radius}")


@dataclass(frozen=True, kw_only=True)
class NoiseAdvantagePolicy:
    """Serves mean + radius * scale * w / size with w = W' x.

    Attributes:
        behaviour: The logging policy as a function of the state.
        weights: W, shape [S + 1, A], of the standardised state and a constant.
        size: Root mean square length of w over the log.
        radius: kappa.
        penalty: Weight of the group lasso that cross-validation chose.
        effective_share: Of sessions at this radius, by which the radius was chosen.
    """

    behaviour: LinearBehaviour
    weights: Floats
    size: float
    radius: float
    penalty: float
    effective_share: float

    @property
    def state_dim(self) -> int:
        """S."""
        return len(self.behaviour.center)

    def __call__(self, states: NDArray[np.floating]) -> Floats:
        """Mean actions at states, [n, S] to [n, A]."""
        x = with_constant(states, self.behaviour.center, self.behaviour.spread)
        step = self.radius / self.size * self.behaviour.scale * (x @ self.weights)
        served: Floats = x @ self.behaviour.weights + step
        return served

    def save(self, folder: str | Path) -> None:
        """Writes a checkpoint; the folder appears whole or not at all."""
        state = {name: value for name, value in vars(self).items() if name != "behaviour"}
        save_state(Path(folder), {**state, "behaviour": dict(vars(self.behaviour))}, KIND)

    @classmethod
    def load(cls, folder: str | Path) -> "NoiseAdvantagePolicy":
        """Reads what ``save`` wrote.

        Raises:
            CheckpointError: If the folder is missing, corrupt or of something else.
        """
        state = load_state(Path(folder), KIND)
        return cls(**{**state, "behaviour": LinearBehaviour(**state["behaviour"])})


class _FoldMoments(NamedTuple):
    """Sums over each fold's rows: C [folds, S + 1, S + 1], M [folds, S + 1, A] and rows [folds]."""

    gram: Doubles
    cross: Doubles
    rows: Doubles


def fit_noise_advantage(
    log: SessionLog, reward: RequestReward | Floats, config: NoiseAdvantageConfig, *, seed: int = 0
) -> NoiseAdvantagePolicy:
    """Fits the policy in a few passes over the log.

    Args:
        log: What the behaviour served. Its recorded mean and scale give the noise where it has them.
        reward: Of a request, as a function, or what each was paid, shape [n]; its level and scale do not
            matter.
        config: Settings.
        seed: Of the folds of users.

    Raises:
        DatasetError: If the actions do not vary in a given state.
    """
    fitted = fit_behaviour(log.states, log.actions, ridge=config.ridge)
    behaviour = log.behaviour or fitted.on(log.states)
    fitted = replace(fitted, scale=behaviour.scale)
    advantages = advantage_targets(
        log, reward, gamma=config.gamma, trace_decay=config.trace_decay, ridge=config.ridge
    )
    noise = behaviour.noise(log.actions)
    folds = np.random.default_rng(seed).integers(0, config.num_folds, len(log.user_ids))[log.user_index]
    moments = _fold_moments(log, fitted, advantages, noise, folds, config.num_folds)
    weights, penalty = _cross_validated(moments, config)

    step = np.concatenate([x @ weights for _, x in _inputs(log, fitted)])
    size = max(float(np.sqrt(np.square(step, dtype=np.float64).sum(axis=1).mean())), 1e-30)
    radius, share = _choose_radius(noise, np.asarray(step / size, np.float32), log, config)
    return NoiseAdvantagePolicy(
        behaviour=fitted, weights=weights, size=size, radius=radius, penalty=penalty, effective_share=share
    )


def group_lasso(gram: Doubles, cross: Doubles, penalty: float, start: Doubles) -> Doubles:
    """W that minimises tr(W' gram W) / 2 - tr(W' cross) + penalty * sum of the lengths of W's rows.

    A row of W belongs to one state column, which is thus used or not. The last row, the constant's, is free.
    By accelerated proximal gradient steps (Beck and Teboulle 2009, FISTA).

    Args:
        gram: Positive semi-definite, shape [k, k].
        cross: Shape [k, A].
        penalty: >= 0.
        start: Where to begin, shape [k, A].
    """
    rate = 1 / float(np.linalg.norm(gram, 2))
    weights, ahead, momentum = start, start, 1.0
    for _ in range(500):
        moved = ahead - rate * (gram @ ahead - cross)
        length = np.linalg.norm(moved[:-1], axis=1, keepdims=True)
        moved[:-1] *= np.maximum(0, 1 - rate * penalty / np.maximum(length, 1e-30))
        following = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        ahead = moved + (momentum - 1) / following * (moved - weights)
        change = np.abs(moved - weights).max()
        weights, momentum = moved, following
        if change <= 1e-7 * max(np.abs(weights).max(), 1e-30):
            break
    return weights


def _inputs(log: SessionLog, fitted: LinearBehaviour) -> Iterator[tuple[slice, Floats]]:
    """Rows of whole users, and their standardised states with a constant."""
    for rows in log.user_blocks():
        yield rows, with_constant(log.states[rows], fitted.center, fitted.spread)


def _fold_moments(
    log: SessionLog,
    fitted: LinearBehaviour,
    advantages: Floats,
    noise: Floats,
    folds: NDArray[np.int64],
    num_folds: int,
) -> _FoldMoments:
    size, actions = log.states.shape[1] + 1, noise.shape[1]
    gram, cross = np.zeros((num_folds, size, size)), np.zeros((num_folds, size, actions))
    count = np.zeros(num_folds)
    for rows, x in _inputs(log, fitted):
        target = advantages[rows, None] * noise[rows]
        for fold in range(num_folds):
            mine = folds[rows] == fold
            gram[fold] += x[mine].T @ x[mine]
            cross[fold] += x[mine].T @ target[mine]
            count[fold] += mine.sum()
    return _FoldMoments(gram, cross, count)


def _cross_validated(moments: _FoldMoments, config: NoiseAdvantageConfig) -> tuple[Floats, float]:
    """W on all folds, at the penalty whose W from the other folds predicts a fold best."""
    gram, cross, rows = (part.sum(axis=0) for part in moments)
    gram, cross = gram / rows, cross / rows
    largest = float(np.linalg.norm(cross[:-1], axis=1).max())
    penalties = largest * np.geomspace(1, 1 / config.penalty_range, config.num_penalties)
    errors = np.zeros(len(penalties))
    for fold_gram, fold_cross, fold_rows in zip(*moments, strict=True):
        rest = rows - fold_rows
        train_gram, train_cross = (gram * rows - fold_gram) / rest, (cross * rows - fold_cross) / rest
        weights = np.zeros_like(cross)
        for i, penalty in enumerate(penalties):
            weights = group_lasso(train_gram, train_cross, penalty, weights)
            errors[i] += 0.5 * np.sum(weights * (fold_gram @ weights)) - np.sum(weights * fold_cross)
    best = float(penalties[np.argmin(errors)])
    return group_lasso(gram, cross, best, np.zeros_like(cross)).astype(np.float32), best


def _choose_radius(
    noise: Floats, step: Floats, log: SessionLog, config: NoiseAdvantageConfig
) -> tuple[float, float]:
    """The radius and its effective share of sessions; ``step`` [n, A] is that of radius 1."""
    session, num_sessions = log.session_index, len(log.session_starts)
    along, half_square = (np.einsum("ij,ij->i", side, step) for side in (noise, 0.5 * step))

    def share(radius: float) -> float:
        log_ratio = radius * along - radius**2 * half_square
        log_weights = log_session_weights(log_ratio, session, num_sessions, cap=CAP)
        return effective_sample_size(log_weights) / num_sessions

    if config.radius is not None:
        return config.radius, share(config.radius)
    supported = [radius for radius in config.radii if share(radius) > config.min_effective_share]
    radius = max(supported, default=1.0)
    return radius, share(radius)
