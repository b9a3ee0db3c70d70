"""SIGMA (Liu et al. 2024): gated Mamba blocks over the history and its partly reversed copy."""

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import PackedSequence

from rec_rl.models.backbone import BackboneConfig
from rec_rl.models.mamba import Mamba
from rec_rl.models.ragged import Ragged
from rec_rl.models.sequence_backbone import SequenceBackbone

NUM_RECENT = 5  # elements that the reversed copy leaves in place


class SIGMA(SequenceBackbone):
    """A G-Mamba layer and a feed-forward layer over the history.

    Source: Liu et al. 2024 (SIGMA), after the authors' code.

    Differs from the paper: one layer, no dropout, and the click models' deep part in place of a ranking.
    """

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__(config)
        width = 2 * config.embedding_size
        self.input_norm = nn.LayerNorm(width)
        self.mixing = GatedMamba(width)
        self.mixing_norm = nn.LayerNorm(width)
        self.feed_forward = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.output_norm = nn.LayerNorm(width)

    def encode(self, past: Tensor, history: Ragged) -> Tensor:
        x = self.mixing_norm(self.mixing(self.input_norm(past), history))
        states: Tensor = self.output_norm(x + self.feed_forward(x))
        return states


class GatedMamba(nn.Module):
    """One Mamba over the history and its partly flipped copy, each under a gate, and a GRU on a convolution.

    The GRU is for what short histories leave unsaid; the three are mixed by learned weights.

    Source: Liu et al. 2024 (SIGMA): PF-Mamba, DS gate and FE-GRU.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mamba = Mamba(width)
        self.forward_gate = SelectiveGate(width)
        self.flipped_gate = SelectiveGate(width)
        self.convolution = nn.Linear(3 * width, width)  # kernel 3 over previous, this and next element
        self.gru = nn.GRU(width, width)
        self.mixture = nn.Parameter(torch.tensor([0.8, 0.1, 0.1]))
        self.project = nn.Linear(width, width)

    def forward(self, elements: Tensor, history: Ragged) -> Tensor:
        """[T, D] to [T, D], T >= 1."""
        flip = partial_flip(history, NUM_RECENT)
        flipped = elements.index_select(0, flip)
        ahead = self.mamba(elements, history) * (1 + self.forward_gate(elements))
        back = self.mamba(flipped, history) * (1 + self.flipped_gate(flipped))
        short = self._extract(elements, history)
        shares = self.mixture.softmax(dim=0)
        mixed: Tensor = self.project(shares[0] * ahead + shares[1] * back + shares[2] * short)
        return mixed

    def _extract(self, elements: Tensor, history: Ragged) -> Tensor:
        neighbours = [history.shift(elements, 1), elements, history.shift(elements, -1)]
        local = self.convolution(torch.cat(neighbours, dim=1))
        order, inverse, batch_sizes = history.time_major
        states, _ = self.gru(PackedSequence(local.index_select(0, order), torch.tensor(batch_sizes)))
        short: Tensor = states.data.index_select(0, inverse)
        return short


class SelectiveGate(nn.Module):
    """SiLU and sigmoid of a residual dense layer, each through a dense layer of its own, summed."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.dense = nn.Linear(width, width)
        self.of_silu = nn.Linear(width, width)
        self.of_sigmoid = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        h = x + self.dense(x)
        gate: Tensor = self.of_silu(functional.silu(h)) + self.of_sigmoid(torch.sigmoid(h))
        return gate


def partial_flip(history: Ragged, num_kept: int) -> Tensor:
    """Indices that reverse each sequence but its last ``num_kept`` elements, shape [T]; its own inverse."""
    num_flipped = (history.lengths - num_kept).clamp(min=0).index_select(0, history.rows)
    mirrored = num_flipped - 1 - history.positions
    places = torch.where(history.positions < num_flipped, mirrored, history.positions)
    return history.starts.index_select(0, history.rows) + places
