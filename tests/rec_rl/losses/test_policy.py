import math

import pytest
import torch

from rec_rl.losses.policy import (
    gaussian_gradients,
    gaussian_log_prob,
    gaussian_log_prob_and_terms,
    ppo_clip_loss,
    sac_actor_loss,
    self_imitation_loss,
    squashed_gradients,
    squashed_sample,
    temperature_loss,
)


def test_gaussian_log_prob_equals_torchs():
    action, mean, log_std = torch.randn(5, 3), torch.randn(5, 3), torch.randn(3)
    expected = torch.distributions.Normal(mean, log_std.exp()).log_prob(action).sum(-1)
    torch.testing.assert_close(gaussian_log_prob(action, mean, log_std), expected)


@pytest.mark.parametrize("shape", [(3,), (5, 3)])
def test_gaussian_log_prob_has_the_gradient_of_torchs(shape: tuple[int, ...]):
    action, mean = torch.randn(2, 5, 3).requires_grad_()
    log_std, weight = torch.randn(shape, requires_grad=True), torch.randn(5)
    plain = torch.distributions.Normal(mean, log_std.exp()).log_prob(action).sum(-1)
    wanted = [action, mean, log_std]
    ours = torch.autograd.grad(gaussian_log_prob(*wanted), wanted, weight)
    for gradient, expected in zip(ours, torch.autograd.grad(plain, wanted, weight), strict=True):
        torch.testing.assert_close(gradient, expected, atol=1e-5, rtol=1e-6)


def test_gaussian_log_prob_refuses_shapes_that_would_broadcast():
    with pytest.raises(ValueError, match="must share a shape"):
        gaussian_log_prob(torch.zeros(5, 1), torch.zeros(5, 3), torch.zeros(3))


def test_squashed_sample_integrates_to_one():
    noise, mean, log_std = torch.linspace(-14, 14, 20_001)[:, None], torch.tensor(0.3), torch.tensor(-0.5)
    sample = squashed_sample(mean.expand_as(noise), log_std.expand_as(noise), noise)
    area = torch.trapezoid(sample.logp.exp(), sample.action[:, 0])
    assert area.item() == pytest.approx(1.0, abs=1e-3)


def test_squashed_sample_by_hand_and_far_out():
    sample = squashed_sample(torch.tensor([[0.5]]), torch.tensor([[math.log(2)]]), torch.tensor([[-1.0]]))
    # u = .5 - 2; log N = -log 2 - .5 - log(2 pi) / 2; tanh' = 1 - tanh(u)^2
    density = -math.log(2) - 0.5 - 0.5 * math.log(2 * math.pi) - math.log(1 - math.tanh(-1.5) ** 2)
    torch.testing.assert_close(sample.action, torch.tensor([[math.tanh(-1.5)]]))
    torch.testing.assert_close(sample.logp, torch.tensor([density]))
    far = torch.tensor([[40.0], [-40.0]])
    assert squashed_sample(far, torch.zeros_like(far), torch.zeros_like(far)).logp.isfinite().all()


def test_squashed_sample_refuses_shapes_that_would_broadcast():
    with pytest.raises(ValueError, match="share a shape"):
        squashed_sample(torch.zeros(2, 3), torch.zeros(3), torch.zeros(2, 3))


@pytest.mark.parametrize("of_logp", [torch.tensor(0.7), torch.randn(5)])
def test_squashed_gradients_are_those_of_the_graph(of_logp: torch.Tensor):
    mean, log_std = torch.randn(2, 5, 3).requires_grad_()
    sample = squashed_sample(mean, log_std, torch.randn(5, 3))
    of_action = torch.randn(5, 3)
    loss = (of_action * sample.action).sum() + (of_logp * sample.logp).sum()
    ours = squashed_gradients(sample, of_action, of_logp)
    for gradient, expected in zip(ours, torch.autograd.grad(loss, [mean, log_std]), strict=True):
        torch.testing.assert_close(gradient, expected, atol=1e-5, rtol=1e-5)


