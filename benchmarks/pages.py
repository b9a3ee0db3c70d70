"""An environment that costs next to nothing, so that what is timed around it is the library.

It has Virtual Taobao's shapes (a state of 91 numbers, actions of 27) and mean session length. Each library
gets it in the form that is fastest for it: rec_rl and stable-baselines3 in one batch, stock RLlib one by one.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import gymnasium as gym

OBS_DIM, ACTION_DIM = 91, 27
LEAVE = 1 / 7.8
MAX_CLICKS = 10.0

Floats = NDArray[np.float32]


class Pages:
    """``num_envs`` sessions: the nearer the action to a vector that all users share, the more clicks."""

    def __init__(self, num_envs: int, seed: int = 0) -> None:
        self.num_envs = num_envs
        self.rng = np.random.default_rng(seed)
        self._wanted = np.random.default_rng(0).uniform(-0.8, 0.8, ACTION_DIM).astype(np.float32)
        self._users = (self.rng.random((4096, OBS_DIM), dtype=np.float32) < 0.5).astype(np.float32)

    def arrive(self) -> Floats:
        """A new user everywhere, shape [num_envs, 91]."""
        return self._users[self.rng.integers(0, len(self._users), self.num_envs)]

    def show(self, actions: Floats) -> tuple[Floats, NDArray[np.bool_]]:
        """Clicks on a page and whether the user leaves, shape [num_envs] each."""
        distance = actions.clip(-1, 1) - self._wanted
        clicks = MAX_CLICKS * np.exp(-0.1 * np.einsum("ij,ij->i", distance, distance))
        return clicks.astype(np.float32), self.rng.random(self.num_envs) < LEAVE


def spaces() -> "tuple[gym.spaces.Box, gym.spaces.Box]":
    """Of observations and actions."""
    import gymnasium as gym

    return gym.spaces.Box(0, 1, (OBS_DIM,), np.float32), gym.spaces.Box(-1, 1, (ACTION_DIM,), np.float32)


def vector_env(num_envs: int) -> Any:
    """For rec_rl: Gymnasium's vector form with NEXT_STEP autoreset."""
    from gymnasium.vector import AutoresetMode, VectorEnv
    from gymnasium.vector.utils import batch_space

    class PagesVectorEnv(VectorEnv):
        metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP}  # noqa: RUF012

        def __init__(self) -> None:
            self.num_envs, self._pages = num_envs, Pages(num_envs)
            self.single_observation_space, self.single_action_space = spaces()
            self.observation_space = batch_space(self.single_observation_space, num_envs)
            self.action_space = batch_space(self.single_action_space, num_envs)

        def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
            self._obs, self._ended = self._pages.arrive(), np.zeros(num_envs, np.bool_)
            return self._obs.copy(), {}

        def step(self, actions: Floats) -> Any:
            clicks, leaves = self._pages.show(actions)
            resets = self._ended
            self._obs = np.where(resets[:, None], self._pages.arrive(), self._obs)
            self._ended = leaves & ~resets
            never = np.zeros(num_envs, np.bool_)
            return self._obs, np.where(resets, np.float32(0), clicks), self._ended, never, {}

    return PagesVectorEnv()


def single_env(config: Any = None) -> Any:
    """For stock RLlib: one session."""
    import gymnasium as gym

    class PagesEnv(gym.Env):
        def __init__(self) -> None:
            self._pages = Pages(1)
            self.observation_space, self.action_space = spaces()

        def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
            self._obs = self._pages.arrive()[0]
            return self._obs, {}

        def step(self, action: Floats) -> Any:
            clicks, leaves = self._pages.show(action[None])
            return self._obs, float(clicks[0]), bool(leaves[0]), False, {}

    return PagesEnv()


def baselines_env(num_envs: int) -> Any:
    """For stable-baselines3: its vector form, which resets in the step that ends an episode."""
    from stable_baselines3.common.vec_env import VecEnv

    class PagesVecEnv(VecEnv):
        def __init__(self) -> None:
            super().__init__(num_envs, *spaces())
            self._pages = Pages(num_envs)

        def reset(self) -> Floats:
            self._obs = self._pages.arrive()
            return self._obs

        def step_async(self, actions: Floats) -> None:
            self._actions = actions

        def step_wait(self) -> Any:
            clicks, leaves = self._pages.show(self._actions)
            infos: list[dict[str, Any]] = [{} for _ in range(num_envs)]
            for row in np.flatnonzero(leaves):
                infos[row]["terminal_observation"] = self._obs[row]
            self._obs = np.where(leaves[:, None], self._pages.arrive(), self._obs)
            return self._obs, clicks, leaves, infos

        def close(self) -> None:
            pass

        def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
            return [getattr(self, attr_name, None)] * num_envs

        def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
            setattr(self, attr_name, value)

        def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
            return [None] * num_envs

        def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
            return [False] * num_envs

    return PagesVecEnv()
