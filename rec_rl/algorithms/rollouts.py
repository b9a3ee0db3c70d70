"""An env runner that steps a batched environment and returns flat arrays."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Protocol

import gymnasium as gym
import numpy as np
import ray
import torch
from numpy.typing import NDArray
from ray.rllib.core import COMPONENT_RL_MODULE, DEFAULT_MODULE_ID
from ray.rllib.env.env_runner import EnvRunner
from torch import Tensor

EnvBuilder = Callable[[int], gym.vector.VectorEnv]
"""num_envs -> a batched environment with NEXT_STEP autoreset and get_state / set_state; picklable."""


class ActingModule(Protocol):
    """What a runner needs of an RLModule."""

    def act(self, obs: Tensor, noise: Tensor | None) -> tuple[Tensor, Tensor]:
        """Actions [B, A] and their log densities [B]; without ``noise`` [B, A], the mean action."""
        ...


@dataclass(frozen=True, kw_only=True)
class Rollout:
    """What T steps of N environments brought; every array has shape [T, N, ...].

    Attributes:
        obs, actions, next_obs: ``next_obs`` is the row's own next state, also where the episode ended.
        logp: Log density of the actions under the policy that took them.
        rewards: What the learner is trained on.
        rewards_env: What the environment paid before any shaping.
        terminated, truncated: Whether the episode ended on this row.
        valid: False on rows in which an environment only reset itself.
        episode_return, episode_length: Unshaped return and steps so far; complete where the episode ended.
    """

    obs: NDArray[np.float32]
    actions: NDArray[np.float32]
    logp: NDArray[np.float32]
    rewards: NDArray[np.float32]
    rewards_env: NDArray[np.float32]
    next_obs: NDArray[np.float32]
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    valid: NDArray[np.bool_]
    episode_return: NDArray[np.float32]
    episode_length: NDArray[np.int64]

    @property
    def num_steps(self) -> int:
        """Environment steps taken; resets are none."""
        return int(self.valid.sum())

    @staticmethod
    def join(parts: list["Rollout"]) -> "Rollout":
        """Puts rollouts of the same length side by side along the environment axis."""
        if len(parts) == 1:
            return parts[0]
        names = [f.name for f in fields(Rollout)]
        return Rollout(**{n: np.concatenate([getattr(p, n) for p in parts], axis=1) for n in names})

    def finished(self) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Unshaped returns and lengths of the episodes that ended, shape [k] each."""
        ended = (self.terminated | self.truncated) & self.valid
        return self.episode_return[ended], self.episode_length[ended]


