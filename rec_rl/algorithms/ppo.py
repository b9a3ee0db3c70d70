"""Proximal policy optimisation (Schulman et al. 2017), optionally with self-imitation (Oh et al. 2018)."""

from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np
import torch
from ray.rllib.algorithms.algorithm_config import NotProvided
from torch import Tensor, nn

from rec_rl.algorithms.networks import MLP, UnitScale
from rec_rl.algorithms.online import OnlineAlgorithm, OnlineConfig, check_bound
from rec_rl.algorithms.online_learner import Batch, GaussianModule, OnlineLearner
from rec_rl.algorithms.optimizers import FlatGradient
from rec_rl.algorithms.rollouts import Rollout
from rec_rl.losses.policy import (
    gaussian_gradients,
    gaussian_log_prob,
    gaussian_log_prob_and_terms,
    ppo_clip_loss,
    self_imitation_loss,
)
from rec_rl.losses.value import generalized_advantage, standardized_minibatches


class PPOConfig(OnlineConfig):
    """Settings of PPO; the defaults are those of Schulman et al. 2017, Table 3.

    Attributes:
        steps_per_iteration: Steps taken in every environment before an update.
        num_passes: Passes over that experience.
        batch_size: Rows per minibatch.
        clip: Half-width of the trust interval of the probability ratio.
        trace_decay: lambda of generalised advantage estimation, in [0, 1].
        value_weight: Weight of the squared error of V.
        entropy_weight: Weight of the entropy bonus.
        max_grad_norm: Bound on the gradient's norm.
        initial_log_std: First log standard deviation of every action dimension.
        self_imitation_weight: Weight of imitating the best of what was tried; 0 is PPO alone.
        self_imitation_batch: Replayed rows per minibatch, drawn evenly over the rewards that occurred.
        self_imitation_power: The score of a replayed row is (reward / reward_bound) to this power.
    """

    def __init__(self, algo_class: type[OnlineAlgorithm] | None = None) -> None:
        super().__init__(algo_class=algo_class or PPO)
        self.learner_class_of_algorithm = PPOLearner
        self.module_class_of_algorithm = PPOModule
        self.hidden_sizes = (64, 64)
        self.lr = 3e-4
        self.gamma = 0.99
        self.steps_per_iteration = 256
        self.num_passes = 10
        self.batch_size = 64
        self.clip = 0.2
        self.trace_decay = 0.95
        self.value_weight = 0.5
        self.entropy_weight = 0.0
        self.max_grad_norm = 0.5
        self.initial_log_std = 0.0
        self.self_imitation_weight = 0.0
        self.self_imitation_batch = 32
        self.self_imitation_power = 16.0
        self.replay_capacity = 100_000

    def training(
        self,
        *,
        steps_per_iteration: Any = NotProvided,
        num_passes: Any = NotProvided,
        batch_size: Any = NotProvided,
        clip: Any = NotProvided,
        trace_decay: Any = NotProvided,
        value_weight: Any = NotProvided,
        entropy_weight: Any = NotProvided,
        max_grad_norm: Any = NotProvided,
        initial_log_std: Any = NotProvided,
        self_imitation_weight: Any = NotProvided,
        self_imitation_batch: Any = NotProvided,
        self_imitation_power: Any = NotProvided,
        **settings: Any,
    ) -> Self:
        """Sets training options; see the class."""
        super().training(**settings)
        self.set_given(
            steps_per_iteration=steps_per_iteration,
            num_passes=num_passes,
            batch_size=batch_size,
            clip=clip,
            trace_decay=trace_decay,
            value_weight=value_weight,
            entropy_weight=entropy_weight,
            max_grad_norm=max_grad_norm,
            initial_log_std=initial_log_std,
            self_imitation_weight=self_imitation_weight,
            self_imitation_batch=self_imitation_batch,
            self_imitation_power=self_imitation_power,
        )
        return self

    def validate(self) -> None:
        """Raises ConfigError on a setting out of its bound."""
        super().validate()
        for name in ("steps_per_iteration", "num_passes", "batch_size", "self_imitation_batch"):
            check_bound(name, getattr(self, name), low=1)
        for name in ("clip", "max_grad_norm", "self_imitation_power"):
            check_bound(name, getattr(self, name), above=0)
        for name in ("value_weight", "entropy_weight", "self_imitation_weight"):
            check_bound(name, getattr(self, name), low=0)
        check_bound("trace_decay", self.trace_decay, low=0, high=1)

    @property
    def _model_config_auto_includes(self) -> dict[str, Any]:
        return {**super()._model_config_auto_includes, "initial_log_std": self.initial_log_std}


