"""Adds a learned mental reward to an environment's own.

Source: MTRec, Eq. (12): r_final = r_env + kappa * r_mental.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper
from numpy.typing import NDArray

from rec_rl.errors import ConfigError, check_name

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]

MODES = ("raw", "unit", "difference")


class MentalReward(Protocol):
    """What a user's act is worth to the user."""

    def __call__(self, states: Floats, /) -> Floats:
        """States [B, d] to r*(s, skip) and r*(s, click), shape [B, 2]."""


@dataclass(frozen=True, kw_only=True)
class MentalShaping:
    """How the mental reward enters.

    Attributes:
        model: The mental reward.
        state_of: (observations [B, ...], actions [B, ...]) -> the states [B, d] in which the users acted:
            what the policy saw, with what it then showed.
        kappa: Weight, >= 0. At 0 the model is not called and the environment is the plain one.
        mode: "raw" is the paper's r*(s, what the user did); "unit" divides it by ``unit_scale``; "difference"
            is r*(s, click) - r*(s, skip) whatever the user did, which is free of the surprise that raw
            rewards carry away from the data they were learned on.
        unit_scale: Standard deviation of the raw reward on the model's training data; for "unit" alone.

    Raises:
        ConfigError: If kappa, mode or unit_scale is out of its bound.
    """

    model: MentalReward
    state_of: Callable[[Floats, Floats], Floats]
    kappa: float = 0.2
    mode: str = "raw"
    unit_scale: float | None = None

    def __post_init__(self) -> None:
        check_name("shaping mode", self.mode, MODES)
        if not 0 <= self.kappa < float("inf"):
            raise ConfigError(f"kappa must be >= 0, got {self.kappa}")
        if (self.unit_scale is not None) != (self.mode == "unit"):
            raise ConfigError(f"unit_scale belongs to mode 'unit', got {self.unit_scale} for {self.mode!r}")
        if self.unit_scale is not None and not 0 < self.unit_scale < float("inf"):
            raise ConfigError(f"unit_scale must be > 0, got {self.unit_scale}")

    def mental_reward(self, obs: Floats, actions: Floats, clicked: Bools) -> Floats:
        """The mental reward of one step of each environment, without kappa.

        Args:
            obs: What the policy saw, shape [B, ...].
            actions: What it showed, shape [B, ...].
            clicked: Whether the user clicked, shape [B].

        Returns:
            Shape [B].

        Raises:
            ValueError: If the model's answer has another shape than [B, 2] or is not finite.
        """
        rewards = np.asarray(self.model(self.state_of(obs, actions)), dtype=np.float32)
        if rewards.shape != (len(clicked), 2):
            raise ValueError(f"mental rewards must have shape {(len(clicked), 2)}, got {rewards.shape}")
        invalid = ~np.isfinite(rewards).all(axis=1)
        if invalid.any():
            row = int(invalid.argmax())
            raise ValueError(f"mental rewards must be finite, got {rewards[row].tolist()} in row {row}")
        if self.mode == "difference":
            return rewards[:, 1] - rewards[:, 0]
        chosen: Floats = np.where(clicked, rewards[:, 1], rewards[:, 0])
        return chosen if self.unit_scale is None else np.divide(chosen, self.unit_scale, dtype=np.float32)


class MentalRewardShaping(gym.Wrapper[Floats, Floats, Floats, Floats]):
    """Replaces the reward with ``r_env + kappa * r_mental``.

    The model scores the state in which the user acted. Both terms stay in ``info`` as ``reward_env`` and
    ``reward_mental``, so that evaluation can report the unshaped return.

    Args:
        env: Its info holds "clicks"; the user clicked where that is > 0.
        shaping: How the mental reward enters.
    """

    def __init__(self, env: gym.Env[Floats, Floats], shaping: MentalShaping) -> None:
        super().__init__(env)
        self.shaping = shaping

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Floats, dict[str, Any]]:
        """Resets the environment."""
        self._obs, info = self.env.reset(seed=seed, options=options)
        return self._obs, info

    def step(self, action: Floats) -> tuple[Floats, float, bool, bool, dict[str, Any]]:
        """Steps the environment and shapes its reward."""
        before = self._obs
        self._obs, reward, terminated, truncated, info = self.env.step(action)
        mental = 0.0
        if self.shaping.kappa > 0:
            clicked = np.array([info["clicks"] > 0])
            mental = float(self.shaping.mental_reward(before[None], np.asarray(action)[None], clicked)[0])
        info = info | {"reward_env": reward, "reward_mental": mental}
        return self._obs, reward + self.shaping.kappa * mental, terminated, truncated, info


class MentalRewardVectorShaping(VectorWrapper):
    """``MentalRewardShaping`` of a vector environment that resets at the next step.

    In a step that is an autoreset nobody acted: both terms are 0.

    Args:
        env: Its infos hold "clicks" [num_envs]; a user clicked where that is > 0.
        shaping: How the mental reward enters.

    Raises:
        ValueError: If the environment's autoreset mode is another one.
    """

    def __init__(self, env: VectorEnv[Floats, Floats, NDArray[Any]], shaping: MentalShaping) -> None:
        super().__init__(env)
        mode = env.metadata.get("autoreset_mode")
        if mode is not AutoresetMode.NEXT_STEP:
            raise ValueError(f"autoreset_mode must be {AutoresetMode.NEXT_STEP}, got {mode}")
        self.shaping = shaping

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Floats, dict[str, Any]]:
        """Resets every environment."""
        self._obs, infos = self.env.reset(seed=seed, options=options)
        self._ended = np.zeros(self.num_envs, dtype=np.bool_)
        return self._obs, infos

    def step(self, actions: Floats) -> tuple[Floats, Floats, Bools, Bools, dict[str, Any]]:
        """Steps every environment and shapes its reward."""
        before, active = self._obs, np.flatnonzero(~self._ended)
        self._obs, rewards, terminated, truncated, infos = self.env.step(actions)
        self._ended = terminated | truncated
        mental = np.zeros(self.num_envs, dtype=np.float32)
        if self.shaping.kappa > 0 and len(active) > 0:
            clicked = infos["clicks"][active] > 0
            mental[active] = self.shaping.mental_reward(before[active], np.asarray(actions)[active], clicked)
        infos = infos | {"reward_env": rewards, "reward_mental": mental}
        return self._obs, rewards + np.float32(self.shaping.kappa) * mental, terminated, truncated, infos

    def get_state(self) -> dict[str, Any]:
        """Everything that the next steps depend on, copied."""
        return {"env": self.env.get_state(), "obs": self._obs.copy(), "ended": self._ended.copy()}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Goes on where ``get_state`` was called, bit for bit."""
        self.env.set_state(state["env"])
        self._obs, self._ended = state["obs"].copy(), state["ended"].copy()