class FlatEnvRunner(EnvRunner):
    """Steps one batched environment; no Python object per episode or step.

    Differs from RLlib's runners: experience is a `Rollout`, not a list of episodes, and its state holds the
    environment and every random stream, so that a restored run goes on bit for bit.
    """

    def __init__(self, *, config: Any, worker_index: int = 0, **kwargs: Any) -> None:
        super().__init__(config=config, worker_index=worker_index, **kwargs)
        self.module: Any = None
        self.reseed(0)

    def reseed(self, incarnation: int) -> None:
        """Starts fresh episodes on a stream of its own; a restarted runner repeats none of the past."""
        entropy = [self.config.seed or 0, self.worker_index, incarnation]
        env_seed, noise_seed = np.random.SeedSequence(entropy).spawn(2)
        self._rng = np.random.default_rng(noise_seed)
        self.env = self.config.env_builder(self.config.num_envs_per_env_runner)
        self._obs, _ = self.env.reset(seed=int(env_seed.generate_state(1)[0]))
        num_envs = self.env.num_envs
        self._resetting = np.zeros(num_envs, bool)
        self._returns = np.zeros(num_envs, np.float32)
        self._lengths = np.zeros(num_envs, np.int64)

    def make_module(self) -> None:
        """Builds an inference-only module; `set_state` brings its weights."""
        spec = self.config.get_multi_rl_module_spec(spaces=self.get_spaces(), inference_only=True)
        self.module = spec.build()[DEFAULT_MODULE_ID]

    def sample(self, *, num_steps: int, random: bool = False, **_: Any) -> Rollout:
        """Takes ``num_steps`` steps in every environment.

        Args:
            num_steps: T.
            random: Draw actions uniformly from the action space instead of from the policy.
        """
        num_envs, space = self.env.num_envs, self.env.single_action_space
        obs_shape, act_shape = self._obs.shape[1:], space.shape
        table: dict[str, NDArray[Any]] = {
            "obs": np.empty((num_steps, num_envs, *obs_shape), np.float32),
            "actions": np.empty((num_steps, num_envs, *act_shape), np.float32),
            "next_obs": np.empty((num_steps, num_envs, *obs_shape), np.float32),
        }
        for name in ("logp", "rewards", "rewards_env", "episode_return"):
            table[name] = np.zeros((num_steps, num_envs), np.float32)
        for name in ("terminated", "truncated", "valid"):
            table[name] = np.zeros((num_steps, num_envs), bool)
        table["episode_length"] = np.zeros((num_steps, num_envs), np.int64)
        for t in range(num_steps):
            self._step(t, table, random)
        return Rollout(**table)

    def _step(self, t: int, table: dict[str, NDArray[Any]], random: bool) -> None:
        actions, logp = self._act(random)
        next_obs, rewards, terminated, truncated, info = self.env.step(actions)
        rewards_env = info.get("reward_env", rewards)
        valid = ~self._resetting
        self._returns = np.where(valid, self._returns + rewards_env, 0).astype(np.float32)
        self._lengths = np.where(valid, self._lengths + 1, 0)
        row = {
            "obs": self._obs,
            "actions": actions,
            "logp": logp,
            "rewards": rewards,
            "rewards_env": rewards_env,
            "next_obs": next_obs,
            "terminated": terminated,
            "truncated": truncated,
            "valid": valid,
            "episode_return": self._returns,
            "episode_length": self._lengths,
        }
        for name, value in row.items():
            table[name][t] = value
        self._resetting = (terminated | truncated) & valid
        self._obs = next_obs

    def _act(self, random: bool) -> tuple[NDArray[np.float32], NDArray[np.float32] | float]:
        space = self.env.single_action_space
        shape = (self.env.num_envs, *space.shape)
        if random:
            return self._rng.uniform(space.low, space.high, shape).astype(np.float32), 0.0
        noise = torch.from_numpy(self._rng.standard_normal(shape, dtype=np.float32))
        with torch.inference_mode():
            actions, logp = self.module.act(torch.from_numpy(self._obs), noise)
        return actions.numpy(), logp.numpy()

    def get_spaces(self) -> dict[str, tuple[gym.Space[Any], gym.Space[Any]]]:
        """The spaces of one environment, under RLlib's keys."""
        spaces = (self.env.single_observation_space, self.env.single_action_space)
        return {"__env__": spaces, DEFAULT_MODULE_ID: spaces}

    def get_state(self, components: Any = None, **_: Any) -> dict[str, Any]:
        """Everything that decides what this runner samples next, but for the policy's weights.

        RLlib asks for connector states by ``components``; there are none.
        """
        if components is not None:
            return {}
        return {
            "env": self.env.get_state(),
            "rng": self._rng.bit_generator.state,
            "obs": self._obs,
            "resetting": self._resetting,
            "returns": self._returns,
            "lengths": self._lengths,
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Takes over weights (RLlib's key) or a state of `get_state`."""
        if COMPONENT_RL_MODULE in state:
            weights = state[COMPONENT_RL_MODULE]
            weights = ray.get(weights) if isinstance(weights, ray.ObjectRef) else weights
            self.set_weights(weights[DEFAULT_MODULE_ID])
        if "env" in state:
            self.env.set_state(state["env"])
            self._rng.bit_generator.state = state["rng"]
            self._obs, self._resetting = state["obs"], state["resetting"]
            self._returns, self._lengths = state["returns"], state["lengths"]

    def set_weights(self, weights: Mapping[str, Any]) -> None:
        """Loads the policy's parameters from a state dict of arrays."""
        if self.module is None:
            self.make_module()
        self.module.set_state(weights)

    def assert_healthy(self) -> None:
        """Raises AssertionError if the environment was not built."""
        assert self.env is not None, "the runner has no environment"

    def stop(self) -> None:
        """Closes the environment."""
        self.env.close()
