"""The anchored method: behaviour gives the click logit, a known reward of skipping gives the level.

Explicit feedback on a few rows, where a log has it, then calibrates the reward of a click against that of
skipping: behaviour rests on what users perceive before they click, feedback on what they think afterwards.

Ours, after the anchor action of Geng et al. 2020 (deep PQR) and the inversion of Hotz and Miller 1993.
"""

from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rec_rl.errors import ConfigError
from rec_rl.losses.inverse import anchored_loss
from rec_rl.rewards.soft_q import Batch, BodyBuilder, SoftQConfig, SoftQNetwork


@dataclass(frozen=True, kw_only=True)
class AnchoredConfig(SoftQConfig):
    """Settings of the anchored method.

    Attributes:
        skip_reward: r0, the reward of skipping. Assumed, not learned.
        tau: Polyak rate of the target network, in (0, 1].
        feedback_prior_sd: Standard deviation, before any feedback, of what one entry of the reward head's
            features (or of an MLP's standardised state) may add to the reward of a click, > 0. Without
            feedback nothing is added.
    """

    skip_reward: float = 0.0
    tau: float = 0.02
    feedback_prior_sd: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.tau <= 1:
            raise ConfigError(f"tau must be in (0, 1], got {self.tau}")
        if not self.feedback_prior_sd > 0:
            raise ConfigError(f"feedback_prior_sd must be > 0, got {self.feedback_prior_sd}")

    @property
    def assumptions(self) -> tuple[str, ...]:
        """What the rewards rest on, in words."""
        return (
            f"the reward of skipping is known and equals {self.skip_reward:g} in every state",
            f"users look ahead with gamma = {self.discount:g}",
        )

    def q_network(self, body: BodyBuilder) -> SoftQNetwork:
        """The network that this method trains."""
        return AnchoredNetwork(self, body)


class AnchoredNetwork(SoftQNetwork):
    """Heads b and g: Q(skip) = b, Q(click) = b + g; the skip target comes from a Polyak average of itself."""

    def __init__(self, config: AnchoredConfig, body: BodyBuilder) -> None:
        super().__init__()
        self.config = config
        self.body, width = body()
        self.output = nn.Linear(width, 2)
        self.target = deepcopy(nn.Sequential(self.body, self.output)).requires_grad_(False)

    def forward(self, states: Tensor) -> Tensor:
        return _q_of_heads(self.output(self.body(states)))

    def loss(self, batch: Batch) -> Tensor:
        skip_value, click_logit = self.output(self.body(batch.states)).unbind(dim=1)
        with torch.no_grad():
            target_v_next = torch.logsumexp(_q_of_heads(self.target(batch.next_states)), dim=1)
        return anchored_loss(
            skip_value,
            click_logit,
            batch.actions,
            target_v_next,
            batch.terminated,
            discount=self.config.discount,
            skip_reward=self.config.skip_reward,
        ).reduce(batch.actions)

    def after_step(self) -> None:
        online = [*self.body.parameters(), *self.output.parameters()]
        torch._foreach_lerp_(list(self.target.parameters()), [p.detach() for p in online], self.config.tau)


def _q_of_heads(heads: Tensor) -> Tensor:
    return torch.stack([heads[:, 0], heads.sum(dim=1)], dim=1)
