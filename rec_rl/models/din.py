"""DIN, the Deep Interest Network (Zhou et al. 2018)."""

import torch
from torch import Tensor, nn

from rec_rl.models.backbone import Backbone, BackboneConfig, FieldEmbeddings, mlp
from rec_rl.models.batches import Batch
from rec_rl.models.ragged import Ragged

ATTENTION_SIZE = 36


class DIN(Backbone):
    """The history enters as the sum of its vectors, weighted by their relevance to the item shown.

    Source: Zhou et al. 2018 (DIN), Eq. (3), Fig. 2.

    Differs from the paper: PReLU in the activation unit, without the Dice variant, whose statistics depend on
    how a batch is shared out.
    """

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        size = config.embedding_size
        self.embeddings = FieldEmbeddings(config, size)
        self.activation_unit = ActivationUnit(2 * size)
        self.deep = mlp((5 if config.user_field else 4) * size, config.hidden_sizes)
        self.width = config.hidden_sizes[-1]

    def features(self, batch: Batch) -> Tensor:
        shown, past = self.embeddings.of_item(batch), self.embeddings.of_history(batch)
        weights = self.activation_unit(shown, past, batch.history)
        interest = batch.history.sum(weights * past)
        features: Tensor = self.deep(torch.cat([*self.embeddings.of_user(batch), shown, interest], dim=1))
        return features


class ActivationUnit(nn.Module):
    """a(e_j, v) = w . PReLU(W [v, e_j, v - e_j, v * e_j]), not normalised, so that intensity is kept.

    W is applied part by part, the parts that act on v alone once per row and not once per element: the same
    function at less than half the work.
    Source: Zhou et al. 2018 (DIN), Sec. 4.3, Fig. 2 and the authors' code for the inputs.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(4 * width, ATTENTION_SIZE)
        self.activation = nn.PReLU()
        self.output = nn.Linear(ATTENTION_SIZE, 1)

    def forward(self, shown: Tensor, past: Tensor, history: Ragged) -> Tensor:
        """Weights of the elements, [B, D] and [T, D] to [T, 1]."""
        of_shown, of_past, of_difference, of_product = self.hidden.weight.chunk(4, dim=1)
        per_row = shown @ (of_shown + of_difference).t() + self.hidden.bias
        inputs = torch.cat([past, history.expand(shown) * past], dim=1)
        per_element = inputs @ torch.cat([of_past - of_difference, of_product], dim=1).t()
        weights: Tensor = self.output(self.activation(history.expand(per_row) + per_element))
        return weights
