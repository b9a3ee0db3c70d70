"""A model of the level that a request's session reaches, for `doubly_robust`."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rec_rl.data.behaviour import GaussianBehaviour, column_moments, solve_ridge, with_constant
from rec_rl.data.sessions import SessionLog

Floats = NDArray[np.float32]


class PredictedLevels(NamedTuple):
    """Predicted level of each request's session, shape [n] each.

    Attributes:
        logged: Given the state and the action that was served.
        target: Given the state, expected over the policy's actions.
    """

    logged: Floats
    target: Floats


def predict_levels(
    log: SessionLog,
    level: NDArray[np.float64],
    behaviour: GaussianBehaviour,
    target_mean: Floats,
    *,
    ridge: float = 1e-3,
    seed: int = 0,
) -> PredictedLevels:
    """Ridge regression on the state and the action's noise; each half of users is predicted from the other.

    The policy's action differs from the logged one by its noise alone, whose mean is the policy's step.

    Args:
        log: The requests.
        level: Of each session, NaN where excluded, shape [num_sessions].
        behaviour: Known or fitted.
        target_mean: The policy's mean at each request, shape [n, A].
        ridge: Penalty in units of the columns' variance, >= 0.
        seed: Of the halves.
    """
    noise, step = behaviour.noise(log.actions), behaviour.step(target_mean)
    target = level[log.session_index]
    known = ~np.isnan(target)
    half = np.random.default_rng(seed).integers(0, 2, len(log.user_ids))[log.user_index]
    center, spread = column_moments(log.states)
    size = noise.shape[1] + log.states.shape[1] + 1
    gram, cross, count = np.zeros((2, size, size)), np.zeros((2, size, 1)), np.zeros(2)
    for rows in log.user_blocks():
        features = np.hstack([noise[rows], with_constant(log.states[rows], center, spread)])
        for side in (0, 1):
            mine = known[rows] & (half[rows] == side)
            gram[side] += features[mine].T @ features[mine]
            cross[side] += features[mine].T @ target[rows][mine, None].astype(np.float32)
            count[side] += mine.sum()
    weights = [solve_ridge(gram[1 - s], cross[1 - s], ridge * count[1 - s])[:, 0] for s in (0, 1)]
    of_half = np.stack(weights, axis=1).astype(np.float32)
    logged, policy = np.empty((2, len(log)), np.float32)
    for rows in log.user_blocks():
        mine = half[rows, None]
        x = with_constant(log.states[rows], center, spread) @ of_half[noise.shape[1] :]
        of_state = np.take_along_axis(x, mine, axis=1)[:, 0]
        for out, moves in ((logged, noise), (policy, step)):
            part = np.take_along_axis(moves[rows] @ of_half[: noise.shape[1]], mine, axis=1)[:, 0]
            out[rows] = of_state + part
    return PredictedLevels(logged, policy)
