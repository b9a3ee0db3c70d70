import numpy as np
import pytest
import torch
from torch import nn

from rec_rl.algorithms.networks import EnsembleMLP, FusedAdam, UnitScale, mlp


def test_ensemble_equals_its_members():
    ensemble = EnsembleMLP(2, [5, 7, 3])
    x = torch.randn(4, 5)
    for member, out in enumerate(ensemble(x)):
        hidden = torch.relu(x @ ensemble.weights[0][member] + ensemble.biases[0][member])
        expected = hidden @ ensemble.weights[1][member] + ensemble.biases[1][member]
        torch.testing.assert_close(out, expected)


def test_unit_scale_divides_by_finite_bounds_only():
    scale = UnitScale([2.0, np.inf, 0.0])
    torch.testing.assert_close(scale(torch.tensor([[1.0, 3.0, 4.0]])), torch.tensor([[0.5, 3.0, 4.0]]))


def test_fused_step_equals_torchs_adam_and_survives_restoring():
    torch.manual_seed(0)
    plain, fused = mlp([3, 4, 2]), mlp([3, 4, 2])
    fused.load_state_dict(plain.state_dict())
    adam = torch.optim.Adam(plain.parameters(), lr=0.01)
    ours = FusedAdam(list(fused.parameters()), lr=0.01)
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


@pytest.mark.parametrize("sizes", [[3, 2], [3, 5, 5, 2]])
def test_mlp_has_no_activation_at_its_end(sizes: list[int]):
    assert isinstance(mlp(sizes)[-1], nn.Linear)
    assert mlp(sizes)(torch.zeros(1, 3)).shape == (1, 2)
