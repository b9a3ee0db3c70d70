"""What offline algorithms with critics share: settings, networks, targets."""

from typing import Any

import torch
from torch import Tensor, nn

from rec_rl.algorithms.networks import MLP, EnsembleMLP
from rec_rl.algorithms.offline import OfflineConfig
from rec_rl.algorithms.offline_learner import Batch, MinibatchLearner, NetworkModule, frozen_copy
from rec_rl.algorithms.online import check_bound
from rec_rl.errors import ConfigError
from rec_rl.losses.value import expectile_loss, td_target


class CriticConfig(OfflineConfig):
    """Settings of algorithms with critics; the defaults are PrefRec's Table 1.

    Attributes:
        critic_lr: Adam's rate for Q and V.
        gamma: Discount per request, in [0, 1].
        tau: Polyak rate of the targets, in (0, 1]: target <- tau * online + (1 - tau) * target.
        target_period: Gradient steps between moves of the targets, >= 1; with tau 1 a hard copy.
    """

    critic_lr: float = 5e-5
    gamma: float = 0.9
    tau: float = 0.001
    target_period: int = 1

    def validate(self) -> None:
        """Raises ConfigError on a setting out of its bound."""
        super().validate()
        check_bound("critic_lr", self.critic_lr, above=0)
        check_bound("gamma", self.gamma, low=0, high=1)
        check_bound("tau", self.tau, above=0, high=1)
        check_bound("target_period", self.target_period, low=1)


class ValueConfig(CriticConfig):
    """Settings of algorithms with V beside Q.

    Attributes:
        expectile: Of Q that V regresses, in (0, 1).
    """

    expectile: float = 0.7

    def validate(self) -> None:
        """Raises ConfigError on a setting out of its bound."""
        super().validate()
        if not 0 < self.expectile < 1:
            raise ConfigError(f"expectile must be in (0, 1), got {self.expectile}")


class ActorCriticModule(NetworkModule):
    """tanh actor and ``num_critics`` critics, each with its target."""

    num_critics = 1
    action_outputs = 1  # numbers that the actor gives per action dimension

    def setup(self) -> None:
        """Builds the networks."""
        super().setup()
        self.actor = MLP([self.obs_size, *self.hidden, self.action_outputs * self.action_size])
        self.critics = EnsembleMLP(self.num_critics, [self.obs_size + self.action_size, *self.hidden, 1])
        self.target_actor = frozen_copy(self.actor)
        self.target_critics = frozen_copy(self.critics)

    def policy(self, obs: Tensor) -> Tensor:
        """tanh of the actor."""
        return torch.tanh(self.actor(obs))

    def actor_parameters(self) -> list[nn.Parameter]:
        """What the actor's loss trains."""
        return list(self.actor.parameters())

    def q(self, critics: nn.Module, obs: Tensor, action: Tensor) -> Tensor:
        """Values of every critic, shape [critics, B]."""
        values: Tensor = critics(obs, action).squeeze(-1)
        return values

    def targets(self) -> list[tuple[nn.Module, nn.Module]]:
        """(online, target) of every network with a target."""
        return [(self.actor, self.target_actor), (self.critics, self.target_critics)]


class ValueModule(ActorCriticModule):
    """With a state value V beside Q, as in IQL and PrefRec; only Q has a target."""

    def setup(self) -> None:
        """Builds the networks."""
        super().setup()
        self.value = MLP([self.obs_size, *self.hidden, 1])
        del self.target_actor

    def v(self, obs: Tensor) -> Tensor:
        """V(s), shape [B]."""
        values: Tensor = self.value(obs).squeeze(-1)
        return values

    def targets(self) -> list[tuple[nn.Module, nn.Module]]:
        """(Q, target Q)."""
        return [(self.critics, self.target_critics)]


class CriticLearner(MinibatchLearner):
    """Has an optimizer for critics and actor, and targets to move."""

    def configure_optimizers_for_module(self, module_id: str, config: Any = None) -> None:
        """One Adam each for critics and actor."""
        policy, settings = self.policy, self.config
        critics, actor = list(policy.critics.parameters()), policy.actor_parameters()
        self.critic_optimizer = self.add_optimizer("critic", critics, settings.critic_lr)
        self.actor_optimizer = self.add_optimizer("actor", actor, settings.actor_lr)

    @torch.no_grad()
    def move_targets(self) -> None:
        """Every ``target_period`` steps, target <- tau * online + (1 - tau) * target."""
        if self.steps % self.config.target_period == 0:
            for online, target in self.policy.targets():
                torch._foreach_lerp_(list(target.parameters()), list(online.parameters()), self.config.tau)

    def step_critics(self, batch: Batch, target: Tensor) -> Tensor:
        """One step of every critic on its squared error; returns the loss summed over critics.

        Args:
            batch: States and logged actions.
            target: Of Q, shape [B].
        """
        q = self.policy.q(self.policy.critics, batch.obs, batch.action)
        loss = self.mean((q - target).square())
        self.descend(loss, self.critic_optimizer)
        return loss


class ValueLearner(CriticLearner):
    """Learns V from Q of the logged actions, and Q from V: no action of the policy is valued."""

    def configure_optimizers_for_module(self, module_id: str, config: Any = None) -> None:
        """One Adam each for critics, actor and V."""
        super().configure_optimizers_for_module(module_id, config)
        value = list(self.policy.value.parameters())
        self.value_optimizer = self.add_optimizer("value", value, self.config.critic_lr)

    def step_value_and_critics(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """One step of V (PrefRec Eq. 9), then of Q (Eq. 6).

        Returns:
            Both losses, and the advantage of the logged actions before the steps, shape [B].
        """
        policy, config = self.policy, self.config
        with torch.no_grad():
            q_logged = policy.q(policy.target_critics, batch.obs, batch.action).amin(dim=0)
        value = policy.v(batch.obs)
        value_loss = self.mean(expectile_loss(value, q_logged, config.expectile))
        self.descend(value_loss, self.value_optimizer)
        with torch.no_grad():
            target = td_target(batch.reward, policy.v(batch.next_obs), config.gamma)
        return value_loss, self.step_critics(batch, target), q_logged - value.detach()