def test_gaussian_gradients_are_those_of_the_graph():
    action, mean, slope = torch.randn(5, 3), torch.randn(5, 3, requires_grad=True), torch.randn(5)
    log_std = torch.randn(3, requires_grad=True)
    expected = torch.autograd.grad(gaussian_log_prob(action, mean, log_std), [mean, log_std], slope)
    logp, terms = gaussian_log_prob_and_terms(action, mean.detach(), log_std.detach())
    torch.testing.assert_close(logp, gaussian_log_prob(action, mean, log_std))
    torch.testing.assert_close(gaussian_gradients(slope, terms), expected)


def test_ppo_clip_loss_by_hand():
    logp = torch.log(torch.tensor([1.5, 1.5, 0.5, 1.1]))
    advantage = torch.tensor([2.0, -2.0, 2.0, 1.0])
    loss, slope = ppo_clip_loss(logp, torch.zeros(4), advantage, 0.2)
    # ratio 1.5 pays at most 1.2 where it helps; a loss is never clipped away; inside the interval nothing is
    torch.testing.assert_close(loss, -torch.tensor([2.4, -3.0, 1.0, 1.1]))
    torch.testing.assert_close(slope, -torch.tensor([0.0, -3.0, 1.0, 1.1]))  # ends where clipped


def test_ppo_clip_loss_equals_its_formula_and_gradient():
    logp, logp_old, advantage = torch.randn(3, 200)
    logp = (0.3 * logp).requires_grad_()
    ratio = torch.exp(logp - 0.3 * logp_old)
    printed = -torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage)
    loss, slope = ppo_clip_loss(logp.detach(), 0.3 * logp_old, advantage, 0.2)
    torch.testing.assert_close(loss, printed.detach(), atol=1e-6, rtol=0)
    torch.testing.assert_close(slope, torch.autograd.grad(printed.sum(), logp)[0], atol=1e-6, rtol=0)


def test_ppo_clip_loss_refuses_other_shapes():
    with pytest.raises(ValueError, match="share a shape"):
        ppo_clip_loss(torch.zeros(2), torch.zeros(2), torch.zeros(2, 1), 0.2)


def test_self_imitation_loss_weighs_the_better_half():
    logp, score = torch.tensor([-1.0, -2.0, -3.0]), torch.tensor([1.0, 0.5, 0.0])
    loss, slope = self_imitation_loss(logp, score, score.mean())  # mean .5: weights .5, 0, 0
    torch.testing.assert_close(loss, torch.tensor([0.5, 0.0, 0.0]))
    torch.testing.assert_close(slope, torch.tensor([-0.5, 0.0, 0.0]))


def test_self_imitation_loss_of_equal_scores_is_nothing():
    score = torch.full((4,), 0.7)
    assert self_imitation_loss(torch.randn(4), score, score.mean())[0].abs().max() == 0


def test_sac_actor_loss_by_hand_and_no_gradient_into_alpha():
    alpha = torch.tensor(0.2, requires_grad=True)
    logp = torch.tensor([1.0, -1.0], requires_grad=True)
    loss = sac_actor_loss(logp, torch.tensor([3.0, 4.0]), alpha)
    torch.testing.assert_close(loss, torch.tensor([-2.8, -4.2]))
    loss.sum().backward()
    assert alpha.grad is None
    torch.testing.assert_close(logp.grad, torch.tensor([0.2, 0.2]))


def test_temperature_loss_falls_by_raising_alpha_while_entropy_is_too_low():
    log_alpha = torch.tensor(math.log(0.5), requires_grad=True)
    loss = temperature_loss(log_alpha, torch.tensor([4.0]), target_entropy=-1.0)  # entropy -4 < -1
    torch.testing.assert_close(loss, torch.tensor([-1.5]))  # -.5 (4 - 1)
    loss.sum().backward()
    torch.testing.assert_close(log_alpha.grad, torch.tensor(-1.5))
