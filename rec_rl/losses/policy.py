"""Densities of Gaussian policies and the losses that train them."""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

LOG_2PI = math.log(2 * math.pi)


def gaussian_log_prob(action: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    """log N(action; mean, exp(log_std)^2), summed over the action's dimensions.

    Args:
        action, mean: Shape [B, A].
        log_std: Shape [B, A] or [A].

    Returns:
        Log density per element, shape [B].

    Raises:
        ValueError: If ``action`` and ``mean`` differ in shape.
    """
    logp: Tensor = _GaussianLogProb.apply(action, mean, log_std)  # type: ignore[no-untyped-call]
    return logp


class GaussianTerms(NamedTuple):
    """What `gaussian_gradients` takes of a density that was computed.

    Attributes:
        z: (action - mean) / exp(log_std), shape [B, A].
        inverse: exp(-log_std), shape [B, A] or [A].
    """

    z: Tensor
    inverse: Tensor


def gaussian_log_prob_and_terms(
    action: Tensor, mean: Tensor, log_std: Tensor
) -> tuple[Tensor, GaussianTerms]:
    """`gaussian_log_prob` without a graph, and the terms of its gradient."""
    if action.shape != mean.shape:
        raise ValueError(f"action {tuple(action.shape)} and mean {tuple(mean.shape)} must share a shape")
    inverse = torch.exp(-log_std)
    z = (action - mean) * inverse
    return (z * z).sum(-1).mul_(-0.5) - (log_std + 0.5 * LOG_2PI).sum(-1), GaussianTerms(z, inverse)


def gaussian_gradients(slope: Tensor, terms: GaussianTerms) -> tuple[Tensor, Tensor]:
    """Gradients of sum(slope * log density) with respect to mean and log_std.

    Args:
        slope: Derivative of the loss by each log density, shape [B].
        terms: Of the density.

    Returns:
        Shape [B, A], and [B, A] or [A] as that of log_std.
    """
    gradient = slope.unsqueeze(-1)
    weighted = gradient * terms.z
    return weighted * terms.inverse, (weighted * terms.z - gradient).sum_to_size(terms.inverse.shape)


class _GaussianLogProb(torch.autograd.Function):
    """The gradient in closed form: a third of the kernels that autograd would derive."""

    @staticmethod
    def forward(ctx: Any, action: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
        logp, terms = gaussian_log_prob_and_terms(action, mean, log_std)
        ctx.save_for_backward(*terms)
        return logp

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        of_mean, of_log_std = gaussian_gradients(gradients[0], GaussianTerms(*ctx.saved_tensors))
        return -of_mean, of_mean, of_log_std


class SquashedSample(NamedTuple):
    """An action tanh(u) with u = mean + spread ~ N(mean, exp(log_std)^2).

    Attributes:
        action: Shape [B, A].
        logp: Its log density, shape [B].
        spread: exp(log_std) * noise, shape [B, A].
    """

    action: Tensor
    logp: Tensor
    spread: Tensor


def squashed_sample(mean: Tensor, log_std: Tensor, noise: Tensor) -> SquashedSample:
    """The action that ``noise`` draws, and log pi(a) = log N(u) - sum log(1 - tanh(u)^2).

    The last term is 2 (log 2 - u - softplus(-2 u)), which is finite far out.
    Source: Haarnoja et al. 2018 (SAC), Eq. (21).

    Args:
        mean, log_std: Shape [B, A].
        noise: Standard normal, shape [B, A].

    Raises:
        ValueError: If the shapes differ.
    """
    if not mean.shape == log_std.shape == noise.shape:
        raise ValueError(
            f"mean {tuple(mean.shape)}, log_std {tuple(log_std.shape)} and noise {tuple(noise.shape)} must "
            "share a shape"
        )
    spread = torch.exp(log_std) * noise
    u = mean + spread
    constant = 0.5 * LOG_2PI + 2 * math.log(2)
    terms = 2 * (u + F.softplus(-2 * u)) - log_std - 0.5 * noise.square()
    return SquashedSample(torch.tanh(u), terms.sum(-1) - mean.shape[-1] * constant, spread)


def squashed_gradients(sample: SquashedSample, of_action: Tensor, of_logp: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients with respect to mean and log_std, for the noise that was drawn.

    Args:
        sample: As `squashed_sample` gave it.
        of_action: Gradient of the action, shape [B, A].
        of_logp: Gradient of the log density, shape [B] or scalar.

    Returns:
        Shape [B, A] each.
    """
    action, of_logp = sample.action, of_logp.unsqueeze(-1)
    of_mean = of_action * (1 - action.square()) + 2 * of_logp * action
    return of_mean, of_mean * sample.spread - of_logp


def ppo_clip_loss(logp: Tensor, logp_old: Tensor, advantage: Tensor, clip: float) -> tuple[Tensor, Tensor]:
    """-min(rho * A, clip(rho, 1 - clip, 1 + clip) * A), with rho = exp(logp - logp_old), and its derivative.

    Source: Schulman et al. 2017 (PPO), Eq. (7).

    Args:
        logp: log pi(a | s) of the policy in training, shape [B].
        logp_old: The same under the policy that acted, shape [B].
        advantage: Shape [B].
        clip: Half-width of the trust interval, > 0.

    Returns:
        Loss per element and its derivative by logp, shape [B] each.

    Raises:
        ValueError: If the shapes differ.
    """
    if not logp.shape == logp_old.shape == advantage.shape:
        raise ValueError(
            f"logp {tuple(logp.shape)}, logp_old {tuple(logp_old.shape)} and advantage "
            f"{tuple(advantage.shape)} must share a shape"
        )
    most = torch.add(advantage, advantage.abs(), alpha=clip)  # where clipping begins to bind
    loss = -torch.exp(logp - logp_old) * advantage
    return torch.maximum(loss, -most), loss.masked_fill(loss < -most, 0)


def self_imitation_loss(logp: Tensor, score: Tensor, baseline: Tensor) -> tuple[Tensor, Tensor]:
    """-(score - baseline)+ * log pi(a | s), and its derivative: imitates the better half of what was tried.

    Source: Oh et al. 2018 (SIL), Eq. (2).
    Differs from the paper: the baseline is the mean score of the batch, not a learned V(s); in a contextual
    bandit with a shared ceiling the two rank actions alike.

    Args:
        logp: log pi(a | s) of replayed actions, shape [B].
        score: How good each was, shape [B].
        baseline: Mean score of the batch, scalar.

    Returns:
        Loss per element and its derivative by logp, shape [B] each.

    Raises:
        ValueError: If the shapes differ.
    """
    if logp.shape != score.shape:
        raise ValueError(f"logp {tuple(logp.shape)} and score {tuple(score.shape)} must share a shape")
    slope = -(score - baseline).clamp(min=0)
    return slope * logp, slope


def sac_actor_loss(logp: Tensor, q: Tensor, alpha: Tensor) -> Tensor:
    """alpha * log pi(a | s) - Q(s, a), for a drawn from the policy.

    Source: Haarnoja et al. 2018 (SAC), Eq. (9).

    Args:
        logp: Shape [B].
        q: The smaller critic at the drawn action, shape [B].
        alpha: Temperature, scalar; no gradient.

    Returns:
        Loss per element, shape [B].

    Raises:
        ValueError: If the shapes differ.
    """
    if logp.shape != q.shape:
        raise ValueError(f"logp {tuple(logp.shape)} and q {tuple(q.shape)} must share a shape")
    return alpha.detach() * logp - q


def temperature_loss(log_alpha: Tensor, logp: Tensor, target_entropy: float) -> Tensor:
    """-alpha * (log pi(a | s) + target_entropy): raises alpha while the entropy is below its target.

    Source: Haarnoja et al. 2018 (SAC algorithms and applications), Eq. (18).

    Args:
        log_alpha: Scalar.
        logp: Shape [B]; no gradient.
        target_entropy: In nats; -dim(A) by convention.

    Returns:
        Loss per element, shape [B].
    """
    return -torch.exp(log_alpha) * (logp.detach() + target_entropy)


def q_and_imitation_loss(
    q: Tensor, action: Tensor, logged: Tensor, *, bc_alpha: float, mean_abs_q: Tensor
) -> Tensor:
    """-(bc_alpha / mean_abs_q) * Q(s, pi(s)) + |pi(s) - a|^2 / A, the mean over the action's dimensions.

    Source: Fujimoto and Gu 2021 (TD3+BC), Eq. (5).

    Args:
        q: Q at the policy's action, shape [B].
        action: pi(s), shape [B, A].
        logged: The action in the data, shape [B, A].
        bc_alpha: Weight of Q against imitation, >= 0.
        mean_abs_q: Mean of |Q| over the minibatch, scalar, > 0; no gradient.

    Returns:
        Loss per element, shape [B].

    Raises:
        ValueError: If the shapes do not agree.
    """
    if action.shape != logged.shape or q.shape != action.shape[:1]:
        raise ValueError(
            f"q {tuple(q.shape)} must have shape [B], action {tuple(action.shape)} and logged "
            f"{tuple(logged.shape)} [B, A]"
        )
    return -(bc_alpha / mean_abs_q.detach()) * q + (action - logged).square().mean(dim=-1)


def advantage_weighted_loss(
    logp: Tensor, advantage: Tensor, *, beta: float, max_weight: float = 100.0
) -> Tensor:
    """-min(exp(beta * advantage), max_weight) * log pi(a | s).

    Source: Kostrikov et al. 2021 (IQL), Eq. (7).

    Args:
        logp: Of the logged action, shape [B].
        advantage: Q(s, a) - V(s), shape [B]; no gradient.
        beta: Inverse temperature, >= 0; 0 imitates.
        max_weight: Bound on a weight.

    Returns:
        Loss per element, shape [B].

    Raises:
        ValueError: If the shapes differ.
    """
    if logp.shape != advantage.shape:
        raise ValueError(
            f"logp {tuple(logp.shape)} and advantage {tuple(advantage.shape)} must share a shape"
        )
    weight = torch.exp(beta * advantage.detach()).clamp(max=max_weight)
    return -weight * logp


def variational_loss(reconstruction: Tensor, action: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    """Mean squared error over the action's dimensions plus half the mean KL of the latents from N(0, 1).

    Source: Fujimoto et al. 2019 (BCQ), Eq. (28) and the authors' weights.

    Args:
        reconstruction, action: Shape [B, A].
        mean, log_std: Of the latent's posterior, shape [B, Z].

    Returns:
        Loss per element, shape [B].

    Raises:
        ValueError: If the shapes do not agree.
    """
    if reconstruction.shape != action.shape or mean.shape != log_std.shape or len(mean) != len(action):
        raise ValueError(
            f"reconstruction {tuple(reconstruction.shape)} and action {tuple(action.shape)} must share a "
            f"shape, mean {tuple(mean.shape)} and log_std {tuple(log_std.shape)} too"
        )
    divergence = 0.5 * (mean.square() + torch.exp(2 * log_std) - 1 - 2 * log_std)
    return (reconstruction - action).square().mean(dim=-1) + 0.5 * divergence.mean(dim=-1)
