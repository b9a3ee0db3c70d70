"""Losses that learn a reward from which of two segments is better."""

from torch import Tensor
from torch.nn import functional


def bradley_terry_loss(reward_a: Tensor, reward_b: Tensor, label: Tensor) -> Tensor:
    """-label log P(a better) - (1 - label) log P(b better), with P(a better) = sigmoid(sum r_a - sum r_b).

    Source: Xue et al. 2023 (PrefRec), Eq. (3) and (4).

    Args:
        reward_a, reward_b: Rewards along the segments, shape [B, T_a] and [B, T_b]. What pads a shorter
            segment must be 0.
        label: 1 where a is better, 0 where b is, .5 for a tie; shape [B].

    Returns:
        Loss per pair, shape [B].

    Raises:
        ValueError: If the shapes differ in B or the rewards are not matrices.
    """
    if reward_a.ndim != 2 or reward_b.ndim != 2 or not len(reward_a) == len(reward_b) == len(label):
        raise ValueError(
            "reward_a and reward_b must have shape [B, T] and label [B], got "
            f"{tuple(reward_a.shape)}, {tuple(reward_b.shape)}, {tuple(label.shape)}"
        )
    if label.ndim != 1:
        raise ValueError(f"label must have shape [B], got {tuple(label.shape)}")
    gap = reward_a.sum(dim=1) - reward_b.sum(dim=1)
    return functional.binary_cross_entropy_with_logits(gap, label, reduction="none")
