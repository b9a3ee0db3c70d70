"""Densities of Gaussian policies and the losses that train them."""

import math

import torch
from torch import Tensor
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
    if action.shape != mean.shape:
        raise ValueError(f"action {tuple(action.shape)} and mean {tuple(mean.shape)} must share a shape")
    z = (action - mean) * torch.exp(-log_std)
    return (-0.5 * (z * z + LOG_2PI) - log_std).sum(-1)


def squashed_log_prob(pre_tanh: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    """Log density of ``tanh(u)`` for u ~ N(mean, exp(log_std)^2).

    log pi(a) = log N(u) - sum log(1 - tanh(u)^2), the last term as 2 (log 2 - u - softplus(-2 u)).
    Source: Haarnoja et al. 2018 (SAC), Eq. (21).

    Args:
        pre_tanh: u, shape [B, A].
        mean, log_std: Shape [B, A].

    Returns:
        Log density per element, shape [B].
    """
    squash = 2 * (math.log(2) - pre_tanh - F.softplus(-2 * pre_tanh))
    return gaussian_log_prob(pre_tanh, mean, log_std) - squash.sum(-1)


def ppo_clip_loss(logp: Tensor, logp_old: Tensor, advantage: Tensor, clip: float) -> Tensor:
    """-min(rho * A, clip(rho, 1 - clip, 1 + clip) * A), with rho = exp(logp - logp_old).

    Source: Schulman et al. 2017 (PPO), Eq. (7).

    Args:
        logp: log pi(a | s) of the policy in training, shape [B].
        logp_old: The same under the policy that acted, shape [B]; no gradient.
        advantage: Shape [B]; no gradient.
        clip: Half-width of the trust interval, > 0.

    Returns:
        Loss per element, shape [B].

    Raises:
        ValueError: If the shapes differ.
    """
    if not logp.shape == logp_old.shape == advantage.shape:
        raise ValueError(
            f"logp {tuple(logp.shape)}, logp_old {tuple(logp_old.shape)} and advantage "
            f"{tuple(advantage.shape)} must share a shape"
        )
    ratio = torch.exp(logp - logp_old.detach())
    advantage = advantage.detach()
    return -torch.minimum(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage)


def self_imitation_loss(logp: Tensor, score: Tensor) -> Tensor:
    """-(score - mean(score))+ * log pi(a | s): imitates the better half of what was tried.

    Source: Oh et al. 2018 (SIL), Eq. (2).
    Differs from the paper: the baseline is the mean score of the batch, not a learned V(s); in a contextual
    bandit with a shared ceiling the two rank actions alike.

    Args:
        logp: log pi(a | s) of replayed actions, shape [B].
        score: How good each was, shape [B]; no gradient.

    Returns:
        Loss per element, shape [B].

    Raises:
        ValueError: If the shapes differ.
    """
    if logp.shape != score.shape:
        raise ValueError(f"logp {tuple(logp.shape)} and score {tuple(score.shape)} must share a shape")
    weight = (score - score.mean()).clamp(min=0).detach()
    return -weight * logp


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
