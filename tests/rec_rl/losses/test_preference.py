import pytest
import torch

from rec_rl.losses.preference import bradley_terry_loss


def test_bradley_terry_loss_on_a_return_gap_of_two():
    reward_a = torch.tensor([[1.5, 0.5]] * 3)  # return 2
    reward_b = torch.tensor([[1.0, -1.0]] * 3)  # return 0
    label = torch.tensor([1.0, 0.0, 0.5])
    # -log sigmoid(2) = 0.126928; the flipped label adds the gap; a tie is their mean
    expected = torch.tensor([0.126928, 2.126928, 1.126928])
    torch.testing.assert_close(bradley_terry_loss(reward_a, reward_b, label), expected)


def test_bradley_terry_loss_moves_every_request_of_a_segment_alike():
    reward_a = torch.tensor([[0.5, 1.5]], requires_grad=True)
    reward_b = torch.tensor([[2.0, 0.0, 0.0]], requires_grad=True)
    bradley_terry_loss(reward_a, reward_b, torch.ones(1)).sum().backward()
    # equal returns: the gradient of -log sigmoid(gap) is -1/2
    torch.testing.assert_close(reward_a.grad, torch.full((1, 2), -0.5))
    torch.testing.assert_close(reward_b.grad, torch.full((1, 3), 0.5))


def test_bradley_terry_loss_of_a_certain_mistake_is_the_gap():
    loss = bradley_terry_loss(torch.tensor([[-500.0]]), torch.tensor([[500.0]]), torch.ones(1))
    assert loss.item() == pytest.approx(1000)


def test_bradley_terry_loss_of_a_tie_is_least_at_equal_returns():
    tie, zero = torch.tensor([0.5]), torch.zeros(1, 1)
    at = [bradley_terry_loss(torch.tensor([[gap]]), zero, tie).item() for gap in (-1.0, 0.0, 1.0)]
    assert at[1] == pytest.approx(0.693147)
    assert at[0] == pytest.approx(at[2])
    assert at[1] < at[0]


@pytest.mark.parametrize(
    "shapes", [((2, 3), (3, 3), (2,)), ((2,), (2,), (2,)), ((2, 3), (2, 3), (2, 1)), ((2, 3), (2, 3), (3,))]
)
def test_bradley_terry_loss_refuses_other_shapes(shapes: tuple[tuple[int, ...], ...]):
    with pytest.raises(ValueError, match=r"must have shape|label must"):
        bradley_terry_loss(*(torch.zeros(shape) for shape in shapes))
