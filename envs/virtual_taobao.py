"""Virtual Taobao as Gymnasium environments: a vector environment, and one session at a time.

Source: Shi et al. 2019 (Virtual-Taobao), with the networks published with it or synthetic ones.

A user comes (88 binary attributes) and looks at a number of pages that is drawn on arrival and does not
depend on what is shown. On each page the action, a weight vector, ranks the items; the reward is the number
of clicks, 0 to 10. So an action moves neither the user nor the session's length: the environment is a
contextual bandit.

Differs from the paper: actions are clipped to [-1, 1]; the observation's bounds are the true ones; the last
observation of a session belongs to the user who left, not to the next one.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import ArrayLike, NDArray

from envs.virtual_taobao_networks import (
    NUM_CLICK_CLASSES,
    SYNTHETIC,
    Floats,
    VirtualTaobaoNetworks,
    sample_categorical,
)
from rec_rl.data.virtual_taobao_files import ACTION_DIM, MAX_CLICKS, MAX_LENGTH, NUM_NEXT_PAGES, USER_DIM
from rec_rl.errors import CheckpointError, ConfigError

LAST_CLICKS, LAST_NEXT_PAGE, PAGE = USER_DIM, USER_DIM + 1, USER_DIM + 2  # columns after the user's
OBS_DIM = USER_DIM + 3
STATE_DIM = USER_DIM + 1 + ACTION_DIM

Bools = NDArray[np.bool_]


def observation_space() -> gym.spaces.Box:
    """User [88] in {0, 1}, last clicks 0..10, last next-page value 0..9, pages seen 0..100."""
    high = np.array([1] * USER_DIM + [MAX_CLICKS, NUM_NEXT_PAGES - 1, MAX_LENGTH], dtype=np.float32)
    return gym.spaces.Box(np.zeros(OBS_DIM, np.float32), high, dtype=np.float32)


def action_space() -> gym.spaces.Box:
    """The weight vector [27] in [-1, 1] that ranks the items."""
    return gym.spaces.Box(-1.0, 1.0, (ACTION_DIM,), dtype=np.float32)


def user_state(obs: Floats, actions: Floats) -> Floats:
    """The state in which a user acts: who it is, how far into the session, and what is shown.

    Args:
        obs: What the policy saw, shape [B, 91].
        actions: What it showed, shape [B, 27]; clipped to [-1, 1], as the environment does.

    Returns:
        User [88], pages seen before this one [1], action [27]: shape [B, 116].
    """
    return np.concatenate(
        [obs[:, :USER_DIM], obs[:, PAGE:], actions.clip(-1.0, 1.0)], axis=1, dtype=np.float32
    )


class VirtualTaobaoVectorEnv(VectorEnv[Floats, Floats, NDArray[Any]]):
    """Many sessions in step, in batched numpy, with NEXT_STEP autoreset.

    ``infos`` holds "clicks" [num_envs] and, where the networks know it, "satisfaction" [num_envs]; the
    masks "_clicks" and "_satisfaction" are False where the step was an autoreset, whose values are 0.

    Args:
        num_envs: Sessions at a time.
        weights: A folder of the published networks, or "synthetic".

    Raises:
        ConfigError: If num_envs < 1.
        DatasetError: If the folder does not hold the published networks.
    """

    metadata: ClassVar[dict[str, Any]] = {"autoreset_mode": AutoresetMode.NEXT_STEP}

    def __init__(self, num_envs: int, weights: str | Path = SYNTHETIC) -> None:
        if num_envs < 1:
            raise ConfigError(f"num_envs must be >= 1, got {num_envs}")
        self.num_envs = num_envs
        self.networks = VirtualTaobaoNetworks.load(weights)
        self.single_observation_space, self.single_action_space = observation_space(), action_space()
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._obs = np.zeros((num_envs, OBS_DIM), dtype=np.float32)
        self._lengths = np.zeros(num_envs, dtype=np.int64)  # 0 only before the first reset
        self._user_layer = self.networks.user_layer(self._obs[:, :USER_DIM])
        self._ended = np.zeros(num_envs, dtype=np.bool_)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Floats, dict[str, Any]]:
        """Begins every session anew; ``options`` are not used."""
        super().reset(seed=seed)
        self._ended[:] = False
        self._begin(np.arange(self.num_envs))
        return self._obs.copy(), {}

    def step(self, actions: ArrayLike) -> tuple[Floats, Floats, Bools, Bools, dict[str, Any]]:
        """Shows a page to every user, or lets the next user in where the last one left.

        Args:
            actions: Shape [num_envs, 27]; clipped to [-1, 1].

        Returns:
            Observations [num_envs, 91], rewards (clicks) [num_envs], terminated, truncated (never), infos.

        Raises:
            ResetNeeded: Before the first reset.
            ValueError: If the shape is wrong or an action is NaN.
        """
        if not self._lengths.all():
            raise ResetNeeded("call reset before the first step")
        shown = self._clipped(actions)
        ended, active = self._ended, np.flatnonzero(~self._ended)
        if len(active) < self.num_envs:
            self._begin(np.flatnonzero(ended))

        pages = self._obs[active, PAGE]
        logits = self.networks.action_logits(self._user_layer[active], pages, shown[active])
        uniforms = self.np_random.random((2, len(active)), dtype=np.float32)
        clicks = np.zeros(self.num_envs, dtype=np.int64)
        clicks[active] = sample_categorical(logits[:, :NUM_CLICK_CLASSES], uniforms[0])
        infos = {"clicks": clicks, "_clicks": ~ended} | self._satisfaction(shown, clicks, ~ended)
        self._obs[active, LAST_CLICKS] = clicks[active]
        self._obs[active, LAST_NEXT_PAGE] = sample_categorical(logits[:, NUM_CLICK_CLASSES:], uniforms[1])
        self._obs[active, PAGE] += 1
        self._ended = self._obs[:, PAGE] >= self._lengths
        truncated = np.zeros(self.num_envs, dtype=np.bool_)
        return self._obs.copy(), clicks.astype(np.float32), self._ended.copy(), truncated, infos

    def get_state(self) -> dict[str, Any]:
        """Everything that the next steps depend on, copied."""
        return {
            "weights": self.networks.content_hash,
            "rng": self.np_random.bit_generator.state,
            "obs": self._obs.copy(),
            "lengths": self._lengths.copy(),
            "user_layer": self._user_layer.copy(),
            "ended": self._ended.copy(),
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Goes on where ``get_state`` was called, bit for bit.

        Raises:
            CheckpointError: If the state is of another number of sessions or of other networks.
        """
        if state["weights"] != self.networks.content_hash:
            raise CheckpointError(f"the state is of networks other than {self.networks.name!r}")
        if state["obs"].shape != self._obs.shape:
            raise CheckpointError(f"the state is of {len(state['obs'])} sessions, expected {self.num_envs}")
        self.np_random.bit_generator.state = state["rng"]
        self._obs = state["obs"].copy()
        self._lengths = state["lengths"].copy()
        self._user_layer = state["user_layer"].copy()
        self._ended = state["ended"].copy()

    def _begin(self, rows: NDArray[np.int64]) -> None:
        users = self.networks.sample_users(self.np_random, len(rows))
        self._obs[rows] = 0.0
        self._obs[rows, :USER_DIM] = users
        self._lengths[rows] = self.networks.sample_lengths(self.np_random, users)
        self._user_layer[rows] = self.networks.user_layer(users)

    def _clipped(self, actions: ArrayLike) -> Floats:
        array = np.asarray(actions, dtype=np.float32)
        if array.shape != (self.num_envs, ACTION_DIM):
            raise ValueError(f"actions must have shape {(self.num_envs, ACTION_DIM)}, got {array.shape}")
        invalid = np.isnan(array)
        if invalid.any():
            raise ValueError(
                f"actions must be numbers, got NaN for environment {invalid.any(axis=1).argmax()}"
            )
        return array.clip(-1.0, 1.0)

    def _satisfaction(self, shown: Floats, clicks: NDArray[np.int64], active: Bools) -> dict[str, Any]:
        if self.networks.satisfaction is None:
            return {}
        value = self.networks.satisfaction(self._obs[:, :USER_DIM], self._obs[:, PAGE], shown, clicks)
        return {"satisfaction": value, "_satisfaction": active}


