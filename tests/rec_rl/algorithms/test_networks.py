from copy import deepcopy

import numpy as np
import pytest
import torch
from torch import nn

from rec_rl.algorithms.networks import MLP, EnsembleMLP, UnitScale
from rec_rl.algorithms.optimizers import FlatGradient, FusedAdam


def test_ensemble_equals_its_members():
    ensemble = EnsembleMLP(2, [5, 7, 3])
    x = torch.randn(4, 5)
    for member, out in enumerate(ensemble(x)):
        hidden = torch.relu(x @ ensemble.weights[0][member] + ensemble.biases[0][member])
        expected = hidden @ ensemble.weights[1][member] + ensemble.biases[1][member]
        torch.testing.assert_close(out, expected)


@pytest.mark.parametrize("width", [1, 3])
def test_ensemble_on_parts_of_its_input_equals_products_one_by_one(width: int):
    ensemble = EnsembleMLP(2, [5, 7, 6, width])
    obs, action = torch.randn(4, 3), torch.randn(4, 2, requires_grad=True)

    def plain() -> torch.Tensor:
        hidden = torch.cat([obs, action], dim=1).expand(2, 4, 5)
        for layer, (weight, bias) in enumerate(zip(ensemble.weights, ensemble.biases, strict=True)):
            hidden = (torch.relu(hidden) if layer else hidden) @ weight + bias
        return hidden

    wanted = [action, *ensemble.parameters()]
    torch.testing.assert_close(ensemble(obs, action), plain(), atol=1e-6, rtol=0)
    ours = torch.autograd.grad(ensemble(obs, action).square().sum(), wanted)
    for gradient, expected in zip(ours, torch.autograd.grad(plain().square().sum(), wanted), strict=True):
        torch.testing.assert_close(gradient, expected, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("hidden", [[], [7], [7, 6]])
@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh])
def test_inputs_with_a_shared_part_give_what_whole_inputs_give(
    activation: type[nn.Module], hidden: list[int]
):
    shared, own = torch.randn(6, 3), torch.randn(6, 10, 2)
    whole = torch.cat([shared[:, None].expand(-1, 10, -1), own], dim=-1).flatten(0, 1)
    for network in (MLP([5, *hidden, 4], activation), EnsembleMLP(2, [5, *hidden, 1])):
        ours = network.of_each(shared, own)
        expected = network(whole).view_as(ours)
        torch.testing.assert_close(ours, expected)
        gradients = [torch.autograd.grad(out.sum(), list(network.parameters())) for out in (ours, expected)]
        for of_ours, of_expected in zip(*gradients, strict=True):
            torch.testing.assert_close(of_ours, of_expected, atol=1e-4, rtol=1e-4)


def test_ensembles_written_out_gradients_are_those_of_the_graph():
    ensemble, x, of_out = (
        EnsembleMLP(2, [5, 7, 6, 1]),
        torch.randn(9, 5, requires_grad=True),
        torch.randn(2, 9),
    )
    out = ensemble(x).squeeze(-1)
    params, which = list(ensemble.parameters()), torch.tensor([0, 1, 1, 0, 1, 0, 0, 0, 1])
    chosen = out.gather(0, which[None]).sum()
    with torch.no_grad():
        ours, inputs = ensemble.forward_with_inputs(x)
        gradient = FlatGradient(params)
        ensemble.write_gradients(inputs, of_out, gradient.parts)
        of_columns = ensemble.input_gradient(inputs, which, slice(2, None))
    torch.testing.assert_close(ours, out, atol=1e-6, rtol=0)
    torch.testing.assert_close(of_columns, torch.autograd.grad(chosen, x, retain_graph=True)[0][:, 2:])
    expected = torch.autograd.grad((out * of_out).sum(), params)
    for part, wanted in zip(gradient.parts, expected, strict=True):
        torch.testing.assert_close(part, wanted, atol=1e-6, rtol=1e-5)


def test_input_gradient_where_one_member_has_no_row():
    ensemble = EnsembleMLP(2, [2, 3, 1])
    with torch.no_grad():
        _, inputs = ensemble.forward_with_inputs(torch.ones(4, 2))
        assert ensemble.input_gradient(inputs, torch.zeros(4, dtype=torch.long), slice(0, 1)).shape == (4, 1)


