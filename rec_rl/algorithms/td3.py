"""TD3 (Fujimoto et al. 2018): twin critics, smoothed target actions, a delayed actor."""

import torch
from torch import Tensor

from rec_rl.algorithms.ddpg import DDPGLearner
from rec_rl.algorithms.offline import OfflineAlgorithm
from rec_rl.algorithms.offline_critic import ActorCriticModule, CriticConfig
from rec_rl.algorithms.offline_learner import Batch
from rec_rl.algorithms.online import check_bound
from rec_rl.losses.value import td_target


class TD3Config(CriticConfig):
    """Settings of TD3.

    Attributes:
        smoothing_std, smoothing_clip: Of the noise on target actions, in units of the action's scale, >= 0.
        policy_delay: Gradient steps of the critics per step of the actor and the targets, >= 1.
    """

    smoothing_std: float = 0.2
    smoothing_clip: float = 0.5
    policy_delay: int = 2

    def __init__(self, algo_class: type[OfflineAlgorithm] | None = None) -> None:
        super().__init__(algo_class or TD3)

    def validate(self) -> None:
        """Raises ConfigError on a setting out of its bound."""
        super().validate()
        check_bound("smoothing_std", self.smoothing_std, low=0)
        check_bound("smoothing_clip", self.smoothing_clip, low=0)
        check_bound("policy_delay", self.policy_delay, low=1)


class TD3Module(ActorCriticModule):
    """An actor and twin critics."""

    num_critics = 2


class TD3Learner(DDPGLearner):
    """The critics at every step, actor and targets at every ``policy_delay``-th."""

    def update(self, batch: Batch) -> dict[str, Tensor]:
        """One step of the critics and, when it is its turn, of the actor."""
        losses = {"critic_loss": self.step_critics(batch, self.q_target(batch))}
        if self.steps % self.config.policy_delay == 0:
            losses["actor_loss"] = self.actor_loss(batch)
            self.descend(losses["actor_loss"], self.actor_optimizer)
        return losses

    @torch.no_grad()
    def q_target(self, batch: Batch) -> Tensor:
        """r + gamma * the smaller target Q at the smoothed next action. Source: Eq. (14)."""
        policy, config = self.policy, self.config
        noise = (config.smoothing_std * self.normal(policy.action_size)).clamp(
            -config.smoothing_clip, config.smoothing_clip
        )
        next_action = (torch.tanh(policy.target_actor(batch.next_obs)) + noise).clamp(-1, 1)
        q_next = policy.q(policy.target_critics, batch.next_obs, next_action).amin(dim=0)
        return td_target(batch.reward, q_next, config.gamma)

    def move_targets(self) -> None:
        """Moves them where the actor has moved."""
        if self.steps % self.config.policy_delay == 0:
            super().move_targets()


class TD3(OfflineAlgorithm):
    """Twin delayed DDPG."""

    name = "td3"
    config_class = TD3Config
    learner_class = TD3Learner
    module_class = TD3Module