class VirtualTaobaoEnv(gym.Env[Floats, Floats]):
    """One session at a time: the vector environment with one user and no autoreset.

    ``info`` holds "clicks" and, where the networks know it, "satisfaction".

    Args:
        weights: A folder of the published networks, or "synthetic".

    Raises:
        DatasetError: If the folder does not hold the published networks.
    """

    def __init__(self, weights: str | Path = SYNTHETIC) -> None:
        self._session = VirtualTaobaoVectorEnv(1, weights)
        self._ended = True
        self.networks = self._session.networks
        self.observation_space, self.action_space = observation_space(), action_space()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Floats, dict[str, Any]]:
        """Lets a user in; ``options`` are not used."""
        super().reset(seed=seed)
        self._session.np_random = self.np_random
        obs, info = self._session.reset()
        self._ended = False
        return obs[0], info

    def step(self, action: ArrayLike) -> tuple[Floats, float, bool, bool, dict[str, Any]]:
        """Shows the user a page.

        Args:
            action: Shape [27]; clipped to [-1, 1].

        Raises:
            ResetNeeded: If no session is on.
            ValueError: If the shape is wrong or the action is NaN.
        """
        if self._ended:
            raise ResetNeeded("the session has ended; call reset")
        obs, rewards, terminated, truncated, infos = self._session.step(np.asarray(action)[None])
        self._ended = bool(terminated[0])
        info = {key: values[0] for key, values in infos.items() if not key.startswith("_")}
        return obs[0], float(rewards[0]), self._ended, bool(truncated[0]), info