@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh])
@pytest.mark.parametrize("batch", [(4,), (3, 4), (2500,)])  # the last in three parts
def test_mlp_as_one_node_equals_its_layers_one_by_one(activation: type[nn.Module], batch: tuple[int, ...]):
    network, x = MLP([5, 7, 6, 2], activation), torch.randn(*batch, 5, requires_grad=True)

    def plain() -> torch.Tensor:
        hidden = x
        for layer in network:
            hidden = layer(hidden)
        return hidden

    wanted = [x, *network.parameters()]
    torch.testing.assert_close(network(x), plain(), atol=1e-6, rtol=0)
    with torch.no_grad():
        exact = 0 if activation is nn.ReLU else 1e-6  # tanh goes by the sigmoid
        torch.testing.assert_close(network(x), plain(), atol=exact, rtol=0)
    ours = torch.autograd.grad(network(x).square().mean(), wanted)
    for gradient, expected in zip(ours, torch.autograd.grad(plain().square().mean(), wanted), strict=True):
        torch.testing.assert_close(gradient, expected, atol=1e-6, rtol=1e-6)


def test_mlp_with_tanh_holds_where_it_saturates():
    network = MLP([1, 1, 1], nn.Tanh)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.ones_like(parameter) * (parameter.ndim == 2))
        out = network(torch.tensor([[-100.0], [0.0], [0.5], [100.0]]))
    torch.testing.assert_close(out, torch.tanh(torch.tensor([[-100.0], [0.0], [0.5], [100.0]])))


def test_flat_gradient_shows_each_parameter_its_part():
    gradient = FlatGradient([nn.Parameter(torch.zeros(2, 3)), nn.Parameter(torch.zeros(2))])
    gradient.parts[0].copy_(torch.arange(6.0).view(2, 3))
    gradient.parts[1].fill_(7)
    torch.testing.assert_close(gradient.vector, torch.tensor([0.0, 1, 2, 3, 4, 5, 7, 7]))


def test_mlp_trains_on_after_it_was_copied():
    network = MLP([2, 3, 1])
    copied = deepcopy(network)
    (gradient,) = torch.autograd.grad(copied(torch.ones(1, 2)).sum(), [copied[-1].bias])
    torch.testing.assert_close(gradient, torch.ones(1))


def test_unit_scale_divides_by_finite_bounds_only():
    scale = UnitScale([2.0, np.inf, 0.0])
    torch.testing.assert_close(scale(torch.tensor([[1.0, 3.0, 4.0]])), torch.tensor([[0.5, 3.0, 4.0]]))


def twins() -> tuple[MLP, torch.optim.Adam, MLP, FusedAdam]:
    """A network with torch's Adam, and its equal with ours."""
    torch.manual_seed(0)
    plain = MLP([3, 4, 2])
    fused = deepcopy(plain)
    adam = torch.optim.Adam(plain.parameters(), lr=0.01)
    return plain, adam, fused, FusedAdam(list(fused.parameters()), lr=0.01)


def test_fused_step_equals_torchs_adam_and_survives_restoring():
    plain, adam, fused, ours = twins()
    for step in range(6):
        if step == 3:  # as a checkpoint would
            saved = ours.state_dict()
            ours = FusedAdam(list(fused.parameters()), lr=0.01)
            ours.load_state_dict(saved)
        x = torch.randn(8, 3)
        adam.zero_grad()
        plain(x).square().mean().backward()
        adam.step()
        ours.fused_step(torch.autograd.grad(fused(x).square().mean(), list(fused.parameters())))
    for a, b in zip(plain.parameters(), fused.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=0)


def test_fused_step_divides_gradients_as_clipping_does():
    plain, adam, fused, ours = twins()
    for _ in range(3):
        x = torch.randn(8, 3)
        adam.zero_grad()
        plain(x).square().mean().backward()
        norm = nn.utils.clip_grad_norm_(plain.parameters(), 0.1)
        assert norm > 0.1
        adam.step()
        grads = torch.autograd.grad(fused(x).square().mean(), list(fused.parameters()))
        ours.fused_step(grads, divisor=(norm + 1e-6) / 0.1)
    for a, b in zip(plain.parameters(), fused.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=0)


@pytest.mark.parametrize("sizes", [[3, 2], [3, 5, 5, 2]])
def test_mlp_has_no_activation_at_its_end(sizes: list[int]):
    assert isinstance(MLP(sizes)[-1], nn.Linear)
    assert MLP(sizes)(torch.zeros(1, 3)).shape == (1, 2)
