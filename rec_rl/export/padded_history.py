"""Histories as a padded matrix behind the interface of `Ragged`: what a graph of fixed operations can hold.

Training packs histories end to end, by index arithmetic on the data at hand, which no exported graph can
follow. The same backbones run unchanged on this layout, where an absent element is there and counts nothing.
"""

from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor, nn

from rec_rl.models import Backbone, ClickModel
from rec_rl.models.batches import Batch
from rec_rl.models.ragged import Ragged, lookup

EXPORTED_MODELS = ("wide_deep", "pnn", "deepfm", "dcn", "din", "linrec")
"""Backbones that export. Not dien and sigma, which walk through a history step by step, by its own length;
not sasrec, whose attention the exporter does not translate."""


class PaddedHistory(Ragged):
    """B histories of at most L elements, kept as one [B L, D] array; elements come first, padding last."""

    def __init__(self, lengths: Tensor, size: int) -> None:
        """Args: lengths: Elements of each history, int64, shape [B]. size: L, >= 1."""
        self.lengths = lengths
        self._size = size

    @cached_property
    def _present(self) -> Tensor:
        """Shape [B, L]."""
        return torch.arange(self._size)[None] < self.lengths[:, None]

    @cached_property
    def ages(self) -> Tensor:
        """Distance from the history's end, 0 for its last element and for padding, shape [B L]."""
        return (self.lengths[:, None] - 1 - torch.arange(self._size)[None]).clamp(min=0).flatten()

    def expand(self, per_sequence: Tensor) -> Tensor:
        """[B, D] to [B L, D]."""
        return per_sequence[:, None].expand(-1, self._size, -1).flatten(0, 1)

    def sum(self, elements: Tensor) -> Tensor:
        """Sum over each history, 0 where it is empty, [B L, D] to [B, D]."""
        padded = elements.view(*self._present.shape, -1)
        return (padded * self._present[..., None]).sum(dim=1)

    def apply_padded(self, function: Callable[[Tensor, Tensor], Tensor], elements: Tensor) -> Tensor:
        """Applies a function of (padded [B, L, D], present [B, L])."""
        return function(elements.view(*self._present.shape, -1), self._present).flatten(0, 1)


class PaddedClickModel(nn.Module):
    """A click model on padded histories, with probabilities for logits."""

    def __init__(self, model: ClickModel) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        users: Tensor,
        items: Tensor,
        categories: Tensor,
        history_items: Tensor,
        history_categories: Tensor,
        lengths: Tensor,
    ) -> Tensor:
        """Codes [B] and histories [B, L] to probabilities [B]."""
        batch = Batch(
            users=users,
            items=items,
            categories=categories,
            history_items=history_items.flatten(),
            history_categories=history_categories.flatten(),
            history=PaddedHistory(lengths, history_items.shape[1]),
        )
        return torch.sigmoid(self.model.output(self.model.backbone(batch)).squeeze(1))


class PaddedStateBody(nn.Module):
    """`rec_rl.models.state_body.StateBody` on padded histories: [B, 2 + max_history] to [B, width]."""

    def __init__(self, backbone: Backbone, item_categories: Tensor) -> None:
        super().__init__()
        self.backbone = backbone
        self.register_buffer("item_categories", item_categories)
        self.item_categories: Tensor

    def forward(self, states: Tensor) -> Tensor:
        codes = states.to(torch.int64)
        items, past = codes[:, 1], codes[:, 2:]
        size = states.shape[1] - 2
        lengths = (past > 0).sum(dim=1)
        moved = (torch.arange(size)[None] + size - lengths[:, None]) % size  # states keep padding in front
        history = past.gather(1, moved).flatten()
        batch = Batch(
            users=codes[:, 0],
            items=items,
            categories=lookup(self.item_categories, items),
            history_items=history,
            history_categories=lookup(self.item_categories, history),
            history=PaddedHistory(lengths, size),
        )
        features: Tensor = self.backbone(batch)
        return features
