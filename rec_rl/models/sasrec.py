"""SASRec (Kang and McAuley 2018) as a click model."""

from torch import Tensor
from torch.nn import functional

from rec_rl.models.backbone import BackboneConfig
from rec_rl.models.ragged import Ragged
from rec_rl.models.sequence_backbone import SequenceBackbone, TransformerEncoder

NUM_BLOCKS = 2  # Sec. IV-C


class SASRec(SequenceBackbone):
    """Causal self-attention over the history. Source: Kang and McAuley 2018 (SASRec), Fig. 1."""

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__(config)
        self.encoder = TransformerEncoder(
            2 * config.embedding_size, config.max_history, [causal_attention] * NUM_BLOCKS
        )

    def encode(self, past: Tensor, history: Ragged) -> Tensor:
        states: Tensor = self.encoder(past, history)
        return states


def causal_attention(queries: Tensor, keys: Tensor, values: Tensor, present: Tensor) -> Tensor:
    """softmax(Q K^T / sqrt(d)) V over an element and those before it, [b, L, D].

    Padding comes last, so that no element that is present looks at it.
    Source: Kang and McAuley 2018 (SASRec), Eq. (2).
    """
    return functional.scaled_dot_product_attention(queries, keys, values, is_causal=True)
