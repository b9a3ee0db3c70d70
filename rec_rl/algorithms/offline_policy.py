"""What an offline algorithm has learned, as a function of arrays: to serve, to judge, to keep."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import NDArray

from rec_rl.algorithms.catalogue import OFFLINE_ALGORITHMS
from rec_rl.algorithms.offline import OfflineAlgorithm
from rec_rl.algorithms.offline_learner import OfflineModule
from rec_rl.checkpoint import load_state, save_state
from rec_rl.data.half import to_single
from rec_rl.errors import check_name

KIND = "offline_policy"
CHUNK = 1 << 14


class OfflinePolicy:
    """Mean actions at raw states, on the CPU; the serving layer adds its noise.

    Attributes:
        algorithm: Name in `rec_rl.algorithms.catalogue.OFFLINE_ALGORITHMS`.
        module: The network, for an export.
    """

    def __init__(self, algorithm: str, module: OfflineModule) -> None:
        self.algorithm = algorithm
        self.module = module

    @classmethod
    def of(cls, algorithm: OfflineAlgorithm) -> "OfflinePolicy":
        """The current policy of an algorithm in training."""
        return cls(algorithm.name, algorithm.policy_module())

    @property
    def state_dim(self) -> int:
        """S."""
        return int(self.module.obs_size)

    @torch.inference_mode()
    def __call__(self, states: NDArray[np.floating]) -> NDArray[np.float32]:
        """Mean actions, [n, S] to [n, A]."""
        chunks = (states[i : i + CHUNK] for i in range(0, len(states), CHUNK))
        return np.concatenate(
            [self.module.act(torch.from_numpy(to_single(chunk))).numpy() for chunk in chunks]
        )

    def save(self, folder: str | Path) -> None:
        """Writes a checkpoint; the folder appears whole or not at all."""
        state = {
            "algorithm": self.algorithm,
            "settings": dict(self.module.model_config),
            "weights": self.module.get_state(),
        }
        save_state(Path(folder), state, KIND)

    @classmethod
    def load(cls, folder: str | Path) -> "OfflinePolicy":
        """Reads what ``save`` wrote.

        Raises:
            CheckpointError: If the folder is missing, corrupt or of something else.
        """
        state = load_state(Path(folder), KIND)
        name = check_name("algorithm", state["algorithm"], OFFLINE_ALGORITHMS)
        return cls(name, _build_module(name, state["settings"], state["weights"]))


def _build_module(name: str, settings: Mapping[str, Any], weights: dict[str, Any]) -> OfflineModule:
    bound = np.asarray(weights["action_scale"], dtype=np.float32)
    module: OfflineModule = OFFLINE_ALGORITHMS[name]().algo_class.module_class(
        observation_space=gym.spaces.Box(-np.inf, np.inf, np.shape(weights["center"]), np.float32),
        action_space=gym.spaces.Box(-bound, bound, dtype=np.float32),
        model_config=dict(settings),
    )
    module.set_state(weights)
    return module
