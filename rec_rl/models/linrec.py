"""LinRec (Liu et al. 2023): a Transformer whose attention is linear in the length of the history."""

import math

from torch import Tensor
from torch.nn import functional

from rec_rl.models.backbone import BackboneConfig
from rec_rl.models.ragged import Ragged
from rec_rl.models.sequence_backbone import SequenceBackbone, TransformerEncoder

NUM_BLOCKS = 2
NUM_HEADS = 2


class LinRec(SequenceBackbone):
    """SASRec's blocks with L2-normalised linear attention. Source: Liu et al. 2023 (LinRec)."""

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__(config)
        self.encoder = TransformerEncoder(
            2 * config.embedding_size, config.max_history, [linear_attention] * NUM_BLOCKS
        )

    def encode(self, past: Tensor, history: Ragged) -> Tensor:
        states: Tensor = self.encoder(past, history)
        return states


def linear_attention(queries: Tensor, keys: Tensor, values: Tensor, present: Tensor) -> Tensor:
    """rho_1(elu(Q)) (rho_2(elu(K))^T V) / sqrt(d) per head, [b, L, D].

    rho_1 gives each query (row) and rho_2 each dimension of the keys (column) unit length. K^T V, a D x D
    matrix, is computed first: the cost is linear in L. Every element looks at the whole history.
    Source: Liu et al. 2023 (LinRec), L2-normalised linear attention, after the authors' code.
    """

    def heads(x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], NUM_HEADS, -1).transpose(1, 2)  # [b, heads, L, d]

    q = functional.normalize(functional.elu(heads(queries)), dim=3)
    k = functional.normalize(functional.elu(heads(keys)) * present[:, None, :, None], dim=2)
    scale = 1 / math.sqrt(q.shape[3])
    context: Tensor = q @ (k.transpose(2, 3) @ heads(values)) * scale
    return context.transpose(1, 2).flatten(2)
