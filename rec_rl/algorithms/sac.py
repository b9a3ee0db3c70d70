"""Soft actor-critic (Haarnoja et al. 2018) with twin critics and an automatic temperature."""

from typing import Any, Self

import numpy as np
import torch
from ray.rllib.algorithms.algorithm_config import NotProvided
from torch import Tensor, nn

from rec_rl.algorithms.networks import MLP, EnsembleMLP, UnitScale
from rec_rl.algorithms.online import OnlineAlgorithm, OnlineConfig, check_bound
from rec_rl.algorithms.online_learner import Batch, GaussianModule, OnlineLearner
from rec_rl.algorithms.optimizers import FlatGradient
from rec_rl.algorithms.rollouts import Rollout
from rec_rl.losses.policy import (
    sac_actor_loss,
    squashed_gradients,
    squashed_sample,
    temperature_loss,
)
from rec_rl.losses.value import soft_q_target

NUM_CRITICS = 2
LOG_STD_BOUNDS = (-20.0, 2.0)


class SACConfig(OnlineConfig):
    """Settings of SAC; the defaults are those of Haarnoja et al. 2018, Table 1.

    Attributes:
        batch_size: Transitions per update.
        updates_per_round: Updates after each round of sampling.
        steps_per_round: Steps taken in every environment between updates.
        rounds_per_iteration: Rounds in one ``train()``.
        random_steps: Environment steps with uniform actions before the policy acts.
        tau: Polyak rate of the target critics, in (0, 1].
        target_entropy: In nats; None is -dim(A).
        initial_alpha: First temperature, > 0.
        balanced_fraction: Part of every batch that is drawn evenly over the rewards that occurred, rounded to
            whole numbers (clicks); in [0, 1].
    """

    def __init__(self, algo_class: type[OnlineAlgorithm] | None = None) -> None:
        super().__init__(algo_class=algo_class or SAC)
        self.learner_class_of_algorithm = SACLearner
        self.module_class_of_algorithm = SACModule
        self.lr = 3e-4
        self.gamma = 0.99
        self.batch_size = 256
        self.updates_per_round = 1
        self.steps_per_round = 1
        self.rounds_per_iteration = 64
        self.random_steps = 1_000
        self.tau = 0.005
        self.target_entropy: float | None = None
        self.initial_alpha = 1.0
        self.balanced_fraction = 0.0

    def training(
        self,
        *,
        batch_size: Any = NotProvided,
        updates_per_round: Any = NotProvided,
        steps_per_round: Any = NotProvided,
        rounds_per_iteration: Any = NotProvided,
        random_steps: Any = NotProvided,
        tau: Any = NotProvided,
        target_entropy: Any = NotProvided,
        initial_alpha: Any = NotProvided,
        balanced_fraction: Any = NotProvided,
        **settings: Any,
    ) -> Self:
        """Sets training options; see the class."""
        super().training(**settings)
        self.set_given(
            batch_size=batch_size,
            updates_per_round=updates_per_round,
            steps_per_round=steps_per_round,
            rounds_per_iteration=rounds_per_iteration,
            random_steps=random_steps,
            tau=tau,
            target_entropy=target_entropy,
            initial_alpha=initial_alpha,
            balanced_fraction=balanced_fraction,
        )
        return self

    def validate(self) -> None:
        """Raises ConfigError on a setting out of its bound."""
        super().validate()
        for name in ("batch_size", "updates_per_round", "steps_per_round", "rounds_per_iteration"):
            check_bound(name, getattr(self, name), low=1)
        check_bound("random_steps", self.random_steps, low=0)
        check_bound("replay_capacity", self.replay_capacity, low=self.batch_size)
        check_bound("tau", self.tau, above=0, high=1)
        check_bound("initial_alpha", self.initial_alpha, above=0)
        check_bound("balanced_fraction", self.balanced_fraction, low=0, high=1)

    @property
    def _model_config_auto_includes(self) -> dict[str, Any]:
        return {**super()._model_config_auto_includes, "initial_alpha": self.initial_alpha}


