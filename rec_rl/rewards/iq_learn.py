"""IQ-Learn (Garg et al. 2021), MTRec's "-IRL"."""

from dataclasses import dataclass

from torch import Tensor, nn

from rec_rl.errors import ConfigError
from rec_rl.losses.inverse import iq_learn_loss
from rec_rl.rewards.soft_q import Batch, BodyBuilder, SoftQConfig, SoftQNetwork


@dataclass(frozen=True, kw_only=True)
class IQLearnConfig(SoftQConfig):
    """Settings of IQ-Learn.

    Attributes:
        iq_alpha: Inverse strength of the reward's regulariser, > 0. The paper uses .5.
    """

    iq_alpha: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.iq_alpha > 0:
            raise ConfigError(f"iq_alpha must be > 0, got {self.iq_alpha}")

    @property
    def assumptions(self) -> tuple[str, ...]:
        """What the rewards rest on, in words."""
        return ("the level of the reward is arbitrary: only r(click) - r(skip) means something",)

    def q_network(self, body: BodyBuilder) -> SoftQNetwork:
        """The network that this method trains."""
        return IQLearnNetwork(self, body)


class IQLearnNetwork(SoftQNetwork):
    """One Q head; no target network, gradients flow through V(s') too."""

    def __init__(self, config: IQLearnConfig, body: BodyBuilder) -> None:
        super().__init__()
        self.config = config
        self.body, width = body()
        self.output = nn.Linear(width, 2)

    def forward(self, states: Tensor) -> Tensor:
        q: Tensor = self.output(self.body(states))
        return q

    def loss(self, batch: Batch) -> Tensor:
        return iq_learn_loss(
            self(batch.states),
            batch.actions,
            self(batch.next_states),
            batch.terminated,
            discount=self.config.discount,
            iq_alpha=self.config.iq_alpha,
        ).mean()