class PPOLearner(OnlineLearner):
    """Several passes over one rollout in shuffled minibatches."""

    def configure_optimizers_for_module(self, module_id: str, config: Any = None) -> None:
        """One Adam over policy and value function."""
        policy = self.policy
        actor = [policy.log_std, *policy.actor.parameters()]
        params = [*actor, *policy.critic.parameters()]
        self.optimizer = self.add_optimizer("ppo", params)
        self._gradient, self._of_imitation = FlatGradient(params), FlatGradient(actor)

    def train_on(self, batch: Batch) -> dict[str, float]:
        """``batch`` holds a rollout's columns [T, N, ...] and, with self-imitation, replayed rows
        under ``replay`` with shape [minibatches, self_imitation_batch, ...]."""
        replay = {name: self.to_device(column) for name, column in batch.pop("replay", {}).items()}
        rows = self._rows({name: self.to_device(column) for name, column in batch.items()})
        size, num_rows = self.config.batch_size, len(rows["advantage"])
        losses: list[tuple[Tensor, Tensor, Tensor]] = []
        for _ in range(self.config.num_passes):
            order = torch.randperm(num_rows, generator=self.rng).to(self.device)
            shuffled = {name: column[order] for name, column in rows.items()}
            shuffled["advantage"] = standardized_minibatches(shuffled["advantage"], size)
            for parts in zip(*(torch.split(column, size) for column in shuffled.values()), strict=True):
                minibatch = dict(zip(shuffled, parts, strict=True))
                replayed = {name: column[len(losses) % len(column)] for name, column in replay.items()}
                losses.append(self._update_once(minibatch, replayed))
        of_policy, error, of_imitation = (torch.cat(parts) for parts in zip(*losses, strict=True))
        return {
            "policy_loss": float(of_policy.mean()),
            "value_loss": float(error.square().mean()),
            "imitation_loss": float(of_imitation.mean()) if replay else 0.0,
            "entropy": float(self.policy.entropy().detach()),
        }

    def _rows(self, rollout: dict[str, Tensor]) -> dict[str, Tensor]:
        """What a minibatch needs of the valid rows, flat; observations are scaled."""
        with torch.no_grad():  # a row's next state is the state of the row after
            values = self.policy.value(torch.cat([rollout["obs"], rollout["next_obs"][-1:]]))
        value, next_value = values[:-1], values[1:]
        ended = rollout["terminated"] | rollout["truncated"] | ~rollout["valid"]
        advantage = generalized_advantage(
            rollout["rewards"],
            value,
            next_value,
            rollout["terminated"],
            ended,
            gamma=self.config.gamma,
            trace_decay=self.config.trace_decay,
        )
        columns = {
            "obs": self.policy.scale(rollout["obs"]),
            "actions": rollout["actions"],
            "logp": rollout["logp"],
            "advantage": advantage,
            "value_target": advantage + value,
        }
        return {name: column[rollout["valid"]] for name, column in columns.items()}

    @torch.no_grad()
    def _update_once(
        self, rows: dict[str, Tensor], replayed: dict[str, Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """One step; gradients are written out, since a graph costs as much as the products of 64 rows.

        Returns:
            Of this learner's rows the policy losses and the errors of V, of its replayed rows their losses.
        """
        config, policy, gradient = self.config, self.policy, self._gradient
        share_of_row = 1 / len(rows["advantage"])
        rows = {name: self.share(column) for name, column in rows.items()}
        obs = rows["obs"]

        def clipped(logp: Tensor) -> tuple[Tensor, Tensor]:
            losses, slope = ppo_clip_loss(logp, rows["logp"], rows["advantage"], config.clip)
            return losses, slope * share_of_row

        policy_losses = self._actor_gradients(obs, rows["actions"], clipped, gradient.parts)
        if config.entropy_weight > 0:
            gradient.parts[0].sub_(config.entropy_weight * share_of_row * len(obs))
        value, inputs = policy.critic.forward_with_inputs(obs)
        error = value.squeeze(-1) - rows["value_target"]
        of_value = error * (2 * config.value_weight * share_of_row)
        policy.critic.write_gradients(
            inputs, of_value.unsqueeze(-1), gradient.parts[len(self._of_imitation.parts) :]
        )

        imitation_losses = error[:0]
        if replayed:
            baseline = replayed["score"].mean()
            replayed = {name: self.share(column) for name, column in replayed.items()}
            weight = config.self_imitation_weight / config.self_imitation_batch

            def imitating(logp: Tensor) -> tuple[Tensor, Tensor]:
                losses, slope = self_imitation_loss(logp, replayed["score"], baseline)
                return losses, slope * weight

            past, also = policy.scale(replayed["obs"]), self._of_imitation
            imitation_losses = self._actor_gradients(past, replayed["actions"], imitating, also.parts)
            gradient.vector[: len(also.vector)] += also.vector
        self.step_along(gradient, self.optimizer, max_norm=config.max_grad_norm)
        return policy_losses, error, imitation_losses

    def _actor_gradients(
        self,
        scaled_obs: Tensor,
        actions: Tensor,
        loss: Callable[[Tensor], tuple[Tensor, Tensor]],
        into: Sequence[Tensor],
    ) -> Tensor:
        """What ``loss`` says of the actions' log densities; writes the gradients of log_std and the actor."""
        mean, inputs = self.policy.actor.forward_with_inputs(scaled_obs)
        logp, terms = gaussian_log_prob_and_terms(actions, mean, self.policy.log_std)
        losses, slope = loss(logp)
        of_mean, of_log_std = gaussian_gradients(slope, terms)
        into[0].copy_(of_log_std)
        self.policy.actor.write_gradients(inputs, of_mean, into[1:])
        return losses


class PPOModule(GaussianModule):
    """A Gaussian policy whose spread does not depend on the state, and a value function."""

    def setup(self) -> None:
        """Builds the networks from the spaces and ``hidden_sizes``."""
        hidden = self.model_config["hidden_sizes"]
        obs_size, action_size = self.observation_space.shape[0], self.action_space.shape[0]
        self.scale = UnitScale(self.observation_space.high)
        self.actor = MLP([obs_size, *hidden, action_size], nn.Tanh)
        self.critic = MLP([obs_size, *hidden, 1], nn.Tanh)
        self.log_std = nn.Parameter(torch.full((action_size,), float(self.model_config["initial_log_std"])))
        last = self.actor[-1]
        assert isinstance(last, nn.Linear)
        nn.init.zeros_(last.bias)
        nn.init.uniform_(last.weight, -0.01, 0.01)  # start near the middle of the action space

    def mean(self, obs: Tensor) -> Tensor:
        """Mean action, shape [..., A]."""
        mean: Tensor = self.actor(self.scale(obs))
        return mean

    def value(self, obs: Tensor) -> Tensor:
        """V(s), shape [...]."""
        value: Tensor = self.critic(self.scale(obs)).squeeze(-1)
        return value

    def entropy(self) -> Tensor:
        """Entropy of the policy in nats, the same in every state."""
        entropy: Tensor = (self.log_std + 0.5 * np.log(2 * np.pi * np.e)).sum()
        return entropy

    def act(self, obs: Tensor, noise: Tensor | None) -> tuple[Tensor, Tensor]:
        """A Gaussian around the mean action; the environment clips it to its space."""
        mean = self.mean(obs)
        action = mean if noise is None else mean + self.log_std.exp() * noise
        return action, gaussian_log_prob(action, mean, self.log_std)


class PPO(OnlineAlgorithm):
    """Alternates one rollout with passes over it."""

    name = "ppo"

    @classmethod
    def get_default_config(cls) -> PPOConfig:
        """The defaults."""
        return PPOConfig()

    @property
    def steps_per_iteration(self) -> int:
        """One rollout."""
        return int(self.config.steps_per_iteration * self.num_envs)

    def training_step(self) -> None:
        """One rollout and the passes over it."""
        rollout = self.sample(self.config.steps_per_iteration)
        names = ("obs", "actions", "logp", "next_obs", "terminated", "truncated", "valid")
        batch: Batch = {name: getattr(rollout, name) for name in names}
        batch["rewards"] = self.learning_rewards(rollout)
        if self.config.self_imitation_weight > 0:
            batch["replay"] = self._replayed(rollout)
        losses = self.update(batch)
        self.sync_weights()
        self.log(losses, [rollout])

    def _replayed(self, rollout: Rollout) -> Batch:
        """Remembers the rollout and draws the rows to imitate, a batch per minibatch of a pass."""
        config, valid = self.config, rollout.valid
        paid = rollout.rewards_env[valid]
        self.replay.add(
            {
                "obs": rollout.obs[valid],
                "actions": rollout.actions[valid],
                "score": (np.maximum(paid, 0) / config.reward_bound) ** config.self_imitation_power,
                "reward_class": np.rint(paid).astype(np.int16),
            }
        )
        num_batches = config.num_passes * -(-len(paid) // config.batch_size)
        rows = self.replay.sample(num_batches, config.self_imitation_batch, balanced_fraction=1.0)
        del rows["reward_class"]
        return rows
