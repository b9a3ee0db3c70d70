"""Losses of the offline algorithms: values by hand, gradients, limits, refusals."""

import pytest
import torch

from rec_rl.losses.policy import advantage_weighted_loss, q_and_imitation_loss, variational_loss
from rec_rl.losses.value import noise_regression_loss, soft_clipped_value, td_target


def test_td_target_by_hand_and_without_gradient():
    next_value = torch.tensor([10.0, -4.0], requires_grad=True)
    target = td_target(torch.tensor([1.0, 2.0]), next_value, 0.5)
    torch.testing.assert_close(target, torch.tensor([6.0, 0.0]))
    assert not target.requires_grad
    with pytest.raises(ValueError, match="shapes must be equal"):
        td_target(torch.zeros(2), torch.zeros(2, 1), 0.5)


def test_soft_clipped_value_by_hand():
    q = torch.tensor([[1.0, 8.0], [5.0, 0.0]])
    # 3/4 * 1 + 1/4 * 5 and 3/4 * 0 + 1/4 * 8
    torch.testing.assert_close(soft_clipped_value(q, 0.75), torch.tensor([2.0, 2.0]))
    torch.testing.assert_close(soft_clipped_value(q, 1.0), torch.tensor([1.0, 0.0]))
    with pytest.raises(ValueError, match=r"min_weight must be in \[0, 1\], got 2"):
        soft_clipped_value(q, 2)


def test_noise_regression_loss_by_hand():
    weights = torch.tensor([[1.0, 2.0], [0.5, 0.0]], requires_grad=True)
    noise = torch.tensor([[3.0, -1.0], [2.0, 5.0]], requires_grad=True)
    advantage = torch.tensor([4.0, 1.0], requires_grad=True)
    loss = noise_regression_loss(weights, noise, advantage)
    # predictions 1 and 1: (4 - 1)^2 / 2 and 0
    torch.testing.assert_close(loss, torch.tensor([4.5, 0.0]))
    loss.sum().backward()
    # -(4 - 1) * noise
    torch.testing.assert_close(weights.grad, torch.tensor([[-9.0, 3.0], [0.0, 0.0]]))
    assert noise.grad is None
    assert advantage.grad is None


def test_noise_regression_recovers_the_gradient_of_the_advantage():
    rng = torch.Generator().manual_seed(0)
    noise = torch.randn(20_000, 2, generator=rng)
    advantage = noise @ torch.tensor([0.5, -1.0]) + torch.randn(20_000, generator=rng)
    weights = torch.zeros(2, requires_grad=True)
    noise_regression_loss(weights.expand(20_000, 2), noise, advantage).mean().backward()
    torch.testing.assert_close(-weights.grad, torch.tensor([0.5, -1.0]), atol=0.05, rtol=0)


def test_noise_regression_loss_refuses_what_would_broadcast():
    with pytest.raises(ValueError, match="shapes must be equal"):
        noise_regression_loss(torch.zeros(3, 2), torch.zeros(3, 2), torch.zeros(3, 1))
    with pytest.raises(ValueError, match="shapes must be equal"):
        noise_regression_loss(torch.zeros(2), torch.zeros(3, 2), torch.zeros(3))


def test_q_and_imitation_loss_by_hand():
    action = torch.tensor([[0.5, 0.0], [1.0, 1.0]], requires_grad=True)
    logged = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    q = torch.tensor([3.0, -1.0], requires_grad=True)
    loss = q_and_imitation_loss(q, action, logged, bc_alpha=4.0, mean_abs_q=torch.tensor(2.0))
    # -2 * 3 + (.25 + 1) / 2 and 2 + 1 / 2
    torch.testing.assert_close(loss, torch.tensor([-5.375, 2.5]))
    loss.sum().backward()
    torch.testing.assert_close(q.grad, torch.tensor([-2.0, -2.0]))
    torch.testing.assert_close(action.grad, action.detach() - logged)


def test_without_q_the_td3_bc_actor_imitates():
    action, logged = torch.rand(3, 2), torch.rand(3, 2)
    loss = q_and_imitation_loss(torch.rand(3), action, logged, bc_alpha=0.0, mean_abs_q=torch.tensor(1.0))
    torch.testing.assert_close(loss, (action - logged).square().mean(-1))
    with pytest.raises(ValueError, match="must have shape"):
        q_and_imitation_loss(torch.rand(3, 1), action, logged, bc_alpha=1.0, mean_abs_q=torch.tensor(1.0))


def test_advantage_weighted_loss_by_hand():
    logp = torch.tensor([-1.0, -2.0, -3.0], requires_grad=True)
    advantage = torch.tensor([0.0, 0.6931472, 50.0], requires_grad=True)
    loss = advantage_weighted_loss(logp, advantage, beta=1.0, max_weight=10.0)
    # weights 1, 2 and, bounded, 10
    torch.testing.assert_close(loss, torch.tensor([1.0, 4.0, 30.0]))
    loss.sum().backward()
    torch.testing.assert_close(logp.grad, torch.tensor([-1.0, -2.0, -10.0]))
    assert advantage.grad is None


def test_without_temperature_the_iql_actor_imitates():
    logp = torch.tensor([-1.0, -2.0])
    torch.testing.assert_close(advantage_weighted_loss(logp, torch.tensor([5.0, -5.0]), beta=0.0), -logp)
    with pytest.raises(ValueError, match="must share a shape"):
        advantage_weighted_loss(logp, torch.zeros(2, 1), beta=0.0)


def test_variational_loss_by_hand():
    action, reconstruction = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 0.0]])
    mean, log_std = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 0.0]])
    # error (1 + 0) / 2; the latents are 4 / 2 and 0 from N(0, 1), half their mean is 1 / 2
    torch.testing.assert_close(
        variational_loss(reconstruction, action, mean, log_std), torch.tensor([0.5 + 0.5 * 1.0])
    )
    standard = variational_loss(action, action, torch.zeros(1, 2), torch.zeros(1, 2))
    torch.testing.assert_close(standard, torch.zeros(1))
    with pytest.raises(ValueError, match="must share"):
        variational_loss(reconstruction, torch.zeros(1, 3), mean, log_std)
