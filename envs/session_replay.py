"""A session log as a Gymnasium environment: the policy acts, the log says what happened.

An episode is one user's history. A step moves to the user's next logged request whatever the action was:
the action changes the reward of a reward model and the density ratio, never the user. ``info`` holds what
an off-policy estimate needs, so that an evaluation rollout yields one. There are no terminals, since the
state crosses sessions: an episode is truncated at the user's last request, whose next state nobody saw.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import ArrayLike, NDArray

from rec_rl.data.behaviour import GaussianBehaviour, fit_behaviour, gaussian_log_density
from rec_rl.data.half import to_single
from rec_rl.data.levels import session_levels
from rec_rl.data.sessions import RequestReward, SessionLog
from rec_rl.errors import CheckpointError, ConfigError, DatasetError

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]

ACTION_QUANTILE = 0.995  # of |a| in the log: the bound of the action space
LARGEST_STATE = float(np.finfo(np.float16).max)


class SessionReplayVectorEnv(VectorEnv[Floats, Floats, NDArray[Any]]):
    """Many users' histories in step, in batched numpy, with NEXT_STEP autoreset.

    Users come in a random order, each once before any comes again. ``infos`` holds, with a mask "_NAME"
    that is False where the step was an autoreset:

        user, session, request    whose, and where in the log (row numbers)    [num_envs]
        logged_action             what was served                              [num_envs, A]
        log_behaviour             its log density under the behaviour          [num_envs]
        log_ratio                 log N(logged; action taken) less that        [num_envs]

    Args:
        log: The histories. Its behaviour is fitted where it was not recorded.
        num_envs: Users at a time.
        reward: Scores the action taken; or the level of each session [num_sessions], paid with the
            session's last request, NaN paying nothing. By default the level of the mixture.

    Raises:
        ConfigError: If num_envs < 1.
        DatasetError: If no user of the log has two requests, or actions do not vary.
    """

    metadata: ClassVar[dict[str, Any]] = {"autoreset_mode": AutoresetMode.NEXT_STEP}

    def __init__(
        self, log: SessionLog, num_envs: int, reward: RequestReward | NDArray[np.float64] | None = None
    ) -> None:
        if num_envs < 1:
            raise ConfigError(f"num_envs must be >= 1, got {num_envs}")
        self.num_envs = num_envs
        self.log = log
        self.behaviour: GaussianBehaviour = log.behaviour or fit_behaviour(log.states, log.actions).on(
            log.states
        )
        self.num_excluded_users = int((np.diff(log.user_starts) < 2).sum())
        (self._users,) = np.nonzero(np.diff(log.user_starts) >= 2)
        if len(self._users) == 0:
            raise DatasetError("some user of the log must have >= 2 requests, none has")
        self._session = log.session_index
        recorded = log.log_propensity
        self._log_behaviour = self.behaviour.log_density(log.actions) if recorded is None else recorded
        reward = session_levels(log).mixture if reward is None else reward
        self._reward = reward if callable(reward) else _paid_at_session_end(log, reward)
        self.single_observation_space = gym.spaces.Box(
            -LARGEST_STATE, LARGEST_STATE, (log.states.shape[1],), dtype=np.float32
        )
        bound = np.quantile(np.abs(log.actions), ACTION_QUANTILE, axis=0).astype(np.float32)
        self.single_action_space = gym.spaces.Box(-bound, bound, dtype=np.float32)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._rows: NDArray[np.int64] | None = None
        self._last_rows = np.zeros(num_envs, np.int64)
        self._queue = np.zeros(0, np.int64)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Floats, dict[str, Any]]:
        """Begins the history of another user everywhere.

        Args:
            seed: Of the order of users.
            options: May hold "users", ids to begin with, one per environment.
        """
        super().reset(seed=seed)
        if seed is not None:
            self._queue = np.zeros(0, np.int64)
        if options and "users" in options:
            self._queue = self._positions(options["users"])
        self._rows = np.zeros(self.num_envs, np.int64)
        self._begin(np.arange(self.num_envs))
        return self._observe(), {}

    def step(self, actions: ArrayLike) -> tuple[Floats, Floats, Bools, Bools, dict[str, Any]]:
        """Goes on to every user's next request, or to the next user where the last one's log ended.

        Args:
            actions: The policy's means, shape [num_envs, A]; not clipped.

        Returns:
            Observations [num_envs, S], rewards [num_envs], terminated (never), truncated, infos.

        Raises:
            ResetNeeded: Before the first reset.
            ValueError: If the shape is wrong or an action is not finite.
        """
        if self._rows is None:
            raise ResetNeeded("call reset before the first step")
        taken = self._checked(actions)
        active = self._rows < self._last_rows
        rows = self._rows.copy()
        rewards = np.where(active, self._rewards(rows, taken), 0).astype(np.float32)
        infos = self._infos(rows, taken)
        infos |= {f"_{name}": active for name in tuple(infos)}
        self._rows[active] += 1
        self._begin(np.flatnonzero(~active))
        truncated = active & (self._rows == self._last_rows)
        return self._observe(), rewards, np.zeros(self.num_envs, np.bool_), truncated, infos

    def get_state(self) -> dict[str, Any]:
        """Everything that the next steps depend on, copied."""
        return {
            "log": self.log.content_hash,
            "rng": self.np_random.bit_generator.state,
            "rows": None if self._rows is None else self._rows.copy(),
            "last_rows": self._last_rows.copy(),
            "queue": self._queue.copy(),
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Goes on where ``get_state`` was called, bit for bit.

        Raises:
            CheckpointError: If the state is of another log or number of environments.
        """
        if state["log"] != self.log.content_hash:
            raise CheckpointError("the state is of a log other than this one")
        if len(state["last_rows"]) != self.num_envs:
            raise CheckpointError(
                f"the state is of {len(state['last_rows'])} environments, expected {self.num_envs}"
            )
        self.np_random.bit_generator.state = state["rng"]
        self._rows = None if state["rows"] is None else state["rows"].copy()
        self._last_rows, self._queue = state["last_rows"].copy(), state["queue"].copy()

    def _begin(self, envs: NDArray[np.int64]) -> None:
        assert self._rows is not None
        while len(self._queue) < len(envs):
            self._queue = np.append(self._queue, self.np_random.permutation(self._users))
        users, self._queue = self._queue[: len(envs)], self._queue[len(envs) :]
        self._rows[envs] = self.log.user_starts[users]
        self._last_rows[envs] = self.log.user_starts[users + 1] - 1

    def _observe(self) -> Floats:
        return to_single(self.log.states[self._rows])

    def _rewards(self, rows: NDArray[np.int64], taken: Floats) -> Floats:
        if callable(self._reward):
            return self._reward(self.log.states[rows], taken)
        return self._reward[rows]

    def _infos(self, rows: NDArray[np.int64], taken: Floats) -> dict[str, Any]:
        session, logged = self._session[rows], self.log.actions[rows]
        log_policy = gaussian_log_density(logged, taken, self.behaviour.scale)
        return {
            "user": self.log.session_users[session],
            "session": session,
            "request": rows,
            "logged_action": logged,
            "log_behaviour": self._log_behaviour[rows],
            "log_ratio": log_policy - self._log_behaviour[rows],
        }

    def _positions(self, ids: ArrayLike) -> NDArray[np.int64]:
        known = {int(user): i for i, user in zip(self._users, self.log.user_ids[self._users], strict=True)}
        wanted = np.asarray(ids).reshape(-1).tolist()
        if unknown := [user for user in wanted if user not in known]:
            raise ConfigError(f"users must be in the log and have >= 2 requests, {unknown[0]} is not")
        return np.array([known[user] for user in wanted], np.int64)

    def _checked(self, actions: ArrayLike) -> Floats:
        array = np.asarray(actions, dtype=np.float32)
        shape = (self.num_envs, self.log.actions.shape[1])
        if array.shape != shape:
            raise ValueError(f"actions must have shape {shape}, got {array.shape}")
        if not np.isfinite(array).all():
            row = int(np.argmin(np.isfinite(array).all(axis=1)))
            raise ValueError(f"actions must be finite, that of environment {row} is not")
        return array


