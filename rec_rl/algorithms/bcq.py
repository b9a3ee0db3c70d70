"""Batch-constrained Q-learning (Fujimoto et al. 2019): the best of a few actions that the log might hold."""

from typing import Any

import torch
from torch import Tensor

from rec_rl.algorithms.networks import MLP
from rec_rl.algorithms.offline import OfflineAlgorithm
from rec_rl.algorithms.offline_critic import ActorCriticModule, CriticConfig, CriticLearner
from rec_rl.algorithms.offline_learner import Batch, frozen_copy
from rec_rl.algorithms.online import check_bound
from rec_rl.losses.policy import variational_loss
from rec_rl.losses.value import soft_clipped_value, td_target

LATENT_CLIP = 0.5  # of latents drawn for a decision, as in the authors' code
LOG_STD_BOUNDS = (-4.0, 15.0)
STATES_IN_CACHE = 256
"""Whose candidates go through all networks before the next do, on a CPU."""


class BCQConfig(CriticConfig):
    """Settings of BCQ.

    Attributes:
        num_candidates: Actions that compete for a decision, >= 1.
        perturbation: Largest change of a generated action, in units of the action's scale, >= 0.
        min_weight: Of the smaller critic in a target, in [0, 1].
    """

    num_candidates: int = 10
    perturbation: float = 0.05
    min_weight: float = 0.75

    def __init__(self, algo_class: type[OfflineAlgorithm] | None = None) -> None:
        super().__init__(algo_class or BCQ)

    def validate(self) -> None:
        """Raises ConfigError on a setting out of its bound."""
        super().validate()
        check_bound("num_candidates", self.num_candidates, low=1)
        check_bound("perturbation", self.perturbation, low=0)
        check_bound("min_weight", self.min_weight, low=0, high=1)


class BCQModule(ActorCriticModule):
    """A variational autoencoder of logged actions, a perturbation of them (the actor), and twin critics.

    Differs from the paper: a served action competes with ``num_candidates`` latents that were drawn once, so
    that the policy is a function of the state and has a density under the serving noise.
    """

    num_critics = 2
    latents: Tensor

    def setup(self) -> None:
        """Builds the networks."""
        super().setup()
        latent = 2 * self.action_size
        both = self.obs_size + self.action_size
        self.actor = MLP([both, *self.hidden, self.action_size])
        self.target_actor = frozen_copy(self.actor)
        self.encoder = MLP([both, *self.hidden, 2 * latent])
        self.decoder = MLP([self.obs_size + latent, *self.hidden, self.action_size])
        draws = torch.randn(self.model_config["num_candidates"], latent)
        self.register_buffer("latents", draws.clamp(-LATENT_CLIP, LATENT_CLIP))

    def reconstruct(self, obs: Tensor, action: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The action through the latent: reconstruction [B, A], posterior mean and log deviation [B, Z]."""
        mean, log_std = self.encoder(torch.cat([obs, action], dim=-1)).chunk(2, dim=-1)
        log_std = log_std.clamp(*LOG_STD_BOUNDS)
        return self.decode(obs, mean + log_std.exp() * noise), mean, log_std

    def decode(self, obs: Tensor, latent: Tensor) -> Tensor:
        """An action that the log might hold, shape [..., A]."""
        return torch.tanh(self.decoder(torch.cat([obs, latent], dim=-1)))

    def perturbed(self, action: Tensor, outputs: Tensor) -> Tensor:
        """The action, moved by at most ``perturbation`` as the actor's outputs say, both of one shape."""
        moved: Tensor = (action + self.model_config["perturbation"] * torch.tanh(outputs)).clamp(-1, 1)
        return moved

    def candidates(self, actor: MLP, obs: Tensor, latents: Tensor) -> Tensor:
        """Actions [B, N, A] for latents [B, N, Z] in each of the states [B, S]."""
        generated = torch.tanh(self.decoder.of_each(obs, latents))
        return self.perturbed(generated, actor.of_each(obs, generated))

    def policy(self, obs: Tensor) -> Tensor:
        """The candidate with the largest first Q."""
        actions = self.candidates(self.actor, obs, self.latents.expand(obs.shape[0], -1, -1))
        best = self.critics.of_each(obs, actions)[0, ..., 0].argmax(dim=1)
        chosen: Tensor = actions[torch.arange(obs.shape[0], device=obs.device), best]
        return chosen


class BCQLearner(CriticLearner):
    """The autoencoder, the critics, then the perturbation."""

    def configure_optimizers_for_module(self, module_id: str, config: Any = None) -> None:
        """One Adam each."""
        super().configure_optimizers_for_module(module_id, config)
        generator = [*self.policy.encoder.parameters(), *self.policy.decoder.parameters()]
        self.generator_optimizer = self.add_optimizer("generator", generator, self.config.critic_lr)

    def update(self, batch: Batch) -> dict[str, Tensor]:
        """One step of each."""
        policy = self.policy
        latent = 2 * policy.action_size
        parts = policy.reconstruct(batch.obs, batch.action, self.normal(latent))
        generator_loss = self.mean(variational_loss(parts[0], batch.action, *parts[1:]))
        self.descend(generator_loss, self.generator_optimizer)

        critic_loss = self.step_critics(batch, self._target(batch))

        with torch.no_grad():
            generated = policy.decode(batch.obs, self._latents(latent))
        action = policy.perturbed(generated, policy.actor(torch.cat([batch.obs, generated], dim=-1)))
        actor_loss = -self.mean(policy.q(policy.critics, batch.obs, action)[0])
        self.descend(actor_loss, self.actor_optimizer)
        return {"generator_loss": generator_loss, "critic_loss": critic_loss, "actor_loss": actor_loss}

    @torch.no_grad()
    def _target(self, batch: Batch) -> Tensor:
        """r + gamma * the best soft-clipped target Q among the next state's candidates."""
        policy, config = self.policy, self.config
        latents = self._latents(config.num_candidates, 2 * policy.action_size)
        at_once = len(latents) if latents.is_cuda else STATES_IN_CACHE
        best = []
        parts = torch.split(batch.next_obs, at_once), torch.split(latents, at_once)
        for obs, latents_there in zip(*parts, strict=True):
            actions = policy.candidates(policy.target_actor, obs, latents_there)
            q = policy.target_critics.of_each(obs, actions).squeeze(-1)
            best.append(soft_clipped_value(q, config.min_weight).amax(dim=1))
        return td_target(batch.reward, torch.cat(best), config.gamma)

    def _latents(self, *sizes: int) -> Tensor:
        return self.normal(*sizes).clamp(-LATENT_CLIP, LATENT_CLIP)


class BCQ(OfflineAlgorithm):
    """Batch-constrained Q-learning."""

    name = "bcq"
    config_class = BCQConfig
    learner_class = BCQLearner
    module_class = BCQModule
