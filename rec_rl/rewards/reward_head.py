"""From a frozen Q to rewards of both actions: a mean and quantiles, fitted on the logged rows.

y = Q(s,a) - gamma (1-d) V(s') is known for the action taken alone. A network that regresses it over rows
answers for both actions. Putting the logged s' in for both would leave the difference at the click logit, and
alignment could then only rescale the click model. The quantiles are those of y given (s, a), that is of the
randomness of the next state: behaviour depends on the mean of a reward only, so that its spread cannot be
learned from clicks.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from rec_rl.losses.inverse import (
    at_action,
    implied_reward,
    non_crossing_quantiles,
    pinball_loss,
    quantile_levels,
    soft_value,
)
from rec_rl.rewards.soft_q import CHUNK, Batch, BodyBuilder, SoftQConfig, SoftQNetwork


class RewardHead(nn.Module):
    """r*(s, a) and its quantiles for both actions."""

    def __init__(self, body: BodyBuilder, num_quantiles: int) -> None:
        super().__init__()
        self.num_quantiles = num_quantiles
        self.body, width = body()
        self.output = nn.Linear(width, 2 + 2 * num_quantiles)
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("sd", torch.ones(()))
        self.mean: Tensor
        self.sd: Tensor

    def fit_scale(self, targets: Tensor) -> None:
        """Takes the mean and deviation that rewards are z-scored with, from targets [n]."""
        self.mean.copy_(targets.mean())
        self.sd.copy_(targets.std().clamp(min=1e-6))

    def standardised(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """Mean [B, 2] and quantiles [B, 2, N] of (y - mean) / sd."""
        outputs = self.output(self.body(states))
        quantiles = outputs[:, 2:].view(len(states), 2, self.num_quantiles)
        return outputs[:, :2], non_crossing_quantiles(quantiles)

    def reward(self, states: Tensor) -> Tensor:
        """r*(s, skip) and r*(s, click), [B, d] to [B, 2]."""
        outputs: Tensor = self.output(self.body(states))
        return self.mean + self.sd * outputs[:, :2]

    def quantiles(self, states: Tensor) -> Tensor:
        """Increasing quantiles of the reward at the levels (2i - 1) / 2N, [B, d] to [B, 2, N]."""
        return self.mean + self.sd * self.standardised(states)[1]

    def loss(self, batch: Batch, targets: Tensor) -> Tensor:
        """Squared error of the mean plus the pinball loss of the quantiles, at the action taken; scalar."""
        mean, quantiles = self.standardised(batch.states)
        z = (targets - self.mean) / self.sd
        levels = quantile_levels(self.num_quantiles, like=z)
        error = z[:, None] - at_action(quantiles, batch.actions)
        return functional.mse_loss(at_action(mean, batch.actions), z) + pinball_loss(error, levels).mean()


@torch.no_grad()
def reward_targets(network: SoftQNetwork, batch: Batch, config: SoftQConfig) -> Tensor:
    """y = Q(s,a) - gamma (1-d) V(s') of each row, shape [n]."""
    parts = []
    for start in range(0, len(batch.actions), CHUNK):
        chunk = batch.rows(torch.arange(start, min(start + CHUNK, len(batch.actions))))
        q_taken = at_action(network(chunk.states), chunk.actions)
        v_next = soft_value(network(chunk.next_states))
        parts.append(implied_reward(q_taken, v_next, chunk.terminated, config.discount))
    return torch.cat(parts)


def coverage_error(
    quantiles: NDArray[np.float32], actions: NDArray[np.int64], targets: NDArray[np.float32]
) -> float:
    """Mean over levels of |share of targets at or below the quantile - level|, at the action taken.

    Args:
        quantiles: Shape [n, 2, N].
        actions: Shape [n].
        targets: Rewards y of the rows, shape [n].
    """
    taken = quantiles[np.arange(len(actions)), actions]
    levels = (2 * np.arange(taken.shape[1]) + 1) / (2 * taken.shape[1])
    return float(np.abs((targets[:, None] <= taken).mean(axis=0) - levels).mean())
