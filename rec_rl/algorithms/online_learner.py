"""The Learner and the RLModule that PPO and SAC share."""

from abc import abstractmethod
from typing import Any

import gymnasium as gym
import torch
from ray.rllib.core.rl_module.torch.torch_rl_module import TorchRLModule

from rec_rl.algorithms.array_learner import ArrayLearner

Batch = dict[str, Any]
"""Arrays by name, as a Learner takes them."""


class OnlineLearner(ArrayLearner):
    """A Learner of what environment runners have sampled."""

    @abstractmethod
    def train_on(self, batch: Batch) -> dict[str, float]:
        """Runs the updates that one round of experience pays for; returns mean losses by name."""


class GaussianModule(TorchRLModule):
    """What the RLModules of PPO and SAC share: RLlib's forwards on top of `act`."""

    action_space: gym.spaces.Box

    @abstractmethod
    def act(self, obs: torch.Tensor, noise: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        """See `rec_rl.algorithms.rollouts.ActingModule`."""

    def _forward_inference(self, batch: Batch, **_: Any) -> Batch:
        with torch.no_grad():
            return {"actions": self.act(batch["obs"], None)[0]}

    def _forward_exploration(self, batch: Batch, **_: Any) -> Batch:
        shape = (len(batch["obs"]), *self.action_space.shape)
        with torch.no_grad():
            actions, logp = self.act(batch["obs"], torch.randn(shape, device=batch["obs"].device))
        return {"actions": actions, "action_logp": logp}

    def _forward_train(self, batch: Batch, **_: Any) -> Batch:
        """Nothing: every forward happens in the Learner's losses."""
        return {}
