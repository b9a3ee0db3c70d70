"""TD3+BC (Fujimoto and Gu 2021): TD3 whose actor also imitates the log."""

from torch import Tensor

from rec_rl.algorithms.offline import OfflineAlgorithm
from rec_rl.algorithms.offline_learner import Batch
from rec_rl.algorithms.online import check_bound
from rec_rl.algorithms.td3 import TD3Config, TD3Learner, TD3Module
from rec_rl.losses.policy import q_and_imitation_loss


class TD3BCConfig(TD3Config):
    """Settings of TD3+BC.

    Attributes:
        bc_alpha: Weight of Q against imitation, >= 0; 0 imitates.
    """

    bc_alpha: float = 2.5

    def __init__(self, algo_class: type[OfflineAlgorithm] | None = None) -> None:
        super().__init__(algo_class or TD3BC)

    def validate(self) -> None:
        """Raises ConfigError on a setting out of its bound."""
        super().validate()
        check_bound("bc_alpha", self.bc_alpha, low=0)


class TD3BCLearner(TD3Learner):
    """TD3 with another loss of the actor."""

    def actor_loss(self, batch: Batch) -> Tensor:
        """-(bc_alpha / mean |Q|) Q + squared distance from the logged action."""
        policy = self.policy
        action = policy.policy(batch.obs)
        q = policy.q(policy.critics, batch.obs, action)[0]
        mean_abs_q = self.over_learners(self.mean(q.detach().abs()))
        return self.mean(
            q_and_imitation_loss(
                q, action, batch.action, bc_alpha=self.config.bc_alpha, mean_abs_q=mean_abs_q
            )
        )


class TD3BC(OfflineAlgorithm):
    """TD3+BC."""

    name = "td3_bc"
    config_class = TD3BCConfig
    learner_class = TD3BCLearner
    module_class = TD3Module
