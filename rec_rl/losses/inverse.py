"""Losses that recover a user's reward from what the user did, and the quantile arithmetic around them.

The user acts in an MDP with actions 0 (skip) and 1 (click) and the soft-optimal policy
pi(a|s) = exp(Q(s,a) - V(s)), V(s) = logsumexp_a Q(s,a). A reward is then
r(s,a) = Q(s,a) - gamma E[(1-d) V(s')].
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

GAP_OFFSET = 2.0  # a head that outputs zeros starts with narrow gaps, softplus(-2) = 0.127


def soft_value(q: Tensor) -> Tensor:
    """V = logsumexp over the action axis of q, [B, 2, ...] to [B, ...].

    Of two values it is skip + softplus(click - skip), at a third of the cost.
    """
    skip, click = q.unbind(dim=1)
    return skip + functional.softplus(click - skip)


def at_action(values: Tensor, actions: Tensor) -> Tensor:
    """The value of the action taken, [B, 2, ...] and [B] to [B, ...]."""
    index = actions.view(-1, *[1] * (values.ndim - 1)).expand(-1, 1, *values.shape[2:])
    return values.gather(1, index).squeeze(1)


def implied_reward(q_taken: Tensor, v_next: Tensor, terminated: Tensor, discount: float) -> Tensor:
    """r = Q(s,a) - gamma (1-d) V(s'), where an exit has V(s') = 0.

    Source: Zhao et al. 2025 (MTRec), Eq. (5), (7).

    Args:
        q_taken: Q(s, a), shape [B] or [B, N].
        v_next: V(s'), shape of ``q_taken``.
        terminated: Whether the user left, bool, shape [B]. A truncated row is not terminated: it bootstraps.
        discount: The user's gamma, in [0, 1].

    Returns:
        Reward per element, shape of ``q_taken``.

    Raises:
        ValueError: If the shapes differ or ``terminated`` is not boolean.
    """
    if q_taken.shape != v_next.shape or terminated.shape != q_taken.shape[:1]:
        raise ValueError(
            "q_taken and v_next must share a shape whose first axis is that of terminated, got "
            f"{tuple(q_taken.shape)}, {tuple(v_next.shape)}, {tuple(terminated.shape)}"
        )
    if terminated.dtype != torch.bool:
        raise ValueError(f"terminated must be bool, got {terminated.dtype}")
    continues = (~terminated).to(q_taken.dtype).view(-1, *[1] * (q_taken.ndim - 1))
    return q_taken - discount * continues * v_next


def iq_learn_loss(
    q: Tensor, actions: Tensor, q_next: Tensor, terminated: Tensor, *, discount: float, iq_alpha: float
) -> Tensor:
    """V(s) - Q(s,a) + (Q(s,a) - gamma (1-d) V(s'))^2 / (4 alpha); gradients flow through all of it.

    The first part is the negative log-likelihood of the action, the second bounds the reward. At the minimum
    E[r (1 - gamma (1-d))] = 0: the level of the reward is a gauge, only differences mean something.
    Source: Garg et al. 2021 (IQ-Learn) with a chi-squared regulariser; Zhao et al. 2025 (MTRec), Eq. (14),
    its arm "-IRL".

    Args:
        q, q_next: Q(s, .) and Q(s', .), shape [B, 2].
        actions: 0 skip or 1 click, int64, shape [B].
        terminated: Exit rows, bool, shape [B].
        discount: The user's gamma, in [0, 1].
        iq_alpha: Regularisation strength's inverse, > 0.

    Returns:
        Loss per element, shape [B].

    Raises:
        ValueError: If the shapes differ or iq_alpha is not positive.
    """
    _check_q(q, actions, q_next, ndim=2)
    _check_alpha(iq_alpha)
    q_taken = at_action(q, actions)
    reward = implied_reward(q_taken, soft_value(q_next), terminated, discount)
    return soft_value(q) - q_taken + reward.square() / (4 * iq_alpha)


def qr_iql_loss(
    heads: Tensor,
    actions: Tensor,
    heads_next: Tensor,
    terminated: Tensor,
    *,
    discount: float,
    iq_alpha: float,
    discount_in_penalty: bool = True,
) -> Tensor:
    """pinball(u1) + pinball(u2), u1 = lambda_i - V_i(s), u2 = (lambda_i - gamma (1-d) V_i(s'))^2 / (4 alpha).

    As u1 <= 0 <= u2 always, neither pinball ever changes branch, and the loss of head i is
    (1 - tau_i) times the IQ-Learn loss at alpha_i = alpha (1 - tau_i) / tau_i: a path of regularisation
    strengths, not a quantile function. One head gives half the IQ-Learn loss.
    Source: Zhao et al. 2025 (MTRec), Eq. (6), Algorithm 1.

    Differs from the paper: the printed u2 has no gamma, though Eq. (4), (5) and (7) do. It is put back;
    ``discount_in_penalty=False`` gives the printed form. The exit (1-d) is ours in both.

    Args:
        heads, heads_next: lambda_i(s, .) and lambda_i(s', .), shape [B, 2, N].
        actions: 0 skip or 1 click, int64, shape [B].
        terminated: Exit rows, bool, shape [B].
        discount: The user's gamma, in [0, 1].
        iq_alpha: Regularisation strength's inverse, > 0.
        discount_in_penalty: Whether u2 has its gamma.

    Returns:
        Loss per element and head, shape [B, N]. The paper sums the heads.

    Raises:
        ValueError: If the shapes differ or iq_alpha is not positive.
    """
    _check_q(heads, actions, heads_next, ndim=3)
    _check_alpha(iq_alpha)
    levels = quantile_levels(heads.shape[2], like=heads)
    taken = at_action(heads, actions)
    penalty_discount = discount if discount_in_penalty else 1.0
    reward = implied_reward(taken, soft_value(heads_next), terminated, penalty_discount)
    fit, penalty = taken - soft_value(heads), reward.square() / (4 * iq_alpha)
    return (levels - 1) * fit + levels * penalty


class AnchoredLosses(NamedTuple):
    """The two parts of the anchored loss, per element [B]; ``skip`` is zero where the user clicked."""

    click: Tensor
    skip: Tensor

    def reduce(self, actions: Tensor) -> Tensor:
        """mean(click) + mean over the skip rows of skip, a scalar."""
        return self.click.mean() + self.skip.sum() / (actions == 0).sum().clamp(min=1)


def anchored_loss(
    skip_value: Tensor,
    click_logit: Tensor,
    actions: Tensor,
    target_v_next: Tensor,
    terminated: Tensor,
    *,
    discount: float,
    skip_reward: Tensor | float = 0.0,
) -> AnchoredLosses:
    """Cross-entropy of the click logit g, and (b - r0 - gamma (1-d) Vbar(s'))^2 on the skipped rows.

    With Q(skip) = b and Q(click) = b + g, behaviour fixes g and the known reward of skipping fixes the level
    b, so that no regulariser is needed: rewards are recovered, not shrunk. The price is the assumption that
    ``skip_reward`` is right.
    Source: Geng et al. 2020 (deep PQR), the anchor action; Hotz and Miller 1993, the inversion.

    Args:
        skip_value: b(s), shape [B].
        click_logit: g(s), shape [B].
        actions: 0 skip or 1 click, int64, shape [B].
        target_v_next: Vbar(s') of the target network, shape [B]. Receives no gradient.
        terminated: Exit rows, bool, shape [B].
        discount: The user's gamma, in [0, 1].
        skip_reward: r0(s), the known reward of skipping, a number or shape [B].

    Returns:
        Both parts per element, shape [B].

    Raises:
        ValueError: If the shapes differ.
    """
    if not skip_value.shape == click_logit.shape == actions.shape or skip_value.ndim != 1:
        raise ValueError(
            "skip_value, click_logit and actions must share a shape [B], got "
            f"{tuple(skip_value.shape)}, {tuple(click_logit.shape)}, {tuple(actions.shape)}"
        )
    click = functional.binary_cross_entropy_with_logits(
        click_logit, actions.to(click_logit.dtype), reduction="none"
    )
    error = implied_reward(skip_value, target_v_next.detach(), terminated, discount) - skip_reward
    return AnchoredLosses(click=click, skip=torch.where(actions == 0, error.square(), 0.0))


def feedback_loss(difference: Tensor, feedback: Tensor) -> Tensor:
    """Cross-entropy of sigmoid(D) against what users said, 0 where they said nothing, per element.

    D = r(s, click) - r0 is thereby a log-odds: at 0 as many are glad of a click as regret it. Behaviour gives
    D up to what users perceive before they click; feedback tells it from what they think afterwards.

    Args:
        difference: D, shape [B].
        feedback: 0 regrets to 1 is glad, NaN for none, shape [B].

    Raises:
        ValueError: If the shapes differ or feedback is outside [0, 1].
    """
    if difference.shape != feedback.shape or difference.ndim != 1:
        raise ValueError(
            "difference and feedback must share a shape [B], got "
            f"{tuple(difference.shape)}, {tuple(feedback.shape)}"
        )
    given = ~feedback.isnan()
    target = torch.where(given, feedback, 0.0)
    if ((target < 0) | (target > 1)).any():
        raise ValueError(f"feedback must be in [0, 1] or NaN, got {target.min():g}..{target.max():g}")
    loss = functional.binary_cross_entropy_with_logits(difference, target, reduction="none")
    return torch.where(given, loss, 0.0)


def pinball_loss(error: Tensor, level: Tensor | float) -> Tensor:
    """tau * u where u >= 0, (tau - 1) * u where u < 0, per element.

    With u = target - prediction it is minimised by the quantile tau of the target.
    Source: Koenker and Bassett 1978; Zhao et al. 2025 (MTRec), A.2.

    Args:
        error: u, any shape.
        level: tau in (0, 1), a number or a shape that broadcasts to the last axes of ``error``.
    """
    return torch.where(error >= 0, level * error, (level - 1) * error)


def quantile_levels(num_quantiles: int, *, like: Tensor) -> Tensor:
    """The midpoints tau_i = (2i - 1) / 2N, shape [N], in the dtype and on the device of ``like``."""
    if num_quantiles < 1:
        raise ValueError(f"num_quantiles must be >= 1, got {num_quantiles}")
    index = torch.arange(num_quantiles, dtype=like.dtype, device=like.device)
    return (2 * index + 1) / (2 * num_quantiles)


def non_crossing_quantiles(outputs: Tensor) -> Tensor:
    """q_1 = o_1, q_{k+1} = q_k + softplus(o_{k+1} - 2): increasing along the last axis, same shape."""
    gaps = functional.softplus(outputs[..., 1:] - GAP_OFFSET)
    return torch.cat([outputs[..., :1], gaps], dim=-1).cumsum(dim=-1)


def _check_q(q: Tensor, actions: Tensor, q_next: Tensor, *, ndim: int) -> None:
    if q.shape != q_next.shape or q.ndim != ndim or q.shape[1] != 2 or actions.shape != q.shape[:1]:
        expected = "[B, 2]" if ndim == 2 else "[B, 2, N]"
        raise ValueError(
            f"values at s and s' must be {expected} and actions [B], got "
            f"{tuple(q.shape)}, {tuple(q_next.shape)}, {tuple(actions.shape)}"
        )


def _check_alpha(iq_alpha: float) -> None:
    if not iq_alpha > 0:
        raise ValueError(f"iq_alpha must be > 0, got {iq_alpha}")
