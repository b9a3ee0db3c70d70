"""From a frozen Q to rewards of both actions: a mean and quantiles, fitted on the logged rows.

y = Q(s,a) - gamma (1-d) V(s') is known for the action taken alone. A network that regresses it over rows
answers for both actions. Putting the logged s' in for both would leave the difference at the click logit, and
alignment could then only rescale the click model. The quantiles are those of y given (s, a), that is of the
randomness of the next state: behaviour depends on the mean of a reward only, so that its spread cannot be
learned from clicks.

Where users said whether they were glad, a few such rows calibrate the head: its features and the difference
of its rewards, learned from every row, stay, and a linear correction is fitted to what was said. A Gaussian
prior around "no correction" decides how much few answers may change.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from rec_rl.losses.inverse import (
    at_action,
    feedback_loss,
    implied_reward,
    non_crossing_quantiles,
    pinball_loss,
    quantile_levels,
    soft_value,
)
from rec_rl.rewards.soft_q import CHUNK, Batch, BodyBuilder, MLPBody, SoftQConfig, SoftQNetwork

PRIOR_SLOPE_SD = 3.0  # of slope and level: units of feedback are unknown, so that these stay nearly free


class RewardHead(nn.Module):
    """r*(s, a) and its quantiles for both actions; before ``calibrate``, those of behaviour alone."""

    def __init__(self, body: BodyBuilder, num_quantiles: int) -> None:
        super().__init__()
        self.num_quantiles = num_quantiles
        self.body, width = body()
        self.output = nn.Linear(width, 2 + 2 * num_quantiles)
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("sd", torch.ones(()))
        self.register_buffer("slope", torch.ones(()))
        self.register_buffer("level", torch.zeros(()))
        in_state = self.body.num_features if isinstance(self.body, MLPBody) else 0
        self.register_buffer("correction", torch.zeros(width + in_state))
        self.mean: Tensor
        self.sd: Tensor
        self.slope: Tensor
        self.level: Tensor
        self.correction: Tensor

    def fit_scale(self, targets: Tensor) -> None:
        """Takes the mean and deviation that rewards are z-scored with, from targets [n]."""
        self.mean.copy_(targets.mean())
        self.sd.copy_(targets.std().clamp(min=1e-6))

    def standardised(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """Mean [B, 2] and quantiles [B, 2, N] of (y - mean) / sd, as behaviour gives them."""
        return self._outputs(self.body(states))

    def behaviour_reward(self, states: Tensor) -> Tensor:
        """r*(s, skip) and r*(s, click) as behaviour alone gives them, [B, d] to [B, 2]."""
        return self.mean + self.sd * self.standardised(states)[0]

    def reward(self, states: Tensor) -> Tensor:
        """r*(s, skip) and r*(s, click), [B, d] to [B, 2]."""
        features = self.body(states)
        rewards = self.mean + self.sd * self._outputs(features)[0]
        return rewards + self._shift(rewards, self._explanatory(states, features))

    def quantiles(self, states: Tensor) -> Tensor:
        """Increasing quantiles of the reward at the levels (2i - 1) / 2N, [B, d] to [B, 2, N].

        Calibration moves those of a click by as much as their mean.
        """
        features = self.body(states)
        mean, quantiles = self._outputs(features)
        shift = self._shift(self.mean + self.sd * mean, self._explanatory(states, features))
        return self.mean + self.sd * quantiles + shift[..., None]

    @torch.no_grad()
    def calibrate(self, states: Tensor, feedback: Tensor, *, prior_sd: float) -> None:
        """Fits slope, level and correction of D = slope (r(click) - r(skip)) + level + correction . x.

        x holds the features and, of an MLP, the standardised states: features tell what moves users to click,
        and need not tell what they regret, which few rows can find only where it is linear.
        The maximum a posteriori of `feedback_loss`, a convex problem. Entries of x count in units of their
        deviation on ``states``.

        Args:
            states: Of the rows with feedback, shape [m, d].
            feedback: In [0, 1], shape [m].
            prior_sd: Of each entry of the correction. 0 would allow none.
        """
        features = self.body(states)
        rewards = self.mean + self.sd * self._outputs(features)[0]
        difference = rewards[:, 1] - rewards[:, 0]
        x = self._explanatory(states, features)
        spread, center = x.std(dim=0, correction=0), x.mean(dim=0)
        spread = torch.where(spread > 1e-6, spread, 1.0)
        inputs = torch.cat(
            [difference[:, None], torch.ones_like(difference)[:, None], (x - center) / spread], dim=1
        )
        prior_mean = torch.zeros(inputs.shape[1])
        prior_mean[0] = 1.0
        sds = torch.full_like(prior_mean, prior_sd)
        sds[:2] = PRIOR_SLOPE_SD
        weights = _most_probable(inputs, feedback, prior_mean, sds)
        self.slope.copy_(weights[0])
        self.correction.copy_(weights[2:] / spread)
        self.level.copy_(weights[1] - center @ self.correction)

    def loss(self, batch: Batch, targets: Tensor) -> Tensor:
        """Squared error of the mean plus the pinball loss of the quantiles, at the action taken; scalar."""
        mean, quantiles = self.standardised(batch.states)
        z = (targets - self.mean) / self.sd
        levels = quantile_levels(self.num_quantiles, like=z)
        error = z[:, None] - at_action(quantiles, batch.actions)
        return functional.mse_loss(at_action(mean, batch.actions), z) + pinball_loss(error, levels).mean()

    def _outputs(self, features: Tensor) -> tuple[Tensor, Tensor]:
        outputs = self.output(features)
        quantiles = outputs[:, 2:].view(-1, 2, self.num_quantiles)
        return outputs[:, :2], non_crossing_quantiles(quantiles)

    def _explanatory(self, states: Tensor, features: Tensor) -> Tensor:
        """What a correction is linear in, shape [B, k]."""
        if isinstance(self.body, MLPBody):
            return torch.cat([features, self.body.standardised(states)], dim=1)
        return features

    def _shift(self, rewards: Tensor, x: Tensor) -> Tensor:
        """What calibration adds to the rewards of skipping (nothing) and clicking, shape [B, 2]."""
        difference = rewards[:, 1] - rewards[:, 0]
        click = (self.slope - 1) * difference + self.level + x @ self.correction
        return torch.stack([torch.zeros_like(click), click], dim=1)


@torch.enable_grad()
def _most_probable(inputs: Tensor, feedback: Tensor, prior_mean: Tensor, prior_sd: Tensor) -> Tensor:
    """Weights [k] of logistic regression on inputs [m, k] with a Gaussian prior."""
    weights = prior_mean.clone().requires_grad_(True)
    optimizer = torch.optim.LBFGS([weights], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> float:
        optimizer.zero_grad()
        penalty = ((weights - prior_mean) / prior_sd).square().sum() / 2
        loss = feedback_loss(inputs @ weights, feedback).mean() + penalty / len(feedback)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.item()

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    return weights.detach()


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
