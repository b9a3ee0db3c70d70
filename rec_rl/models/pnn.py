"""PNN with inner products (Qu et al. 2016)."""

import torch
from torch import Tensor

from rec_rl.models.backbone import Backbone, BackboneConfig, PooledFields, mlp
from rec_rl.models.batches import Batch


class PNN(Backbone):
    """A deep part on the field vectors z and on all their inner products p, the paper's IPNN.

    Source: Qu et al. 2016 (PNN), Sec. III, Fig. 1.

    Differs from the paper: the product layer is the full linear map of p, not its factorised form, which
    saves work only where fields are many.
    """

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.fields = PooledFields(config)
        num_pairs = self.fields.num_fields * (self.fields.num_fields - 1) // 2
        self.deep = mlp(self.fields.width + num_pairs, config.hidden_sizes)
        self.width = config.hidden_sizes[-1]

    def features(self, batch: Batch) -> Tensor:
        fields = self.fields(batch)
        features: Tensor = self.deep(torch.cat([fields.flatten(1), inner_products(fields)], dim=1))
        return features


def inner_products(fields: Tensor) -> Tensor:
    """<v_i, v_j> of all pairs i < j in the order of rows, [B, F, D] to [B, F (F - 1) / 2]."""
    num_fields = fields.shape[1]
    first, second = torch.triu_indices(num_fields, num_fields, offset=1, device=fields.device)
    return torch.bmm(fields, fields.transpose(1, 2))[:, first, second]
