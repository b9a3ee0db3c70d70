"""Networks shared by the algorithms."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn


def mlp(sizes: Sequence[int], activation: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    """Linear layers of ``sizes`` with an activation between them and none at the end."""
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise(sizes[:-1]):
        layers += [nn.Linear(fan_in, fan_out), activation()]
    return nn.Sequential(*layers, nn.Linear(sizes[-2], sizes[-1]))


class UnitScale(nn.Module):
    """Divides each observation by its bound, so that pages of 100 and clicks of 10 enter as 1.

    Args:
        bound: Largest size of each entry, shape [d]; entries without a finite bound stay as they are.
    """

    scale: Tensor

    def __init__(self, bound: ArrayLike) -> None:
        super().__init__()
        bound = np.asarray(bound, dtype=np.float32)
        usable = np.isfinite(bound) & (bound > 0)
        self.register_buffer("scale", torch.from_numpy(1 / np.where(usable, bound, 1)).float())

    def forward(self, obs: Tensor) -> Tensor:
        return obs * self.scale


class EnsembleMLP(nn.Module):
    """``num_members`` MLPs of one shape, evaluated together: one batched product per layer.

    Args:
        num_members: E.
        sizes: Layer widths, input to output.
    """

    def __init__(self, num_members: int, sizes: Sequence[int]) -> None:
        super().__init__()
        self.weights = nn.ParameterList()
        self.biases = nn.ParameterList()
        for fan_in, fan_out in pairwise(sizes):
            bound = fan_in**-0.5  # as nn.Linear
            self.weights.append(
                nn.Parameter(torch.empty(num_members, fan_in, fan_out).uniform_(-bound, bound))
            )
            self.biases.append(nn.Parameter(torch.empty(num_members, 1, fan_out).uniform_(-bound, bound)))

    def forward(self, x: Tensor) -> Tensor:
        """[B, sizes[0]] -> [E, B, sizes[-1]]."""
        hidden = x.expand(len(self.weights[0]), *x.shape)
        last = len(self.weights) - 1
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            hidden = torch.baddbmm(bias, hidden, weight)
            if i < last:
                hidden = torch.relu(hidden)
        return hidden


class FusedAdam(torch.optim.Adam):
    """Adam with one kernel call per step.

    `step` of torch gathers its lists and enters its hooks anew each time, which costs as much as the gradient
    of a small network; `fused_step` keeps the lists. Both give the same parameters.
    """

    def __init__(self, params: Sequence[nn.Parameter], lr: float) -> None:
        super().__init__(params, lr=lr, fused=True)
        self._lists: tuple[list[Tensor], ...] | None = None

    def fused_step(self, grads: Sequence[Tensor]) -> None:
        """One step on ``grads``, in the order of the parameters."""
        if self._lists is None:
            self._lists = self._gather()
        params, first, second, counts = self._lists
        group = self.param_groups[0]
        beta1, beta2 = group["betas"]
        with torch.no_grad():
            torch._foreach_add_(counts, 1)
            torch._fused_adam_(
                params,
                list(grads),
                first,
                second,
                [],
                counts,
                lr=float(group["lr"]),
                beta1=beta1,
                beta2=beta2,
                weight_decay=0.0,
                eps=group["eps"],
                amsgrad=False,
                maximize=False,
            )

    def load_state_dict(self, state_dict: Any) -> None:
        """Takes over moments and counts; the rate stays its own, which a sweep may have changed."""
        rate = self.param_groups[0]["lr"]
        super().load_state_dict(state_dict)
        self.param_groups[0]["lr"] = rate
        self._lists = None

    def _gather(self) -> tuple[list[Tensor], ...]:
        params: list[Tensor] = self.param_groups[0]["params"]
        for param in params:
            if not self.state[param]:
                self.state[param] = {
                    "step": torch.zeros((), device=param.device),
                    "exp_avg": torch.zeros_like(param),
                    "exp_avg_sq": torch.zeros_like(param),
                }
        names = ("exp_avg", "exp_avg_sq", "step")
        return (params, *([self.state[p][name] for p in params] for name in names))
