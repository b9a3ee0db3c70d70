import math

import pytest
import torch
from torch import Tensor

from rec_rl.losses.inverse import (
    anchored_loss,
    at_action,
    feedback_loss,
    implied_reward,
    iq_learn_loss,
    non_crossing_quantiles,
    pinball_loss,
    qr_iql_loss,
    quantile_levels,
    soft_value,
)

# Row 0: click, stays. Row 1: click, leaves. Row 2: skip, stays.
Q = torch.tensor([[0.0, math.log(3)], [0.0, math.log(3)], [1.0, 0.0]], dtype=torch.float64)
Q_NEXT = torch.tensor([[0.0, 0.0], [5.0, 7.0], [2.0, 1.0]], dtype=torch.float64)
ACTIONS = torch.tensor([1, 1, 0])
TERMINATED = torch.tensor([False, True, False])


def random_batch(num_heads: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    heads, heads_next = torch.randn(2, 50, 2, num_heads, dtype=torch.float64, generator=generator)
    actions = torch.randint(2, (50,), generator=generator)
    terminated = torch.rand(50, generator=generator) < 0.2
    return heads, heads_next, actions, terminated


def minimise(parameters: list[Tensor], loss: object) -> None:
    optimizer = torch.optim.LBFGS(
        parameters, max_iter=500, tolerance_grad=1e-12, tolerance_change=1e-16, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss()
        value.backward()
        return value

    optimizer.step(closure)


def test_implied_reward_counts_the_next_value_only_where_the_user_stays():
    q_taken, v_next = torch.tensor([1.0, 1.0]), torch.tensor([2.0, 2.0])
    reward = implied_reward(q_taken, v_next, torch.tensor([False, True]), 0.9)
    torch.testing.assert_close(reward, torch.tensor([-0.8, 1.0]))


def test_implied_reward_refuses_shapes_that_would_broadcast_and_flags_that_are_numbers():
    with pytest.raises(ValueError, match=r"\(3,\), \(3, 1\)"):
        implied_reward(torch.zeros(3), torch.zeros(3, 1), TERMINATED, 0.9)
    with pytest.raises(ValueError, match="bool"):
        implied_reward(torch.zeros(3), torch.zeros(3), TERMINATED.float(), 0.9)


def test_iq_learn_loss_by_hand():
    loss = iq_learn_loss(Q, ACTIONS, Q_NEXT, TERMINATED, discount=0.5, iq_alpha=0.5)
    # log(4/3) + (log 3 - .5 log 2)^2 / 2 = .287682 + .282781
    # log(4/3) + (log 3)^2 / 2 = .287682 + .603474, whatever the next state
    # log(1 + e^-1) + (1 - .5 (2 + log(1 + e^-1)))^2 / 2 = .313262 + .012267
    expected = torch.tensor([0.570463, 0.891156, 0.325529], dtype=torch.float64)
    torch.testing.assert_close(loss, expected, atol=1e-6, rtol=0)


def test_iq_learn_loss_sends_gradients_through_both_states():
    q, q_next = Q.clone().requires_grad_(), Q_NEXT.clone().requires_grad_()
    iq_learn_loss(q, ACTIONS, q_next, TERMINATED, discount=0.5, iq_alpha=0.5).sum().backward()
    # Row 0: r = .752039. dQ(click) = 3/4 - 1 + r, dQ(skip) = 1/4, dQ'(.) = -.5 r softmax(0, 0)
    torch.testing.assert_close(q.grad[0], torch.tensor([0.25, 0.502039]).double(), atol=1e-6, rtol=0)
    torch.testing.assert_close(q_next.grad[0], torch.tensor([-0.188010] * 2).double(), atol=1e-6, rtol=0)
    assert q_next.grad[1].abs().sum() == 0  # the exit


def test_losses_refuse_other_shapes_and_alphas():
    with pytest.raises(ValueError, match=r"\[B, 2\]"):
        iq_learn_loss(Q, ACTIONS[:, None], Q_NEXT, TERMINATED, discount=0.5, iq_alpha=0.5)
    with pytest.raises(ValueError, match="iq_alpha must be > 0, got 0"):
        iq_learn_loss(Q, ACTIONS, Q_NEXT, TERMINATED, discount=0.5, iq_alpha=0)
    with pytest.raises(ValueError, match=r"\[B, 2, N\]"):
        qr_iql_loss(Q, ACTIONS, Q_NEXT, TERMINATED, discount=0.5, iq_alpha=0.5)


def test_soft_value_equals_logsumexp_and_its_gradient_far_out_too():
    q = torch.cat([torch.randn(50, 2, 3), 100 * torch.randn(50, 2, 3)]).double().requires_grad_()
    plain = torch.logsumexp(q, dim=1)
    torch.testing.assert_close(soft_value(q), plain, atol=1e-6, rtol=0)
    ours, expected = (torch.autograd.grad(v.sum(), q)[0] for v in (soft_value(q), plain))
    torch.testing.assert_close(ours, expected, atol=1e-6, rtol=0)


def test_qr_iql_loss_is_the_sum_of_two_pinballs():
    heads, heads_next, actions, terminated = random_batch(5)
    loss = qr_iql_loss(heads, actions, heads_next, terminated, discount=0.9, iq_alpha=0.5)
    levels = quantile_levels(5, like=heads)
    taken = at_action(heads, actions)
    fit = taken - soft_value(heads)
    penalty = implied_reward(taken, soft_value(heads_next), terminated, 0.9).square() / 2
    torch.testing.assert_close(loss, pinball_loss(fit, levels) + pinball_loss(penalty, levels))


def test_qr_iql_loss_with_one_head_is_half_the_iq_learn_loss():
    heads, heads_next, actions, terminated = random_batch(1)
    loss = qr_iql_loss(heads, actions, heads_next, terminated, discount=0.9, iq_alpha=0.5)
    iq = iq_learn_loss(heads[..., 0], actions, heads_next[..., 0], terminated, discount=0.9, iq_alpha=0.5)
    torch.testing.assert_close(loss[:, 0], 0.5 * iq, atol=1e-14, rtol=0)


def test_qr_iql_loss_of_each_head_is_iq_learn_at_its_own_strength():
    num_heads, alpha = 10, 0.5
    heads, heads_next, actions, terminated = random_batch(num_heads)
    loss = qr_iql_loss(heads, actions, heads_next, terminated, discount=0.9, iq_alpha=alpha)
    for i in range(num_heads):
        tau = (2 * i + 1) / (2 * num_heads)
        iq = iq_learn_loss(
            heads[..., i],
            actions,
            heads_next[..., i],
            terminated,
            discount=0.9,
            iq_alpha=alpha * (1 - tau) / tau,
        )
        torch.testing.assert_close(loss[:, i], (1 - tau) * iq, atol=1e-12, rtol=1e-12)


def test_qr_iql_loss_as_printed_has_no_gamma_in_its_penalty():
    arguments = (Q[..., None], ACTIONS, Q_NEXT[..., None], TERMINATED)
    loss = qr_iql_loss(*arguments, discount=0.5, iq_alpha=0.5, discount_in_penalty=False)[:, 0]
    # Row 0: (log(4/3) + (log 3 - log 2)^2 / 2) / 2 = (.287682 + .082201) / 2; the exit is as before
    torch.testing.assert_close(loss[:2], torch.tensor([0.184941, 0.445578]).double(), atol=1e-6, rtol=0)


@pytest.mark.parametrize("discount", [0.0, 0.9])
def test_one_state_meets_its_closed_form(discount: float):
    clicks, num_heads, alpha = 0.3, 4, 0.5
    actions = torch.tensor([1] * 3 + [0] * 7)
    terminated = torch.zeros(10, dtype=torch.bool)
    heads = torch.zeros(2, num_heads, dtype=torch.float64, requires_grad=True)

    def loss() -> Tensor:
        rows = heads.expand(10, 2, num_heads)
        return qr_iql_loss(rows, actions, rows, terminated, discount=discount, iq_alpha=alpha).sum()

    minimise([heads], loss)
    values = heads.detach()
    delta = values[1] - values[0]
    tau = quantile_levels(num_heads, like=values)
    c = tau / (1 - tau) / (4 * alpha)
    solved = torch.sigmoid(delta) + 2 * c * clicks * (1 - clicks) * delta
    torch.testing.assert_close(solved, torch.full_like(solved, clicks), atol=1e-7, rtol=0)
    reward = values - discount * torch.logsumexp(values, dim=0)
    torch.testing.assert_close(reward[1], (1 - clicks) * delta, atol=1e-7, rtol=0)
    torch.testing.assert_close(reward[0], -clicks * delta, atol=1e-7, rtol=0)


def test_the_level_of_the_reward_is_a_gauge():
    generator = torch.Generator().manual_seed(0)
    states, next_states = torch.randint(5, (2, 400), generator=generator)
    actions = torch.randint(2, (400,), generator=generator)
    terminated = torch.rand(400, generator=generator) < 0.1
    table = torch.zeros(5, 2, 3, dtype=torch.float64, requires_grad=True)

    def loss() -> Tensor:
        return qr_iql_loss(
            table[states], actions, table[next_states], terminated, discount=0.9, iq_alpha=0.5
        ).sum()

    minimise([table], loss)
    heads = table.detach()
    reward = implied_reward(
        at_action(heads[states], actions), soft_value(heads[next_states]), terminated, 0.9
    )
    gauge = (reward * (1 - 0.9 * ~terminated)[:, None]).mean(dim=0)
    torch.testing.assert_close(gauge, torch.zeros(3, dtype=torch.float64), atol=1e-6, rtol=0)
    assert reward.std() > 0.01


def test_anchored_loss_by_hand():
    skip_value, click_logit = torch.tensor([0.5, 1.0, 2.0]), torch.tensor([0.0, 1.0, -1.0])
    actions, terminated = torch.tensor([1, 0, 0]), torch.tensor([False, False, True])
    losses = anchored_loss(
        skip_value,
        click_logit,
        actions,
        torch.tensor([9.0, 2.0, 9.0]),
        terminated,
        discount=0.5,
        skip_reward=0.25,
    )
    # log 2, log(1 + e), log(1 + e^-1); the squares (1 - .25 - .5 * 2)^2 and (2 - .25)^2, none where clicked
    torch.testing.assert_close(losses.click, torch.tensor([0.693147, 1.313262, 0.313262]))
    torch.testing.assert_close(losses.skip, torch.tensor([0.0, 0.0625, 3.0625]))
    # (.693147 + 1.313262 + .313262) / 3 + (.0625 + 3.0625) / 2
    torch.testing.assert_close(losses.reduce(actions), torch.tensor(0.773224 + 1.5625))


def test_anchored_loss_without_skips_is_the_cross_entropy():
    actions = torch.ones(2, dtype=torch.int64)
    losses = anchored_loss(
        torch.ones(2), torch.zeros(2), actions, torch.ones(2), TERMINATED[:2], discount=0.9
    )
    torch.testing.assert_close(losses.reduce(actions), torch.tensor(math.log(2)))


def test_anchored_loss_sends_no_gradient_into_its_target():
    skip_value = torch.tensor([1.0, 1.0, 1.0], requires_grad=True)
    click_logit = torch.tensor([0.0, 0.0, 0.0], requires_grad=True)
    target = torch.tensor([2.0, 2.0, 2.0], requires_grad=True)
    losses = anchored_loss(skip_value, click_logit, ACTIONS, target, TERMINATED, discount=0.5)
    losses.reduce(ACTIONS).backward()
    assert target.grad is None
    # Only the skip moves b: 2 (1 - .5 * 2) = 0 there; the logit's gradient is (sigmoid - click) / 3
    torch.testing.assert_close(click_logit.grad, torch.tensor([-1.0, -1.0, 1.0]) / 6)
    torch.testing.assert_close(skip_value.grad, torch.zeros(3))


def test_anchored_loss_refuses_shapes_that_would_broadcast():
    with pytest.raises(ValueError, match=r"share a shape \[B\]"):
        anchored_loss(torch.ones(3, 1), torch.ones(3), ACTIONS, torch.ones(3), TERMINATED, discount=0.9)


def test_pinball_loss_by_hand_and_at_its_minimum():
    loss = pinball_loss(torch.tensor([2.0, -2.0, 0.0]), 0.9)
    torch.testing.assert_close(loss, torch.tensor([1.8, 0.2, 0.0]))
    targets = torch.arange(1.0, 101.0)
    grid = torch.arange(0.0, 110.0)
    total = pinball_loss(targets[None] - grid[:, None], 0.9).mean(dim=1)
    assert grid[total.argmin()] in (90, 91)  # the .9 quantile of 1..100 lies between them


def test_quantile_levels_are_midpoints():
    torch.testing.assert_close(quantile_levels(2, like=torch.zeros(1)), torch.tensor([0.25, 0.75]))
    with pytest.raises(ValueError, match="num_quantiles must be >= 1, got 0"):
        quantile_levels(0, like=torch.zeros(1))


def test_non_crossing_quantiles_by_hand():
    quantiles = non_crossing_quantiles(torch.tensor([[1.0, 2.0, 0.0]]))
    # 1, then + softplus(0) = .693147, then + softplus(-2) = .126928
    torch.testing.assert_close(quantiles, torch.tensor([[1.0, 1.693147, 1.820075]]))


def test_non_crossing_quantiles_never_cross():
    outputs = 20 * torch.randn(100, 2, 10, generator=torch.Generator().manual_seed(0))
    assert (non_crossing_quantiles(outputs).diff(dim=-1) >= 0).all()


def test_feedback_loss_by_hand():
    difference = torch.tensor([math.log(3), math.log(3), 0.0, 7.0], dtype=torch.float64, requires_grad=True)
    feedback = torch.tensor([1.0, 0.25, 0.5, math.nan], dtype=torch.float64)
    loss = feedback_loss(difference, feedback)
    # sigmoid = 3/4: -log 3/4, then -(1/4 log 3/4 + 3/4 log 1/4); sigmoid = 1/2: log 2; nothing said: 0
    expected = [0.287682, 1.111641, 0.693147, 0.0]
    torch.testing.assert_close(loss.detach(), torch.tensor(expected, dtype=torch.float64), atol=1e-6, rtol=0)
    loss.sum().backward()
    # sigmoid - feedback, and nothing where nothing was said
    gradient = torch.tensor([-0.25, 0.5, 0.0, 0.0], dtype=torch.float64)
    torch.testing.assert_close(difference.grad, gradient)


def test_feedback_loss_is_least_at_the_log_odds_of_being_glad():
    level = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    feedback = torch.tensor([1, 1, 1, 0, math.nan], dtype=torch.float64)
    minimise([level], lambda: feedback_loss(level.expand(5), feedback).sum())
    assert level.item() == pytest.approx(math.log(3), abs=1e-6)


def test_feedback_loss_refuses_other_shapes_and_stars():
    with pytest.raises(ValueError, match=r"\(3,\), \(3, 1\)"):
        feedback_loss(torch.zeros(3), torch.zeros(3, 1))
    with pytest.raises(ValueError, match=r"in \[0, 1\] or NaN, got 0..5"):
        feedback_loss(torch.zeros(3), torch.tensor([0.0, 5.0, math.nan]))
