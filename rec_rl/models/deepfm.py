"""DeepFM (Guo et al. 2017)."""

import torch
from torch import Tensor

from rec_rl.models.backbone import Backbone, BackboneConfig, LinearPart, PooledFields, mlp
from rec_rl.models.batches import Batch


class DeepFM(Backbone):
    """sigmoid(y_FM + y_DNN): a factorisation machine and a deep part on the same vectors.

    Source: Guo et al. 2017 (DeepFM), Eq. (1), (2), Fig. 1.
    """

    num_logits = 1

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.linear = LinearPart(config)
        self.fields = PooledFields(config)
        self.deep = mlp(self.fields.width, config.hidden_sizes)
        self.width = 1 + config.hidden_sizes[-1]

    def features(self, batch: Batch) -> Tensor:
        fields = self.fields(batch)
        machine = self.linear(batch) + pairwise_interactions(fields)
        return torch.cat([machine, self.deep(fields.flatten(1))], dim=1)


def pairwise_interactions(fields: Tensor) -> Tensor:
    """sum over i < j of <v_i, v_j> = (|sum_i v_i|^2 - sum_i |v_i|^2) / 2, [B, F, D] to [B, 1]."""
    square_of_sum = fields.sum(dim=1).square()
    sum_of_squares = fields.square().sum(dim=1)
    return (square_of_sum - sum_of_squares).sum(dim=1, keepdim=True) / 2
