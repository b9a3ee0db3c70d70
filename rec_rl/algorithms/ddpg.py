"""Deep deterministic policy gradient (Lillicrap et al. 2016), on a log and without exploration."""

import torch
from torch import Tensor

from rec_rl.algorithms.offline import OfflineAlgorithm
from rec_rl.algorithms.offline_critic import ActorCriticModule, CriticConfig, CriticLearner
from rec_rl.algorithms.offline_learner import Batch
from rec_rl.losses.value import td_target


class DDPGConfig(CriticConfig):
    """Settings of DDPG: those of every algorithm with critics."""

    def __init__(self, algo_class: type[OfflineAlgorithm] | None = None) -> None:
        super().__init__(algo_class or DDPG)


class DDPGLearner(CriticLearner):
    """The critic, then the actor on the critic."""

    def update(self, batch: Batch) -> dict[str, Tensor]:
        """One step of critic and actor."""
        critic_loss = self.step_critics(batch, self.q_target(batch))
        actor_loss = self.actor_loss(batch)
        self.descend(actor_loss, self.actor_optimizer)
        return {"critic_loss": critic_loss, "actor_loss": actor_loss}

    @torch.no_grad()
    def q_target(self, batch: Batch) -> Tensor:
        """r + gamma * target Q at the target actor's next action, shape [B]."""
        policy = self.policy
        next_action = torch.tanh(policy.target_actor(batch.next_obs))
        q_next = policy.q(policy.target_critics, batch.next_obs, next_action)[0]
        return td_target(batch.reward, q_next, self.config.gamma)

    def actor_loss(self, batch: Batch) -> Tensor:
        """-Q of the first critic at the actor's action."""
        policy = self.policy
        return -self.mean(policy.q(policy.critics, batch.obs, policy.policy(batch.obs))[0])


class DDPG(OfflineAlgorithm):
    """Deep deterministic policy gradient."""

    name = "ddpg"
    config_class = DDPGConfig
    learner_class = DDPGLearner
    module_class = ActorCriticModule
