"""Soft actor-critic (Haarnoja et al. 2018) with twin critics and an automatic temperature."""

from typing import Any, Self

import numpy as np
import torch
from ray.rllib.algorithms.algorithm_config import NotProvided
from torch import Tensor, nn

from rec_rl.algorithms.networks import MLP, EnsembleMLP, UnitScale
from rec_rl.algorithms.online import OnlineAlgorithm, OnlineConfig, check_bound
from rec_rl.algorithms.online_learner import Batch, GaussianModule, OnlineLearner
from rec_rl.algorithms.rollouts import Rollout
from rec_rl.losses.policy import sac_actor_loss, squashed_log_prob, temperature_loss
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
        self.critic_optimizer = self.add_optimizer("critic", list(policy.critics.parameters()))
        self.actor_optimizer = self.add_optimizer("actor", list(policy.actor.parameters()))
        self.alpha_optimizer = self.add_optimizer("alpha", [policy.log_alpha])

    def train_on(self, batch: Batch) -> dict[str, float]:
        """``batch`` holds columns of shape [updates, batch_size, ...]; one update each."""
        columns = {name: self.to_device(column) for name, column in batch.items()}
        num_updates = len(columns["rewards"])
        totals = torch.zeros(4, device=self.device)
        for i in range(num_updates):
            totals += self._update_once({name: self.share(column[i]) for name, column in columns.items()})
        means = (totals / num_updates).tolist()
        return dict(zip(("critic_loss", "actor_loss", "alpha", "entropy"), means, strict=True))

    def _update_once(self, batch: dict[str, Tensor]) -> Tensor:
        policy, config = self.policy, self.config
        alpha = policy.log_alpha.detach().exp()
        target = self._targets(batch, alpha)
        q = policy.q(policy.critics, batch["obs"], batch["actions"])
        critic_loss = 0.5 * (q - target).square().sum() / config.batch_size
        self.descend(critic_loss, self.critic_optimizer)

        actions, logp = policy.act(batch["obs"], self._noise(batch["actions"]))
        q_new = policy.q(policy.critics, batch["obs"], actions).min(0).values
        actor_loss = sac_actor_loss(logp, q_new, alpha).sum() / config.batch_size
        self.descend(actor_loss, self.actor_optimizer)

        alpha_loss = (
            temperature_loss(policy.log_alpha, logp, self._target_entropy()).sum() / config.batch_size
        )
        self.descend(alpha_loss, self.alpha_optimizer)

        with torch.no_grad():
            torch._foreach_lerp_(
                list(policy.target_critics.parameters()), list(policy.critics.parameters()), config.tau
            )
            return torch.stack([critic_loss, actor_loss, alpha, -logp.sum() / config.batch_size])

    def _targets(self, batch: dict[str, Tensor], alpha: Tensor) -> Tensor:
        if self.config.gamma == 0:  # the future is worth nothing: its networks need not run
            return batch["rewards"]
        with torch.no_grad():
            policy = self.policy
            actions, logp = policy.act(batch["next_obs"], self._noise(batch["actions"]))
            q_next = policy.q(policy.target_critics, batch["next_obs"], actions).min(0).values
            return soft_q_target(
                batch["rewards"], batch["terminated"], q_next, logp, alpha=alpha, gamma=self.config.gamma
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
        log_std = log_std.clamp(*LOG_STD_BOUNDS)
        pre_tanh = mean if noise is None else mean + log_std.exp() * noise
        return torch.tanh(pre_tanh), squashed_log_prob(pre_tanh, mean, log_std)

    def q(self, critics: EnsembleMLP, obs: Tensor, actions: Tensor) -> Tensor:
        """Values of every critic, shape [critics, B]."""
        values: Tensor = critics(self.scale(obs), actions).squeeze(-1)
        return values


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
