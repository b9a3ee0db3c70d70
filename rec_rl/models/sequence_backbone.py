"""Models that read the history in its order: an encoder sums it up, the deep part compares item and sum."""

from abc import abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn

from rec_rl.models.backbone import Backbone, BackboneConfig, FieldEmbeddings, mlp
from rec_rl.models.batches import Batch
from rec_rl.models.ragged import Ragged, lookup

Attention = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""attention(queries, keys, values [b, L, D], present [b, L]) -> [b, L, D], on padded sequences."""


class SequenceBackbone(Backbone):
    """Deep part on user, item shown, the encoder's last state and its product with the item shown.

    The papers of these models rank items by the inner product of the last state with an item's vector. As
    click models they keep that product, element by element, and add the other backbones' fields.
    """

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.embeddings = FieldEmbeddings(config, config.embedding_size)
        self.deep = mlp((7 if config.user_field else 6) * config.embedding_size, config.hidden_sizes)
        self.width = config.hidden_sizes[-1]

    @abstractmethod
    def encode(self, past: Tensor, history: Ragged) -> Tensor:
        """States of all elements, [T, D] to [T, D], T >= 1."""

    def features(self, batch: Batch) -> Tensor:
        shown, interest = self.embeddings.of_item(batch), batch.once_per_history(self._interest)
        inputs = [*self.embeddings.of_user(batch), shown, interest, interest * shown]
        features: Tensor = self.deep(torch.cat(inputs, dim=1))
        return features

    def _interest(self, batch: Batch) -> Tensor:
        """The last state of each history, [B, D]."""
        past = self.embeddings.of_history(batch)
        states = self.encode(past, batch.history) if len(past) else past
        return batch.history.last(states)


class TransformerEncoder(nn.Module):
    """Positions by age and blocks of x + attention(norm(x)), x + feed-forward(norm(x)).

    Source: Kang and McAuley 2018 (SASRec), Sec. III-A to III-C.

    Differs from the paper: positions count from the end, which its left-padded sequences amount to; no
    dropout, training stops early instead.
    """

    def __init__(self, width: int, max_history: int, attentions: list[Attention]) -> None:
        super().__init__()
        self.positions = nn.Parameter(torch.randn(max_history, width) * 0.02)
        self.blocks = nn.ModuleList(TransformerBlock(width, attention) for attention in attentions)
        self.norm = nn.LayerNorm(width)

    def forward(self, elements: Tensor, history: Ragged) -> Tensor:
        """[T, D] to [T, D], T >= 1."""
        x = elements + lookup(self.positions, history.ages)
        for block in self.blocks:
            x = block(x, history)
        normed: Tensor = self.norm(x)
        return normed


class TransformerBlock(nn.Module):
    """Self-attention and a point-wise feed-forward layer, each around a residual."""

    def __init__(self, width: int, attention: Attention) -> None:
        super().__init__()
        self._attention = attention
        self.attention_norm = nn.LayerNorm(width)
        self.project = nn.Linear(width, 3 * width, bias=False)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width)
        )

    def forward(self, elements: Tensor, history: Ragged) -> Tensor:
        def attend(padded: Tensor, present: Tensor) -> Tensor:
            queries, keys, values = padded.chunk(3, dim=2)
            return self._attention(queries, keys, values, present)

        projected = self.project(self.attention_norm(elements))
        x = elements + history.apply_padded(attend, projected)
        out: Tensor = x + self.feed_forward(x)
        return out
