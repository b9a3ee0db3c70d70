"""Networks shared by the algorithms."""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

_MINUS_ONE = torch.tensor(-1.0)
_ROWS_IN_CACHE = 1024
"""Of layers that are hundreds wide."""


class MLP(nn.Sequential):
    """Linear layers with a ReLU or tanh between them and none at the end.

    Where gradients are recorded, all layers are one node of the graph: a small network costs as much in nodes
    as in products. The function is that of the layers one by one.

    Args:
        sizes: Layer widths, input to output.
        activation: nn.ReLU or nn.Tanh.
    """

    def __init__(self, sizes: Sequence[int], activation: type[nn.Module] = nn.ReLU) -> None:
        layers: list[nn.Module] = []
        for fan_in, fan_out in pairwise(sizes[:-1]):
            layers += [nn.Linear(fan_in, fan_out), activation()]
        super().__init__(*layers, nn.Linear(sizes[-2], sizes[-1]))
        self._tanh = activation is nn.Tanh
        self._linear = tuple(layer for layer in self if isinstance(layer, nn.Linear))

    def forward(self, x: Tensor) -> Tensor:
        """[..., sizes[0]] to [..., sizes[-1]]."""
        rows = x.reshape(-1, x.shape[-1])
        if torch.is_grad_enabled():
            out: Tensor = _Layers.apply(rows, self._tanh, *self._parts())  # type: ignore[no-untyped-call]
        else:
            for layer in self._linear[:-1]:
                rows = _hidden(rows, layer.weight, layer.bias, self._tanh)
            out = self._linear[-1](rows)
        return out.reshape(*x.shape[:-1], -1)

    def of_each(self, shared: Tensor, own: Tensor) -> Tensor:
        """The output for N inputs that share their first part, which passes the first layer once.

        Args:
            shared: Shape [B, S].
            own: Shape [B, N, sizes[0] - S].

        Returns:
            Shape [B, N, sizes[-1]].
        """
        first, *following = self._linear
        of_shared, of_own = torch.split(first.weight, [shared.shape[-1], own.shape[-1]], dim=1)
        rows = (own @ of_own.t()).add_(torch.addmm(first.bias, shared, of_shared.t())[:, None])
        for layer in following:
            rows = layer(rows.tanh_() if self._tanh else rows.relu_())
        return rows

    def forward_with_inputs(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The output without a graph, [B, sizes[0]] to [B, sizes[-1]], and each layer's input."""
        return _forward(x, self._tanh, self._parts())

    def write_gradients(self, inputs: list[Tensor], of_out: Tensor, into: Sequence[Tensor]) -> None:
        """Writes the gradient of every parameter.

        Args:
            inputs: As `forward_with_inputs` gave them.
            of_out: Gradient of the output, [B, sizes[-1]].
            into: A tensor for each parameter, in the order of ``parameters()``.
        """
        _backward(of_out, inputs, [layer.weight for layer in self._linear], self._tanh, into)

    def _parts(self) -> list[Tensor]:
        return [part for layer in self._linear for part in (layer.weight, layer.bias)]


def _hidden(x: Tensor, weight: Tensor, bias: Tensor, tanh: bool) -> Tensor:
    """A layer's output. tanh(x) is 2 sigmoid(2x) - 1, equal within 2e-7 and less than half as long."""
    if not tanh:
        return torch.addmm(bias, x, weight.t()).relu_()
    twice = torch.addmm(bias, x, weight.t(), beta=2, alpha=2)
    return torch.add(_MINUS_ONE, twice.sigmoid_(), alpha=2, out=twice)


def _forward(x: Tensor, tanh: bool, parameters: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
    weights, biases = parameters[::2], parameters[1::2]
    inputs = [x]
    for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
        inputs.append(_hidden(inputs[-1], weight, bias, tanh))
    return torch.addmm(biases[-1], inputs[-1], weights[-1].t()), inputs


def _backward(
    gradient: Tensor, inputs: Sequence[Tensor], weights: Sequence[Tensor], tanh: bool, into: Sequence[Tensor]
) -> Tensor:
    """Writes the gradient of every parameter; returns that of the first layer's output."""
    for layer in range(len(inputs) - 1, -1, -1):
        torch.mm(gradient.t(), inputs[layer], out=into[2 * layer])
        torch.sum(gradient, 0, out=into[2 * layer + 1])
        if layer == 0:
            break
        gradient = gradient @ weights[layer]
        if tanh:
            gradient = torch.ops.aten.tanh_backward(gradient, inputs[layer])
        else:
            _of_relu(gradient, inputs[layer])
    return gradient


def _of_relu(gradient: Tensor, out: Tensor) -> None:
    """Makes the gradient of ``out`` = relu(x) that of x, in place."""
    torch.ops.aten.threshold_backward.grad_input(gradient, out, 0, grad_input=gradient)


class _Layers(torch.autograd.Function):
    """The layers of an `MLP`; parameters are weight [out, in] and bias [out] in turn.

    On a CPU some rows go through all layers before the next do, so that they stay in its cache.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, tanh: bool, *parameters: Tensor) -> Tensor:
        rows = max(1, len(x)) if x.is_cuda else _ROWS_IN_CACHE
        outs, inputs = zip(*(_forward(part, tanh, parameters) for part in torch.split(x, rows)), strict=True)
        ctx.save_for_backward(*parameters[::2], *(entered for part in inputs for entered in part))
        ctx.tanh, ctx.num_layers, ctx.rows = tanh, len(parameters) // 2, rows
        return torch.cat(outs)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        depth = ctx.num_layers
        weights, saved = ctx.saved_tensors[:depth], ctx.saved_tensors[depth:]
        of_x: list[Tensor] = []
        of_parameters: list[Tensor] = []
        for i, of_out in enumerate(torch.split(gradients[0], ctx.rows)):
            these = [part for w in weights for part in (w.new_empty(w.shape), w.new_empty(len(w)))]
            of_first = _backward(of_out, saved[i * depth : (i + 1) * depth], weights, ctx.tanh, these)
            if ctx.needs_input_grad[0]:
                of_x.append(of_first @ weights[0])
            if of_parameters:
                torch._foreach_add_(of_parameters, these)
            else:
                of_parameters = these
        return torch.cat(of_x) if of_x else None, None, *of_parameters


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

    def forward(self, *parts: Tensor) -> Tensor:
        """Parts of the input, side by side sizes[0] wide, [B, ...] -> [E, B, sizes[-1]].

        They are multiplied apart, so that the gradient of one, an action, costs nothing for the others.
        """
        (weight, bias), *layers = zip(self.weights, self.biases, strict=True)
        slices = weight.split([part.shape[1] for part in parts], dim=1)
        inputs = [part.expand(len(weight), *part.shape) for part in parts]
        hidden = torch.baddbmm(bias, inputs[0], slices[0])
        for part, its_weight in zip(inputs[1:], slices[1:], strict=True):
            hidden = hidden.baddbmm_(part, its_weight)
        for weight, bias in layers:
            hidden = _affine(torch.relu_(hidden), weight, bias)
        return hidden

    def of_each(self, shared: Tensor, own: Tensor) -> Tensor:
        """As `MLP.of_each`; [B, S] and [B, N, sizes[0] - S] -> [E, B, N, sizes[-1]]."""
        (weight, bias), *layers = zip(self.weights, self.biases, strict=True)
        of_shared, of_own = torch.split(weight, [shared.shape[-1], own.shape[-1]], dim=1)
        of_both = torch.baddbmm(bias, shared.expand(len(weight), *shared.shape), of_shared)
        rows = own.flatten(0, 1)
        hidden = torch.bmm(rows.expand(len(weight), *rows.shape), of_own)
        hidden = hidden.view(len(weight), *own.shape[:2], -1).add_(of_both[:, :, None]).flatten(1, 2)
        for weight, bias in layers:
            hidden = _affine(torch.relu_(hidden), weight, bias)
        return hidden.reshape(len(self.weights[0]), *own.shape[:2], -1)

    def forward_with_inputs(self, x: Tensor) -> tuple[Tensor, list[list[Tensor]]]:
        """The output without a graph, [B, sizes[0]] to [E, B] for sizes[-1] = 1, and what entered each layer.

        Member by member: what one of them works on stays in a core's cache.
        """
        outputs, inputs = [], []
        for weights, biases in zip(_by_member(self.weights), _by_member(self.biases), strict=True):
            entered = [x]
            for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
                entered.append(torch.addmm(bias, entered[-1], weight).relu_())
            outputs.append(torch.addmm(biases[-1], entered[-1], weights[-1]).squeeze(-1))
            inputs.append(entered)
        return torch.stack(outputs), inputs

    def write_gradients(self, inputs: list[list[Tensor]], of_out: Tensor, into: Sequence[Tensor]) -> None:
        """Writes the gradient of every parameter.

        Args:
            inputs: By member, as `forward_with_inputs` gave them.
            of_out: Gradient of the output, [E, B].
            into: A tensor for each parameter, in the order of ``parameters()``.
        """
        half = len(self.weights)
        of_weights, of_biases = _by_member(into[:half]), _by_member(into[half:])
        for member, (entered, weights) in enumerate(zip(inputs, _by_member(self.weights), strict=True)):
            gradients = _gradients_of_layers(entered[1:], weights, of_out[member])
            for x, gradient, of_weight, of_bias in zip(
                entered, gradients, of_weights[member], of_biases[member], strict=True
            ):
                torch.mm(x.t(), gradient, out=of_weight)
                torch.sum(gradient, 0, keepdim=True, out=of_bias)

    def input_gradient(self, inputs: list[list[Tensor]], which: Tensor, columns: slice) -> Tensor:
        """The gradient of each row's output, of one member, by some columns of the input: [B, their number].

        Args:
            inputs: By member, as `forward_with_inputs` gave them.
            which: The member whose output is meant, shape [B].
            columns: Which columns.
        """
        gradient = inputs[0][0][:, columns].clone()
        for member, (entered, weights) in enumerate(zip(inputs, _by_member(self.weights), strict=True)):
            (rows,) = torch.nonzero(which == member, as_tuple=True)
            hidden = [x[rows] for x in entered[1:]]
            of_first = _gradients_of_layers(hidden, weights, torch.ones_like(rows, dtype=gradient.dtype))[0]
            gradient[rows] = of_first @ weights[0][columns].t()
        return gradient


def _by_member(parameters: Iterable[Tensor]) -> list[tuple[Tensor, ...]]:
    """[[E, ...] per layer] to E tuples of all layers."""
    return list(zip(*(parameter.unbind() for parameter in parameters), strict=True))


def _gradients_of_layers(hidden: list[Tensor], weights: Sequence[Tensor], of_out: Tensor) -> list[Tensor]:
    """The gradient of each layer's output, from that of the last, [B]."""
    gradients = [of_out.unsqueeze(-1)]
    for x, weight in zip(hidden[::-1], weights[:0:-1], strict=True):
        gradients.append(gradients[-1] @ weight.t())
        _of_relu(gradients[-1], x)
    return gradients[::-1]


def _affine(hidden: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """hidden @ weight + bias by member, [E, B, H] -> [E, B, K]."""
    if weight.shape[-1] > 1:
        return torch.baddbmm(bias, hidden, weight)
    # One column: a batched product is several times slower on a CPU than one product per member.
    columns = [member.mv(column) for member, column in zip(hidden, weight.squeeze(-1), strict=True)]
    return torch.stack(columns).unsqueeze(-1) + bias
