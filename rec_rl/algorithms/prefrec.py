"""PrefRec as printed (Xue et al. 2023, Algorithm 1): a reward from preferences, V, Q and an actor on Q.

Nothing holds the actor near the data, so where the reward or Q is wrong outside it, the policy goes there;
see `rec_rl.algorithms.prefrec_supported` for a form that stays.
"""

from typing import Any

import torch
from torch import Tensor

from rec_rl.algorithms.offline import OfflineAlgorithm
from rec_rl.algorithms.offline_critic import ValueConfig, ValueLearner, ValueModule
from rec_rl.algorithms.offline_learner import Batch
from rec_rl.algorithms.online import check_bound
from rec_rl.data.preference_batches import PreferenceBatch, PreferenceSampler
from rec_rl.errors import ConfigError
from rec_rl.losses.preference import bradley_terry_loss
from rec_rl.rewards.bradley_terry import BradleyTerryNetwork


class PrefRecConfig(ValueConfig):
    """Settings of PrefRec; the defaults are Table 1's.

    Attributes:
        finetune_period: Gradient steps of the policy per step of the reward; 1 is the paper's, 0 freezes the
            reward. A step of the reward costs several of the policy.
        preference_batch_size: Pairs per step of the reward.
        reward_lr: Adam's rate for the reward, which the paper does not give.
    """

    finetune_period: int = 1
    preference_batch_size: int = 256
    reward_lr: float = 5e-5

    def __init__(self, algo_class: type[OfflineAlgorithm] | None = None) -> None:
        super().__init__(algo_class or PrefRec)

    def validate(self) -> None:
        """Raises ConfigError on a setting out of its bound."""
        super().validate()
        check_bound("finetune_period", self.finetune_period, low=0)
        check_bound("preference_batch_size", self.preference_batch_size, low=max(1, self.num_learners))
        check_bound("reward_lr", self.reward_lr, above=0)


class PrefRecLearner(ValueLearner):
    """V, Q, the actor, and now and then the reward, in the order of Algorithm 1."""

    reward: BradleyTerryNetwork

    def configure_optimizers_for_module(self, module_id: str, config: Any = None) -> None:
        """One Adam each for critic, actor, V and, if it is fine-tuned, the reward."""
        super().configure_optimizers_for_module(module_id, config)
        if self.config.finetune_period:
            self._prepare_finetuning()

    def update(self, batch: Batch) -> dict[str, Tensor]:
        """One step of each network."""
        policy, period = self.policy, self.config.finetune_period
        value_loss, critic_loss, _ = self.step_value_and_critics(batch)
        actor_loss = -self.mean(policy.q(policy.critics, batch.obs, policy.policy(batch.obs))[0])
        self.descend(actor_loss, self.actor_optimizer)
        if period and self.steps % period == 0:
            self._finetune()
        return {"value_loss": value_loss, "critic_loss": critic_loss, "actor_loss": actor_loss}

    def get_state(self, components: Any = None, **kwargs: Any) -> dict[str, Any]:
        """The base's state, the reward and the order of pairs."""
        state = super().get_state(components, **kwargs)
        if components is None and self.config.finetune_period:
            state["reward"] = dict(self.reward.state_dict())
            state["pairs"] = self.pairs.get_state()
        return state

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes on where `get_state` was called."""
        super().set_state(state)
        if "reward" in state:
            weights = {name: torch.as_tensor(value) for name, value in state["reward"].items()}
            self.reward.load_state_dict(weights)
            self.pairs.set_state(state["pairs"])

    def _prepare_finetuning(self) -> None:
        if self.data.pairs is None or self.reward is None:
            raise ConfigError(
                "finetune_period must be 0 without a reward network and preference pairs, got "
                f"{self.config.finetune_period}"
            )
        self.pairs = PreferenceSampler(
            self.data.log,
            self.data.pairs,
            batch_size=min(self.config.preference_batch_size, len(self.data.pairs)),
            seed=self.config.seed or 0,
        )
        reward = list(self.reward.requires_grad_(True).parameters())
        self.reward_optimizer = self.add_optimizer("reward", reward, self.config.reward_lr)

    def _finetune(self) -> None:
        """One step of the reward; its frozen standardisation stays. Source: Eq. (4)."""
        pairs = self.pairs.next_batch()
        mine = PreferenceBatch(*(self.share(part).to(self.device) for part in pairs))
        rewards_a, rewards_b = self.reward.segment_rewards(mine)
        loss = bradley_terry_loss(rewards_a, rewards_b, mine.label).sum() / len(pairs.label)
        self.descend(loss, self.reward_optimizer)


class PrefRec(OfflineAlgorithm):
    """PrefRec as printed."""

    name = "prefrec"
    config_class = PrefRecConfig
    learner_class = PrefRecLearner
    module_class = ValueModule
