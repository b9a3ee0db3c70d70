"""QR-IQL, MTRec's distributional inverse Q-learning (Zhao et al. 2025, Sec. 4.2.2, Algorithm 1)."""

from dataclasses import dataclass

from torch import Tensor, nn

from rec_rl.losses.inverse import qr_iql_loss
from rec_rl.rewards.iq_learn import IQLearnConfig
from rec_rl.rewards.soft_q import Batch, BodyBuilder, SoftQNetwork


@dataclass(frozen=True, kw_only=True)
class QRIQLConfig(IQLearnConfig):
    """Settings of QR-IQL.

    Attributes:
        discount_in_penalty: Whether gamma stands in Eq. (6)'s squared term; the paper prints it without.
    """

    discount_in_penalty: bool = True

    @property
    def assumptions(self) -> tuple[str, ...]:
        """What the rewards rest on, in words."""
        return (
            *super().assumptions,
            "the heads are a path of regularisation strengths, not quantiles of the reward",
        )

    def q_network(self, body: BodyBuilder) -> SoftQNetwork:
        """The network that this method trains."""
        return QRIQLNetwork(self, body)


class QRIQLNetwork(SoftQNetwork):
    """N heads lambda_i(s, a); Q is their mean."""

    def __init__(self, config: QRIQLConfig, body: BodyBuilder) -> None:
        super().__init__()
        self.config = config
        self.body, width = body()
        self.output = nn.Linear(width, 2 * config.num_quantiles)

    def heads(self, states: Tensor) -> Tensor:
        """lambda_i(s, a), [B, d] to [B, 2, N]."""
        outputs: Tensor = self.output(self.body(states))
        return outputs.view(len(states), 2, self.config.num_quantiles)

    def forward(self, states: Tensor) -> Tensor:
        return self.heads(states).mean(dim=2)

    def loss(self, batch: Batch) -> Tensor:
        per_head = qr_iql_loss(
            self.heads(batch.states),
            batch.actions,
            self.heads(batch.next_states),
            batch.terminated,
            discount=self.config.discount,
            iq_alpha=self.config.iq_alpha,
            discount_in_penalty=self.config.discount_in_penalty,
        )
        return per_head.sum(dim=1).mean()
