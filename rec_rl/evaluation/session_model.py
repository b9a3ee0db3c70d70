"""A model of the level that a request's session reaches, for `doubly_robust`."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rec_rl.data.behaviour import GaussianBehaviour, column_moments, solve_ridge, with_constant
from rec_rl.data.sessions import SessionLog

Floats = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class LevelModel:
    """Predicts a session's level from a request's state and action; each half of users from the other.

    Attributes:
        behaviour: Whose noise the actions are seen as.
        half: Of each request's user, 0 or 1, shape [n].
        of_state: The state's part of the prediction, shape [n].
        of_noise: Weight of each dimension of the noise, by half, shape [2, A].
    """

    behaviour: GaussianBehaviour
    half: NDArray[np.int64]
    of_state: Floats
    of_noise: Floats

    def at(self, actions: Floats) -> Floats:
        """Predicted level if these actions [n, A] had been served, shape [n].

        The prediction is linear in the action, so at a policy's means it is the mean over its actions.
        """
        by_half = self.behaviour.step(actions) @ self.of_noise.T
        predicted: Floats = self.of_state + np.where(self.half == 0, by_half[:, 0], by_half[:, 1])
        return predicted


def fit_level_model(
    log: SessionLog,
    level: NDArray[np.float64],
    behaviour: GaussianBehaviour,
    *,
    ridge: float = 1e-3,
    seed: int = 0,
) -> LevelModel:
    """Ridge regression of the level of a request's session on its state and the noise of its action.

    Args:
        log: The requests.
        level: Of each session, NaN where excluded, shape [num_sessions].
        behaviour: Known or fitted.
        ridge: Penalty in units of the columns' variance, >= 0.
        seed: Of the halves.
    """
    noise, target = behaviour.noise(log.actions), level[log.session_index]
    half = np.random.default_rng(seed).integers(0, 2, len(log.user_ids))[log.user_index]
    center, spread = column_moments(log.states)
    num_actions = noise.shape[1]
    size = num_actions + log.states.shape[1] + 1
    gram, cross, count = np.zeros((2, size, size)), np.zeros((2, size, 1)), np.zeros(2)
    for rows in log.user_blocks():
        features = np.hstack([noise[rows], with_constant(log.states[rows], center, spread)])
        for side in (0, 1):
            mine = ~np.isnan(target[rows]) & (half[rows] == side)
            gram[side] += features[mine].T @ features[mine]
            cross[side] += features[mine].T @ target[rows][mine, None].astype(np.float32)
            count[side] += mine.sum()
    fitted = [solve_ridge(gram[1 - s], cross[1 - s], ridge * count[1 - s])[:, 0] for s in (0, 1)]
    weights = np.stack(fitted).astype(np.float32)
    of_state = np.empty(len(log), np.float32)
    for rows in log.user_blocks():
        by_half = with_constant(log.states[rows], center, spread) @ weights[:, num_actions:].T
        of_state[rows] = np.where(half[rows] == 0, by_half[:, 0], by_half[:, 1])
    return LevelModel(behaviour=behaviour, half=half, of_state=of_state, of_noise=weights[:, :num_actions])
