import pytest
import torch

from rec_rl.losses.value import expectile_loss


def test_expectile_loss_by_hand():
    loss = expectile_loss(torch.tensor([1.0, 1.0]), torch.tensor([3.0, -1.0]), 0.7)
    # u = 2: .7 * 4; u = -2: .3 * 4
    torch.testing.assert_close(loss, torch.tensor([2.8, 1.2]))


def test_expectile_of_one_half_is_half_the_squared_error():
    prediction, target = torch.tensor([0.3, -2.0]), torch.tensor([1.0, 4.0])
    torch.testing.assert_close(expectile_loss(prediction, target, 0.5), 0.5 * (target - prediction) ** 2)


def test_expectile_loss_pulls_up_harder_than_down_and_leaves_the_target():
    prediction = torch.tensor([0.0, 0.0], requires_grad=True)
    target = torch.tensor([1.0, -1.0], requires_grad=True)
    expectile_loss(prediction, target, 0.9).sum().backward()
    torch.testing.assert_close(prediction.grad, torch.tensor([-1.8, 0.2]))
    assert target.grad is None


def test_expectile_loss_is_least_at_the_expectile():
    target = torch.tensor([0.0, 1.0])
    grid = torch.linspace(0, 1, 1001)
    total = torch.stack([expectile_loss(v.expand(2), target, 0.8).sum() for v in grid])
    # .8 (1 - v) = .2 v at v = .8
    assert grid[total.argmin()] == pytest.approx(0.8)


def test_expectile_loss_refuses_a_column_and_a_certainty():
    with pytest.raises(ValueError, match="shapes must be equal"):
        expectile_loss(torch.zeros(2), torch.zeros(2, 1), 0.7)
    with pytest.raises(ValueError, match=r"expectile must be in \(0, 1\), got 1"):
        expectile_loss(torch.zeros(2), torch.zeros(2), 1.0)
