"""Wide & Deep (Cheng et al. 2016)."""

import torch
from torch import Tensor

from rec_rl.models.backbone import Backbone, BackboneConfig, LinearPart, PooledFields, mlp
from rec_rl.models.batches import Batch


class WideDeep(Backbone):
    """sigmoid(w_wide . x + w_deep . a(x) + b): a linear model and a deep one, trained together.

    Source: Cheng et al. 2016 (Wide & Deep), Eq. (3), Fig. 1.

    Differs from the paper: the wide part has no hand-made cross-products, which belong to its app store.
    """

    num_logits = 1

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.wide = LinearPart(config)
        self.fields = PooledFields(config)
        self.deep = mlp(self.fields.width, config.hidden_sizes)
        self.width = 1 + config.hidden_sizes[-1]

    def features(self, batch: Batch) -> Tensor:
        return torch.cat([self.wide(batch), self.deep(self.fields(batch).flatten(1))], dim=1)
