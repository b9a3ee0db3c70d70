"""PrefRec held within the support of its log: the default for use.

An advantage regressed on the noise with which the log was served needs no critic of actions, and a policy
that keeps its mean squared distance from the logging mean stays where the log can judge it. The closed form
of `noise_advantage` gives the advantage's weights w(s) as a linear function; here a network adds what is not
linear, trained on the same loss over the state columns that the closed form kept. The signal is a thousandth
of the noise, so users are held out to choose how much of the network to serve: none, where it learned noise.

Differs from the paper: no Q, and the actor is not free. The policy serves mean(s) + radius * scale * w / size
with size the root mean square length of w over the log, so that its D2 is radius^2.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rec_rl.algorithms.networks import MLP
from rec_rl.algorithms.noise_advantage import (
    NoiseAdvantageConfig,
    NoiseAdvantagePolicy,
    fit_noise_advantage,
)
from rec_rl.algorithms.offline import OfflineAlgorithm, OfflineConfig
from rec_rl.algorithms.offline_learner import OfflineLearner, OfflineModule, frozen_copy
from rec_rl.algorithms.online import check_bound
from rec_rl.algorithms.returns import advantage_targets
from rec_rl.data.sessions import SessionLog
from rec_rl.errors import ConfigError
from rec_rl.losses.value import noise_regression_loss

MOST_HELD_ROWS = 1 << 17


class PrefRecSupportedConfig(OfflineConfig):
    """Settings of the supported form.

    Attributes:
        gamma: Discount per request, in [0, 1).
        trace_decay: lambda of the returns, in [0, 1].
        tau: Rate of the moving average of the network that serves, in (0, 1].
        held_out: Share of the users that choose the blend, in (0, 1).
        radius: The root mean square step in units of the noise, > 0. None takes the closed form's, which
            keeps the log's effective sample size; that hardly depends on the direction of the steps.
    """

    batch_size: int = 4096
    actor_lr: float = 3e-4
    gamma: float = 0.99
    trace_decay: float = 0.8
    tau: float = 0.005
    held_out: float = 0.2
    radius: float | None = None

    def __init__(self, algo_class: type[OfflineAlgorithm] | None = None) -> None:
        super().__init__(algo_class or PrefRecSupported)

    def validate(self) -> None:
        """Raises ConfigError on a setting out of its bound."""
        super().validate()
        check_bound("tau", self.tau, above=0, high=1)
        if not 0 < self.held_out < 1:
            raise ConfigError(f"held_out must be in (0, 1), got {self.held_out}")
        self.closed_form()

    def closed_form(self) -> NoiseAdvantageConfig:
        """Settings of the start."""
        return NoiseAdvantageConfig(gamma=self.gamma, trace_decay=self.trace_decay, radius=self.radius)


class PrefRecSupportedModule(OfflineModule):
    """The logging mean, the linear start of w(s), a network on top and its moving average."""

    mean_weights: Tensor
    start_weights: Tensor
    noise_scale: Tensor
    radius: Tensor
    size: Tensor
    kept: Tensor
    blend: Tensor

    def setup(self) -> None:
        """Builds the networks; before `take_start` the policy is zero."""
        super().setup()
        linear = torch.zeros(self.obs_size + 1, self.action_size)
        self.register_buffer("mean_weights", linear)
        self.register_buffer("start_weights", linear.clone())
        self.register_buffer("noise_scale", torch.ones(self.action_size))
        self.register_buffer("radius", torch.zeros(()))
        self.register_buffer("size", torch.ones(()))
        self.register_buffer("kept", torch.ones(self.obs_size))
        self.register_buffer("blend", torch.zeros(()))
        self.network = MLP([self.obs_size, *self.hidden, self.action_size])
        for parameter in self.network[-1].parameters():
            nn.init.zeros_(parameter)
        self.average = frozen_copy(self.network)

    @torch.no_grad()
    def take_start(self, start: NoiseAdvantagePolicy) -> None:
        """Takes over the closed form."""
        behaviour = start.behaviour
        self.center.copy_(torch.from_numpy(behaviour.center))
        self.spread.copy_(torch.from_numpy(behaviour.spread))
        self.mean_weights.copy_(torch.from_numpy(behaviour.weights))
        self.start_weights.copy_(torch.from_numpy(start.weights))
        self.noise_scale.copy_(torch.from_numpy(behaviour.scale))
        self.radius.fill_(start.radius)
        self.size.fill_(start.size)
        self.kept.copy_((self.start_weights[:-1] != 0).any(dim=1))

    def weights(self, obs: Tensor) -> Tensor:
        """w(s) that serves, shape [B, A]."""
        return self.start(obs) + self.blend * self.change(self.average, obs)

    def start(self, obs: Tensor) -> Tensor:
        """w(s) of the closed form, shape [B, A]."""
        return _linear(obs, self.start_weights)

    def change(self, network: nn.Module, obs: Tensor) -> Tensor:
        """What a network adds to it, shape [B, A]."""
        added: Tensor = network(obs * self.kept)
        return added

    def act(self, states: Tensor) -> Tensor:
        """The mean action to serve at raw states, [B, S] to [B, A]."""
        obs = self.encode(states)
        step = self.radius / self.size * self.noise_scale * self.weights(obs)
        return _linear(obs, self.mean_weights) + step


class PrefRecSupportedLearner(OfflineLearner):
    """The closed form at the start, which stays, and steps of the network on what it leaves."""

    uses_reward = False

    def build(self) -> None:
        """Builds data, networks and optimizers, and fits the start."""
        super().build()
        log, reward = self.data.log, self.data.reward
        if reward is None:
            raise ConfigError("prefrec_supported needs a reward, got none")
        start = fit_noise_advantage(log, reward, self.config.closed_form(), seed=self.config.seed or 0)
        self.policy.take_start(start)
        behaviour = log.behaviour or start.behaviour.on(log.states)
        self.noise_of_rows = torch.from_numpy(behaviour.noise(log.actions)).to(self.device)
        config = self.config
        advantages = advantage_targets(log, reward, gamma=config.gamma, trace_decay=config.trace_decay)
        self.advantages = torch.from_numpy(advantages).to(self.device)
        self._hold_out(log)

    def configure_optimizers_for_module(self, module_id: str, config: Any = None) -> None:
        """One Adam for the network."""
        network = list(self.policy.network.parameters())
        self.network_optimizer = self.add_optimizer("network", network, self.config.actor_lr)

    def step(self) -> dict[str, Tensor]:
        """One step of the network on the next minibatch."""
        policy = self.policy
        rows = self.next_rows()
        obs = policy.encode(self.transitions.at(rows).states)
        weights = policy.start(obs) + policy.change(policy.network, obs)
        loss = self.mean(noise_regression_loss(weights, self.noise_of_rows[rows], self.advantages[rows]))
        self.descend(loss, self.network_optimizer)
        return {"noise_regression_loss": loss}

    def train_steps(self, num_steps: int) -> dict[str, float]:
        """Takes gradient steps and chooses blend and size anew; returns mean losses and the blend."""
        losses = super().train_steps(num_steps)
        policy, rows = self.policy, self.held_rows
        with torch.no_grad():
            obs, noise = policy.encode(self.transitions.at(rows).states), self.noise_of_rows[rows]
            left = self.advantages[rows] - (noise * policy.start(obs)).sum(dim=-1)
            policy.blend.copy_(best_blend(left, (noise * policy.change(policy.average, obs)).sum(dim=-1)))
            policy.size.copy_(policy.weights(obs).square().sum(dim=-1).mean().sqrt().clamp(min=1e-30))
        return losses | {"blend": float(policy.blend)}

    @torch.no_grad()
    def move_targets(self) -> None:
        """average <- tau * network + (1 - tau) * average."""
        policy = self.policy
        torch._foreach_lerp_(
            list(policy.average.parameters()), list(policy.network.parameters()), self.config.tau
        )

    def _hold_out(self, log: SessionLog) -> None:
        """Takes the rows of some users out of the minibatches."""
        rng = np.random.default_rng(self.config.seed or 0)
        held_users = rng.random(len(log.user_ids)) < self.config.held_out
        rows = self.transitions.rows
        held = torch.from_numpy(held_users[log.user_index])[rows]
        if not 0 < int(held.sum()) < len(rows):
            raise ConfigError(f"held_out must leave users on both sides, got {self.config.held_out}")
        self.held_rows = rows[held][:MOST_HELD_ROWS].to(self.device)
        self.transitions.rows = rows[~held]


class PrefRecSupported(OfflineAlgorithm):
    """PrefRec within the log's support."""

    name = "prefrec_supported"
    config_class = PrefRecSupportedConfig
    learner_class = PrefRecSupportedLearner
    module_class = PrefRecSupportedModule


def best_blend(left: Tensor, predicted: Tensor) -> Tensor:
    """The share of ``predicted`` that is nearest to ``left`` in squares, within [0, 1]; both of shape [n]."""
    return ((left * predicted).sum() / predicted.square().sum().clamp(min=1e-30)).clamp(0, 1)


def _linear(obs: Tensor, weights: Tensor) -> Tensor:
    """[obs, 1] @ weights."""
    return obs @ weights[:-1] + weights[-1]
