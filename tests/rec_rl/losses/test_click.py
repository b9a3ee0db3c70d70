import pytest
import torch

from rec_rl.losses.click import aligned_click_loss, alignment_loss, click_loss, normalised_difference

LOGITS = torch.tensor([0.0, 1.0, -2.0])
CLICKS = torch.tensor([1, 0, 1])


def test_click_loss_by_hand():
    # log 2, log(1 + e), log(1 + e^2)
    torch.testing.assert_close(click_loss(LOGITS, CLICKS), torch.tensor([0.693147, 1.313262, 2.126928]))


def test_alignment_loss_by_hand():
    rewards = torch.tensor([[1.0, 3.0], [0.5, -0.5], [2.0, 2.0]])
    # -(3 * .5 + 1 * .5), -(-.5 * .731059 + .5 * .268941), -2
    torch.testing.assert_close(alignment_loss(LOGITS, rewards), torch.tensor([-2.0, 0.231059, -2.0]))


def test_alignment_loss_teaches_the_difference_alone():
    rewards = torch.tensor([[1.0, 3.0], [0.5, -0.5], [2.0, 2.0]], requires_grad=True)
    gradients = []
    for shifted in (rewards, rewards + 10):
        logits = LOGITS.clone().requires_grad_()
        alignment_loss(logits, shifted).sum().backward()
        gradients.append(logits.grad)
    # -(r(click) - r(skip)) F (1 - F) = -2 * .25, 1 * .196612, 0
    torch.testing.assert_close(gradients[0], torch.tensor([-0.5, 0.196612, 0.0]))
    torch.testing.assert_close(gradients[1], gradients[0])
    assert rewards.grad is None


def test_normalised_difference_is_scaled_clipped_and_not_centred():
    rewards = torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.0, 8.0]], requires_grad=True)
    difference = normalised_difference(rewards, 2.0)
    torch.testing.assert_close(difference, torch.tensor([0.5, -0.5, 3.0]))
    assert not difference.requires_grad


def test_aligned_click_loss_by_hand():
    loss = aligned_click_loss(LOGITS, CLICKS, torch.tensor([1.0, -1.0, 3.0]), 0.5)
    # .693147 - .5 * .5, 1.313262 + .5 * .731059, 2.126928 - 1.5 * .119203
    torch.testing.assert_close(loss, torch.tensor([0.443147, 1.678791, 1.948124]))


def test_aligned_click_loss_with_kappa_zero_is_the_cross_entropy_bit_for_bit():
    logits = torch.randn(1000, generator=torch.Generator().manual_seed(0), requires_grad=True)
    clicks = (torch.rand(1000, generator=torch.Generator().manual_seed(1)) < 0.4).long()
    difference = torch.randn(1000, generator=torch.Generator().manual_seed(2))
    plain, aligned = click_loss(logits, clicks), aligned_click_loss(logits, clicks, difference, 0.0)
    assert torch.equal(plain, aligned)
    (plain_gradient,) = torch.autograd.grad(plain.mean(), logits)
    (aligned_gradient,) = torch.autograd.grad(aligned.mean(), logits)
    assert torch.equal(plain_gradient, aligned_gradient)


def test_click_losses_refuse_what_they_cannot_mean():
    with pytest.raises(ValueError, match=r"\(3,\), \(3, 1\)"):
        click_loss(LOGITS, CLICKS[:, None])
    with pytest.raises(ValueError, match=r"rewards \[B, 2\]"):
        alignment_loss(LOGITS, torch.zeros(3))
    with pytest.raises(ValueError, match="scale must be > 0, got 0"):
        normalised_difference(torch.zeros(3, 2), 0.0)
    with pytest.raises(ValueError, match="kappa must be >= 0, got -1"):
        aligned_click_loss(LOGITS, CLICKS, torch.zeros(3), -1)
