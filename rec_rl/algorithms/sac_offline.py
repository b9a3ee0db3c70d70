"""Soft actor-critic (Haarnoja et al. 2018) on a log: the baseline of PrefRec, without sampling."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rec_rl.algorithms.offline import OfflineAlgorithm
from rec_rl.algorithms.offline_critic import ActorCriticModule, CriticConfig, CriticLearner
from rec_rl.algorithms.offline_learner import Batch
from rec_rl.algorithms.online import check_bound
from rec_rl.algorithms.sac import LOG_STD_BOUNDS
from rec_rl.losses.policy import sac_actor_loss, squashed_sample, temperature_loss
from rec_rl.losses.value import soft_q_target


class OfflineSACConfig(CriticConfig):
    """Settings of SAC.

    Attributes:
        initial_alpha: First temperature, > 0.
        target_entropy: In nats; None is -dim(A).
    """

    initial_alpha: float = 1.0
    target_entropy: float | None = None

    def __init__(self, algo_class: type[OfflineAlgorithm] | None = None) -> None:
        super().__init__(algo_class or OfflineSAC)

    def validate(self) -> None:
        """Raises ConfigError on a setting out of its bound."""
        super().validate()
        check_bound("initial_alpha", self.initial_alpha, above=0)


class OfflineSACModule(ActorCriticModule):
    """A squashed Gaussian actor, twin critics and the temperature."""

    num_critics = 2
    action_outputs = 2

    def setup(self) -> None:
        """Builds the networks."""
        super().setup()
        del self.target_actor
        self.log_alpha = nn.Parameter(torch.tensor(float(np.log(self.model_config["initial_alpha"]))))

    def policy(self, obs: Tensor) -> Tensor:
        """tanh of the Gaussian's mean."""
        return torch.tanh(self.actor(obs).chunk(2, dim=-1)[0])

    def sample(self, obs: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Actions [B, A] and their log densities [B]."""
        mean, log_std = self.actor(obs).chunk(2, dim=-1)
        sample = squashed_sample(mean, log_std.clamp(*LOG_STD_BOUNDS), noise)
        return sample.action, sample.logp

    def targets(self) -> list[tuple[nn.Module, nn.Module]]:
        """(Q, target Q)."""
        return [(self.critics, self.target_critics)]


class OfflineSACLearner(CriticLearner):
    """Critics, actor and temperature."""

    def configure_optimizers_for_module(self, module_id: str, config: Any = None) -> None:
        """One Adam each."""
        super().configure_optimizers_for_module(module_id, config)
        self.alpha_optimizer = self.add_optimizer("alpha", [self.policy.log_alpha], self.config.actor_lr)

    def update(self, batch: Batch) -> dict[str, Tensor]:
        """One step of each."""
        policy, alpha = self.policy, self.policy.log_alpha.detach().exp()
        critic_loss = self.step_critics(batch, self._target(batch, alpha))

        action, logp = policy.sample(batch.obs, self.normal(policy.action_size))
        q_new = policy.q(policy.critics, batch.obs, action).amin(dim=0)
        actor_loss = self.mean(sac_actor_loss(logp, q_new, alpha))
        self.descend(actor_loss, self.actor_optimizer)

        wanted = self.config.target_entropy
        entropy = float(-policy.action_size) if wanted is None else wanted
        alpha_loss = self.mean(temperature_loss(policy.log_alpha, logp, entropy))
        self.descend(alpha_loss, self.alpha_optimizer)
        return {"critic_loss": critic_loss, "actor_loss": actor_loss, "entropy": -self.mean(logp)}

    @torch.no_grad()
    def _target(self, batch: Batch, alpha: Tensor) -> Tensor:
        policy = self.policy
        action, logp = policy.sample(batch.next_obs, self.normal(policy.action_size))
        q_next = policy.q(policy.target_critics, batch.next_obs, action).amin(dim=0)
        never = torch.zeros_like(q_next)
        return soft_q_target(batch.reward, never, q_next, logp, alpha=alpha, gamma=self.config.gamma)


class OfflineSAC(OfflineAlgorithm):
    """Soft actor-critic on a log."""

    name = "sac"
    config_class = OfflineSACConfig
    learner_class = OfflineSACLearner
    module_class = OfflineSACModule
