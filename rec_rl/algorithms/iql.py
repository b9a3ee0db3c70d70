"""Implicit Q-learning (Kostrikov et al. 2021): the policy is never asked for an action outside the data."""

import torch
from torch import Tensor, nn

from rec_rl.algorithms.offline import OfflineAlgorithm
from rec_rl.algorithms.offline_critic import ValueConfig, ValueLearner, ValueModule
from rec_rl.algorithms.offline_learner import Batch
from rec_rl.algorithms.online import check_bound
from rec_rl.losses.policy import advantage_weighted_loss, gaussian_log_prob


class IQLConfig(ValueConfig):
    """Settings of IQL.

    Attributes:
        beta: Inverse temperature of the advantage's weights, >= 0; 0 imitates.
    """

    beta: float = 3.0

    def __init__(self, algo_class: type[OfflineAlgorithm] | None = None) -> None:
        super().__init__(algo_class or IQL)

    def validate(self) -> None:
        """Raises ConfigError on a setting out of its bound."""
        super().validate()
        check_bound("beta", self.beta, low=0)


class IQLModule(ValueModule):
    """Twin critics, V, and a Gaussian actor whose deviation does not depend on the state."""

    num_critics = 2

    def setup(self) -> None:
        """Builds the networks."""
        super().setup()
        self.log_std = nn.Parameter(torch.zeros(self.action_size))

    def actor_parameters(self) -> list[nn.Parameter]:
        """The actor's, its deviation included."""
        return [*super().actor_parameters(), self.log_std]


class IQLLearner(ValueLearner):
    """V, then Q, then the actor."""

    def update(self, batch: Batch) -> dict[str, Tensor]:
        """One step of each network."""
        policy = self.policy
        value_loss, critic_loss, advantage = self.step_value_and_critics(batch)
        logp = gaussian_log_prob(batch.action, policy.policy(batch.obs), policy.log_std)
        actor_loss = self.mean(advantage_weighted_loss(logp, advantage, beta=self.config.beta))
        self.descend(actor_loss, self.actor_optimizer)
        return {"value_loss": value_loss, "critic_loss": critic_loss, "actor_loss": actor_loss}


class IQL(OfflineAlgorithm):
    """Implicit Q-learning."""

    name = "iql"
    config_class = IQLConfig
    learner_class = IQLLearner
    module_class = IQLModule
