"""DCN, the Deep & Cross Network (Wang et al. 2017)."""

import torch
from torch import Tensor, nn

from rec_rl.models.backbone import Backbone, BackboneConfig, PooledFields, mlp
from rec_rl.models.batches import Batch

NUM_CROSS_LAYERS = 3


class DCN(Backbone):
    """Cross layers and a deep part side by side on the field vectors, joined before the output.

    Source: Wang et al. 2017 (DCN), Fig. 1.
    """

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.fields = PooledFields(config)
        self.cross = nn.ModuleList(CrossLayer(self.fields.width) for _ in range(NUM_CROSS_LAYERS))
        self.deep = mlp(self.fields.width, config.hidden_sizes)
        self.width = self.fields.width + config.hidden_sizes[-1]

    def features(self, batch: Batch) -> Tensor:
        x0 = self.fields(batch).flatten(1)
        x = x0
        for layer in self.cross:
            x = layer(x0, x)
        return torch.cat([x, self.deep(x0)], dim=1)


class CrossLayer(nn.Module):
    """x_{l+1} = x_0 (x_l . w_l) + b_l + x_l, [B, D] to [B, D]. Source: Wang et al. 2017 (DCN), Eq. (3)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.project = nn.Linear(width, 1, bias=False)
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x0: Tensor, x: Tensor) -> Tensor:
        crossed: Tensor = x0 * self.project(x) + self.bias + x
        return crossed
