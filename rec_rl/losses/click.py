"""Losses of a click model and of its alignment with a mental reward (MTRec Sec. 4.3)."""

import torch
from torch import Tensor
from torch.nn import functional

LIMIT = 3.0
"""Of Dn, the normalised difference of a mental reward."""


def click_loss(logits: Tensor, clicks: Tensor) -> Tensor:
    """Cross-entropy of the click probability F = sigmoid(logits), per element.

    Source: Zhao et al. 2025 (MTRec), Eq. (8).

    Args:
        logits: Shape [B].
        clicks: 0 or 1, shape [B].
    """
    _check_same_shape(logits, clicks, "clicks")
    return functional.binary_cross_entropy_with_logits(logits, clicks.to(logits.dtype), reduction="none")


def alignment_loss(logits: Tensor, rewards: Tensor) -> Tensor:
    """-(r(s, click) F + r(s, skip) (1 - F)), per element, as printed.

    Its gradient is that of -(r(s, click) - r(s, skip)) F: only the difference teaches.
    Source: Zhao et al. 2025 (MTRec), Eq. (9).

    Args:
        logits: Shape [B].
        rewards: r*(s, skip) and r*(s, click), shape [B, 2]. Receives no gradient.
    """
    if rewards.shape != (*logits.shape, 2) or logits.ndim != 1:
        raise ValueError(
            f"logits must be [B] and rewards [B, 2], got {tuple(logits.shape)}, {tuple(rewards.shape)}"
        )
    skip, click = rewards.detach().unbind(dim=1)
    probability = torch.sigmoid(logits)
    return -(click * probability + skip * (1 - probability))


def normalised_difference(rewards: Tensor, scale: float, *, limit: float = LIMIT) -> Tensor:
    """Dn = clip((r(s, click) - r(s, skip)) / scale, -limit, limit), shape [B], detached.

    It is scaled and not centred: centring changes the mean click probability, which inflates NCIS.

    Args:
        rewards: r*(s, skip) and r*(s, click), shape [B, 2].
        scale: Standard deviation of the difference on the training rows, > 0.
        limit: Largest size of Dn.
    """
    if rewards.ndim != 2 or rewards.shape[1] != 2:
        raise ValueError(f"rewards must be [B, 2], got {tuple(rewards.shape)}")
    if not scale > 0:
        raise ValueError(f"scale must be > 0, got {scale}")
    return ((rewards[:, 1] - rewards[:, 0]).detach() / scale).clamp(-limit, limit)


def aligned_click_loss(logits: Tensor, clicks: Tensor, difference: Tensor, kappa: float) -> Tensor:
    """Cross-entropy - kappa * Dn * F, per element; kappa = 0 is the plain cross-entropy.

    Source: Zhao et al. 2025 (MTRec), Eq. (10).

    Differs from the paper: the two rewards of Eq. (9) enter as their normalised difference Dn
    (``normalised_difference``), since their level is arbitrary and their scale depends on the method.

    Args:
        logits: Shape [B].
        clicks: 0 or 1, shape [B].
        difference: Dn, shape [B]. Receives no gradient.
        kappa: Weight of the mental reward, >= 0; .1 to .2 is usual, .5 still stable.
    """
    _check_same_shape(logits, difference, "difference")
    if not kappa >= 0:
        raise ValueError(f"kappa must be >= 0, got {kappa}")
    return click_loss(logits, clicks) - kappa * difference.detach() * torch.sigmoid(logits)


def _check_same_shape(logits: Tensor, other: Tensor, name: str) -> None:
    if logits.shape != other.shape or logits.ndim != 1:
        raise ValueError(
            f"logits and {name} must share a shape [B], got {tuple(logits.shape)}, {tuple(other.shape)}"
        )
