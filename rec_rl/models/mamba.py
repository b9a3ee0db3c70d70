"""A Mamba block (Gu and Dao 2023) in plain PyTorch, on sequences without padding."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from rec_rl.models.ragged import Ragged

STATE_SIZE = 8
EXPANSION = 2
KERNEL_SIZE = 4


class Mamba(nn.Module):
    """Gated selective state space: out = W (scan(silu(conv(x))) * silu(z)) with x, z linear in the input.

    Source: Gu and Dao 2023 (Mamba), Fig. 3, Algorithm 2.

    Differs from the paper: the scan walks the positions one by one, for all sequences at once, in place of
    the fused GPU kernel; the state has 8 numbers per channel, not 16.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        inner, rank = EXPANSION * width, math.ceil(width / 16)
        self._split = [rank, STATE_SIZE, STATE_SIZE]
        self.project_in = nn.Linear(width, 2 * inner, bias=False)
        self.convolution = nn.Parameter(torch.empty(KERNEL_SIZE, inner).uniform_(-0.5, 0.5))
        self.convolution_bias = nn.Parameter(torch.zeros(inner))
        self.project_parameters = nn.Linear(inner, sum(self._split), bias=False)
        self.project_step = nn.Linear(rank, inner)
        steps = torch.exp(torch.rand(inner) * math.log(100.0) + math.log(1e-3))  # in [.001, .1], Sec. 3.6
        with torch.no_grad():
            self.project_step.bias.copy_(steps + torch.log(-torch.expm1(-steps)))  # softplus gives the steps
        self.log_decay = nn.Parameter(torch.arange(1.0, STATE_SIZE + 1).log().repeat(inner, 1))
        self.skip = nn.Parameter(torch.ones(inner))
        self.project_out = nn.Linear(inner, width, bias=False)

    def forward(self, elements: Tensor, history: Ragged) -> Tensor:
        """[T, D] to [T, D], T >= 1."""
        x, z = self.project_in(elements).chunk(2, dim=1)
        shifted = (history.shift(x, offset) * weight for offset, weight in enumerate(self.convolution))
        x = functional.silu(sum(shifted, self.convolution_bias))
        step, b, c = torch.split(self.project_parameters(x), self._split, dim=1)
        step = functional.softplus(self.project_step(step))
        y = selective_scan(x, step, -self.log_decay.exp(), b, c, history) + self.skip * x
        out: Tensor = self.project_out(y * functional.silu(z))
        return out


def selective_scan(x: Tensor, step: Tensor, decay: Tensor, b: Tensor, c: Tensor, history: Ragged) -> Tensor:
    """h_t = exp(step_t decay) h_{t-1} + step_t x_t b_t, y_t = h_t . c_t, with h = 0 before each sequence.

    Source: Gu and Dao 2023 (Mamba), Eq. (2), (4), with the simplified step of b.

    Args:
        x, step: Shape [T, D]; step > 0.
        decay: Negative, shape [D, N].
        b, c: Shape [T, N].
        history: Which elements belong together.

    Returns:
        y, shape [T, D].
    """
    order, inverse, batch_sizes = history.time_major
    columns = (torch.split(column.index_select(0, order), batch_sizes) for column in (x, step, b, c))
    h = x.new_zeros(batch_sizes[0], *decay.shape)
    outputs = []
    for x_t, step_t, b_t, c_t in zip(*columns, strict=True):
        h = h[: len(x_t)] * torch.exp(step_t.unsqueeze(2) * decay) + (step_t * x_t).unsqueeze(
            2
        ) * b_t.unsqueeze(1)
        outputs.append(torch.bmm(h, c_t.unsqueeze(2)).squeeze(2))
    return torch.cat(outputs).index_select(0, inverse)