class SACLearner(OnlineLearner):
    """One critic, actor and temperature step per minibatch, then the target critics move."""

    def configure_optimizers_for_module(self, module_id: str, config: Any = None) -> None:
        """One Adam each for critics, actor and temperature."""
        policy = self.policy
        of_critics, of_actor = list(policy.critics.parameters()), list(policy.actor.parameters())
        self.critic_optimizer = self.add_optimizer("critic", of_critics)
        self.actor_optimizer = self.add_optimizer("actor", of_actor)
        self.alpha_optimizer = self.add_optimizer("alpha", [policy.log_alpha])
        self._of_critics, self._of_actor = FlatGradient(of_critics), FlatGradient(of_actor)
        self._of_alpha = FlatGradient([policy.log_alpha])

    def train_on(self, batch: Batch) -> dict[str, float]:
        """``batch`` holds columns of shape [updates, batch_size, ...]; one update each."""
        columns = {name: self.to_device(column) for name, column in batch.items()}
        losses = [
            self._update_once({name: self.share(column[i]) for name, column in columns.items()})
            for i in range(len(columns["rewards"]))
        ]
        of_critics, of_actor, logp = (torch.cat(parts, dim=-1) for parts in zip(*losses, strict=True))
        return {
            "critic_loss": float(of_critics.sum(0).mean()),
            "actor_loss": float(of_actor.mean()),
            "alpha": float(self.policy.log_alpha.detach().exp()),
            "entropy": -float(logp.mean()),
        }

    @torch.no_grad()
    def _update_once(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """One step of each; gradients are written out, since a graph costs as much as a network.

        Returns:
            Of this learner's rows the critics' losses [critics, b], the actor's, and the log density of the
            actor's action.
        """
        policy, critics, share_of_row = self.policy, self.policy.critics, 1 / self.config.batch_size
        alpha, obs = policy.log_alpha.exp(), policy.scale(batch["obs"])

        q, inputs = critics.forward_with_inputs(torch.cat([obs, batch["actions"]], 1))
        error = q - self._targets(batch, alpha)
        critics.write_gradients(inputs, error * share_of_row, self._of_critics.parts)
        self.step_along(self._of_critics, self.critic_optimizer)

        out, actor_inputs = policy.actor.forward_with_inputs(obs)
        mean, log_std = out.chunk(2, -1)
        bounded = log_std.clamp(*LOG_STD_BOUNDS)
        sample = squashed_sample(mean, bounded, self._noise(batch["actions"]))
        q, inputs = critics.forward_with_inputs(torch.cat([obs, sample.action], 1))
        smaller, which = q.min(0)
        of_action = critics.input_gradient(inputs, which, slice(obs.shape[1], None)) * -share_of_row
        of_mean, of_log_std = squashed_gradients(sample, of_action, alpha * share_of_row)
        of_log_std *= log_std == bounded
        policy.actor.write_gradients(actor_inputs, torch.cat([of_mean, of_log_std], 1), self._of_actor.parts)
        self.step_along(self._of_actor, self.actor_optimizer)

        wanted = temperature_loss(policy.log_alpha, sample.logp, self._target_entropy())
        torch.sum(wanted, 0, out=self._of_alpha.parts[0]).mul_(share_of_row)  # it is its own derivative
        self.step_along(self._of_alpha, self.alpha_optimizer)

        moving, learned = policy.target_critics.parameters(), critics.parameters()
        torch._foreach_lerp_(list(moving), list(learned), self.config.tau)
        return 0.5 * error.square(), sac_actor_loss(sample.logp, smaller, alpha), sample.logp

    def _targets(self, batch: dict[str, Tensor], alpha: Tensor) -> Tensor:
        if self.config.gamma == 0:  # the future is worth nothing: its networks need not run
            return batch["rewards"]
        policy = self.policy
        actions, logp = policy.act(batch["next_obs"], self._noise(batch["actions"]))
        following = torch.cat([policy.scale(batch["next_obs"]), actions], 1)
        q_next, _ = policy.target_critics.forward_with_inputs(following)
        smaller = q_next.amin(0)
        return soft_q_target(
            batch["rewards"], batch["terminated"], smaller, logp, alpha=alpha, gamma=self.config.gamma
        )

    def _noise(self, like: Tensor) -> Tensor:
        """Standard normal noise for the whole minibatch, of which this learner takes its share."""
        noise = torch.randn(self.config.batch_size, like.shape[1], generator=self.rng)
        return self.share(noise).to(self.device)

    def _target_entropy(self) -> float:
        given = self.config.target_entropy
        return float(-self.policy.action_space.shape[0] if given is None else given)


class SACModule(GaussianModule):
    """Actor, twin critics with their targets, and the temperature."""

    def setup(self) -> None:
        """Builds the networks from the spaces and ``hidden_sizes``."""
        hidden = self.model_config["hidden_sizes"]
        obs_size, action_size = self.observation_space.shape[0], self.action_space.shape[0]
        self.scale = UnitScale(self.observation_space.high)
        self.actor = MLP([obs_size, *hidden, 2 * action_size])
        self.log_alpha = nn.Parameter(torch.tensor(float(np.log(self.model_config["initial_alpha"]))))
        sizes = [obs_size + action_size, *hidden, 1]
        self.critics = EnsembleMLP(NUM_CRITICS, sizes)
        self.target_critics = EnsembleMLP(NUM_CRITICS, sizes).requires_grad_(False)
        self.target_critics.load_state_dict(self.critics.state_dict())

    def act(self, obs: Tensor, noise: Tensor | None) -> tuple[Tensor, Tensor]:
        """tanh of a Gaussian; without noise tanh of its mean."""
        mean, log_std = self.actor(self.scale(obs)).chunk(2, -1)
        noise = torch.zeros_like(mean) if noise is None else noise
        sample = squashed_sample(mean, log_std.clamp(*LOG_STD_BOUNDS), noise)
        return sample.action, sample.logp


class SAC(OnlineAlgorithm):
    """Alternates short rounds of sampling with updates from a ring buffer."""

    name = "sac"

    @classmethod
    def get_default_config(cls) -> SACConfig:
        """The defaults."""
        return SACConfig()

    @property
    def steps_per_iteration(self) -> int:
        """Every round's steps of every environment."""
        return int(self.config.rounds_per_iteration * self.config.steps_per_round * self.num_envs)

    def training_step(self) -> None:
        """``rounds_per_iteration`` rounds of sampling and updating."""
        config = self.config
        losses: dict[str, float] = {}
        rollouts = []
        for _ in range(config.rounds_per_iteration):
            warming_up = self.env_steps < config.random_steps
            rollouts.append(self.sample(config.steps_per_round, random=warming_up))
            self.replay.add(self._transitions(rollouts[-1]))
            if warming_up or self.replay.size < config.batch_size:
                continue
            batch = self.replay.sample(
                config.updates_per_round, config.batch_size, balanced_fraction=config.balanced_fraction
            )
            del batch["reward_class"]
            losses = self.update(batch)
            self.sync_weights()
        self.log(losses, rollouts)

    def _transitions(self, rollout: Rollout) -> dict[str, Any]:
        valid = rollout.valid
        return {
            "obs": rollout.obs[valid],
            "actions": rollout.actions[valid],
            "rewards": self.learning_rewards(rollout)[valid],
            "next_obs": rollout.next_obs[valid],
            "terminated": rollout.terminated[valid],
            "reward_class": np.rint(rollout.rewards_env[valid]).astype(np.int16),
        }
