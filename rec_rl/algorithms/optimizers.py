"""Adam and the gradients that it is given, with few calls a step."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn


class FlatGradient:
    """The gradient of several parameters in one vector: its norm and its sum over learners take one call.

    Attributes:
        vector: All of it, shape [d].
        parts: Views of it in the shape of each parameter.
    """

    def __init__(self, params: Sequence[nn.Parameter]) -> None:
        sizes = [param.numel() for param in params]
        self.vector = torch.zeros(sum(sizes), device=params[0].device)
        pieces = zip(torch.split(self.vector, sizes), params, strict=True)
        self.parts = [piece.view_as(param) for piece, param in pieces]


class FusedAdam(torch.optim.Adam):
    """Adam with one kernel call per step.

    `step` of torch gathers its lists and enters its hooks anew each time, which costs as much as the gradient
    of a small network; `fused_step` keeps the lists. Both give the same parameters.
    """

    def __init__(self, params: Sequence[nn.Parameter], lr: float) -> None:
        super().__init__(params, lr=lr, fused=True)
        self._lists: tuple[list[Tensor], ...] | None = None
        self._count = torch.empty(0)

    def fused_step(self, grads: Sequence[Tensor], *, divisor: Tensor | None = None) -> None:
        """One step on ``grads``, in the order of the parameters, divided by a scalar where it is given."""
        if self._lists is None:
            self._lists = self._gather()
        params, first, second, counts = self._lists
        group = self.param_groups[0]
        beta1, beta2 = group["betas"]
        with torch.no_grad():
            self._count += 1
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
                grad_scale=divisor,
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
        self._count = torch.stack([self.state[param]["step"] for param in params])
        for param, count in zip(params, self._count, strict=True):
            self.state[param]["step"] = count  # a view, so that all are counted at once
        names = ("exp_avg", "exp_avg_sq", "step")
        return (params, *([self.state[p][name] for p in params] for name in names))
