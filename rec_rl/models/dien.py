"""DIEN, the Deep Interest Evolution Network (Zhou et al. 2019)."""

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import PackedSequence

from rec_rl.models.backbone import Backbone, BackboneConfig, FieldEmbeddings, mlp
from rec_rl.models.batches import Batch
from rec_rl.models.ragged import Ragged


class DIEN(Backbone):
    """A GRU extracts interests; another, its update gate scaled by attention, follows the relevant ones.

    Source: Zhou et al. 2019 (DIEN), Fig. 1.
    """

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        width = 2 * config.embedding_size
        self.embeddings = FieldEmbeddings(config, config.embedding_size)
        self.extractor = nn.GRU(width, width)
        self.relevance = nn.Linear(width, width, bias=False)
        self.evolution = AttentionalGRU(width)
        self.deep = mlp((5 if config.user_field else 4) * config.embedding_size, config.hidden_sizes)
        self.width = config.hidden_sizes[-1]

    def features(self, batch: Batch) -> Tensor:
        return self._features(batch, self.embeddings.of_history(batch))[0]

    def features_and_auxiliary_loss(self, batch: Batch) -> tuple[Tensor, Tensor]:
        past = self.embeddings.of_history(batch)
        features, interests = self._features(batch, past)
        if not self.training:
            return features, features.new_zeros(())
        return features, next_item_loss(interests, past, batch.history)

    def _features(self, batch: Batch, past: Tensor) -> tuple[Tensor, Tensor]:
        shown, history = self.embeddings.of_item(batch), batch.history
        interests = evolved = past
        if len(past):
            interests = self._extract(past, history)
            scores = (history.expand(self.relevance(shown)) * interests).sum(dim=1)
            evolved = self.evolution(interests, history.softmax(scores), history)
        final = history.last(evolved)
        features: Tensor = self.deep(torch.cat([*self.embeddings.of_user(batch), shown, final], dim=1))
        return features, interests

    def _extract(self, past: Tensor, history: Ragged) -> Tensor:
        order, inverse, batch_sizes = history.time_major
        packed = PackedSequence(past.index_select(0, order), torch.tensor(batch_sizes))
        states, _ = self.extractor(packed)
        interests: Tensor = states.data.index_select(0, inverse)
        return interests


class AttentionalGRU(nn.Module):
    """AUGRU: a GRU whose update gate is scaled by attention, u~_t = a_t u_t.

    h_t = (1 - u~_t) h_{t-1} + u~_t tanh(W x_t + r_t U h_{t-1}).
    Source: Zhou et al. 2019 (DIEN), the AUGRU equations of "Interest Evolving Layer".
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inputs = nn.Linear(width, 3 * width)
        self.state = nn.Linear(width, 3 * width)

    def forward(self, elements: Tensor, attention: Tensor, history: Ragged) -> Tensor:
        """States, [T, D] and attention [T] to [T, D], T >= 1."""
        order, inverse, batch_sizes = history.time_major
        inputs = torch.split(self.inputs(elements).index_select(0, order), batch_sizes)
        weights = torch.split(attention.index_select(0, order).unsqueeze(1), batch_sizes)
        h = elements.new_zeros(batch_sizes[0], elements.shape[1])
        states = []
        for x, a in zip(inputs, weights, strict=True):
            h = h[: len(x)]
            update_x, reset_x, candidate_x = x.chunk(3, dim=1)
            update_h, reset_h, candidate_h = self.state(h).chunk(3, dim=1)
            update = a * torch.sigmoid(update_x + update_h)
            candidate = torch.tanh(candidate_x + torch.sigmoid(reset_x + reset_h) * candidate_h)
            h = torch.lerp(h, candidate, update)
            states.append(h)
        return torch.cat(states).index_select(0, inverse)


def next_item_loss(interests: Tensor, past: Tensor, history: Ragged) -> Tensor:
    """-mean[log s(h_t . e_{t+1}) + log(1 - s(h_t . e^_{t+1}))] over all t that have a next item, scalar.

    Source: Zhou et al. 2019 (DIEN), Eq. (6), the auxiliary loss.

    Differs from the paper: the items e^ that were not chosen are drawn from all histories of the batch, hence
    by popularity, and the loss enters with weight 1.

    Args:
        interests: h_t, shape [T, D].
        past: e_t, shape [T, D].
        history: Which elements belong together.
    """
    (current,) = (history.ages > 0).nonzero(as_tuple=True)
    if len(current) == 0:
        return interests.new_zeros(())
    drawn = torch.randint(history.num_elements, current.shape)  # by the CPU's stream, which checkpoints hold
    other = drawn.to(current.device)
    h = interests.index_select(0, current)
    chosen = (h * past.index_select(0, current + 1)).sum(dim=1)
    not_chosen = (h * past.index_select(0, other)).sum(dim=1)
    return (functional.softplus(-chosen) + functional.softplus(not_chosen)).mean()
