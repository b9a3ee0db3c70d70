"""A Mamba block (Gu and Dao 2023) in plain PyTorch, on sequences without padding."""

import math
from typing import Any

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

    Differs from the paper: the scan walks the positions for all sequences at once, in place of the fused GPU
    kernel; the state has 8 numbers per channel, not 16.
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
    added, step, b, c = (column.index_select(0, order) for column in (step * x, step, b, c))
    y: Tensor = _Scan.apply(added, step, decay.t().contiguous(), b, c, batch_sizes)  # type: ignore[no-untyped-call]
    return y.index_select(0, inverse)


class _Scan(torch.autograd.Function):
    """`selective_scan` of time-major columns, with the backward pass written out.

    Only the states are kept, [T, N, D] with the long axis last; all else is computed one position at a time
    and stays in the cache. What autograd would record of the loop costs several times the arithmetic.
    """

    @staticmethod
    def forward(
        ctx: Any, added: Tensor, step: Tensor, decay: Tensor, b: Tensor, c: Tensor, batch_sizes: list[int]
    ) -> Tensor:
        states = added.new_empty(len(added), *decay.shape)
        columns = (torch.split(column, batch_sizes) for column in (states, added, step, b))
        before = None
        for now, added_t, step_t, b_t in zip(*columns, strict=True):
            torch.mul(b_t.unsqueeze(2), added_t.unsqueeze(1), out=now)
            if before is not None:
                now.addcmul_(torch.exp(step_t.unsqueeze(1) * decay), before[: len(now)])
            before = now
        ctx.save_for_backward(added, step, decay, b, c, states)
        ctx.batch_sizes = batch_sizes
        return torch.bmm(c.unsqueeze(1), states).squeeze(1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        added, step, decay, b, c, states = ctx.saved_tensors
        to_added, to_b = torch.empty_like(added), torch.empty_like(b)
        to_step, to_decay = torch.zeros_like(step), torch.zeros_like(decay)
        to_c = torch.bmm(states, gradients[0].unsqueeze(2)).squeeze(2)
        split = [
            torch.split(column, ctx.batch_sizes)
            for column in (gradients[0], added, step, b, c, states, to_added, to_b, to_step)
        ]
        carried = states[:0]  # the gradient that comes to h_t from h_{t+1}
        for t in range(len(ctx.batch_sizes) - 1, -1, -1):
            to_y, added_t, step_t, b_t, c_t, _, to_added_t, to_b_t, to_step_t = (part[t] for part in split)
            to_state = c_t.unsqueeze(2) * to_y.unsqueeze(1)
            to_state[: len(carried)] += carried
            to_added_t.unsqueeze(1).copy_(torch.bmm(b_t.unsqueeze(1), to_state))
            to_b_t.unsqueeze(2).copy_(torch.bmm(to_state, added_t.unsqueeze(2)))
            if t > 0:
                carried = to_state.mul_(torch.exp(step_t.unsqueeze(1) * decay))
                to_exponent = carried * split[5][t - 1][: len(carried)]
                torch.sum(to_exponent * decay, dim=1, out=to_step_t)
                to_decay += (to_exponent * step_t.unsqueeze(1)).sum(dim=0)
        return to_added, to_step, to_decay, to_b, to_c, None