class SessionReplayEnv(gym.Env[Floats, Floats]):
    """One user's history at a time: the vector environment with one user and no autoreset.

    Args:
        log: The histories.
        reward: As in `SessionReplayVectorEnv`.

    Raises:
        DatasetError: If no user of the log has two requests, or actions do not vary.
    """

    def __init__(self, log: SessionLog, reward: RequestReward | NDArray[np.float64] | None = None) -> None:
        self._replay = SessionReplayVectorEnv(log, 1, reward)
        self._ended = True
        self.observation_space = self._replay.single_observation_space
        self.action_space = self._replay.single_action_space

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Floats, dict[str, Any]]:
        """Begins the history of another user; ``options`` may hold "user", an id."""
        super().reset(seed=seed)
        users = {"users": [options["user"]]} if options and "user" in options else None
        obs, info = self._replay.reset(seed=seed, options=users)
        self._ended = False
        return obs[0], info

    def step(self, action: ArrayLike) -> tuple[Floats, float, bool, bool, dict[str, Any]]:
        """Goes on to the user's next request.

        Args:
            action: The policy's mean, shape [A]; not clipped.

        Raises:
            ResetNeeded: If no history is on.
            ValueError: If the shape is wrong or the action is not finite.
        """
        if self._ended:
            raise ResetNeeded("the user's log has ended; call reset")
        obs, rewards, _, truncated, infos = self._replay.step(np.asarray(action)[None])
        self._ended = bool(truncated[0])
        info = {name: values[0] for name, values in infos.items() if not name.startswith("_")}
        return obs[0], float(rewards[0]), False, self._ended, info


def _paid_at_session_end(log: SessionLog, level: NDArray[np.float64]) -> Floats:
    """Reward of each request, shape [n]: the level at a session's last request, else 0."""
    if level.shape != log.session_starts.shape:
        raise ValueError(f"levels must have shape {log.session_starts.shape}, got {level.shape}")
    rewards = np.zeros(len(log), np.float32)
    rewards[log.session_starts + log.depths - 1] = np.nan_to_num(level)
    return rewards
