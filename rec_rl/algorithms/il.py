"""Imitation learning: the logged action as a function of the state. Uses no reward."""

from typing import Any

from torch import Tensor

from rec_rl.algorithms.networks import MLP
from rec_rl.algorithms.offline import OfflineAlgorithm, OfflineConfig
from rec_rl.algorithms.offline_learner import Batch, MinibatchLearner, NetworkModule


class ILConfig(OfflineConfig):
    """Settings of imitation learning: those that all have."""

    def __init__(self, algo_class: type[OfflineAlgorithm] | None = None) -> None:
        super().__init__(algo_class or IL)


class ILModule(NetworkModule):
    """An actor without bounds: the log's mean action may lie anywhere."""

    def setup(self) -> None:
        """Builds the actor."""
        super().setup()
        self.actor = MLP([self.obs_size, *self.hidden, self.action_size])

    def policy(self, obs: Tensor) -> Tensor:
        """The actor's output."""
        served: Tensor = self.actor(obs)
        return served


class ILLearner(MinibatchLearner):
    """Mean squared error to the logged action."""

    uses_reward = False

    def configure_optimizers_for_module(self, module_id: str, config: Any = None) -> None:
        """One Adam for the actor."""
        actor = list(self.policy.actor.parameters())
        self.actor_optimizer = self.add_optimizer("actor", actor, self.config.actor_lr)

    def update(self, batch: Batch) -> dict[str, Tensor]:
        """One step of the actor."""
        loss = self.mean((self.policy.policy(batch.obs) - batch.action).square().mean(dim=-1))
        self.descend(loss, self.actor_optimizer)
        return {"actor_loss": loss}

    def move_targets(self) -> None:
        """There are none."""


class IL(OfflineAlgorithm):
    """Imitation learning."""

    name = "il"
    config_class = ILConfig
    learner_class = ILLearner
    module_class = ILModule
