"""Targets and advantages for value functions."""

import torch
from torch import Tensor


def soft_q_target(
    reward: Tensor, terminated: Tensor, q_next: Tensor, logp_next: Tensor, *, alpha: Tensor, gamma: float
) -> Tensor:
    """r + gamma * (1 - terminated) * (q_next - alpha * logp_next).

    Source: Haarnoja et al. 2018 (SAC), Eq. (3) and (8).

    Args:
        reward: r(s, a), shape [B].
        terminated: 1 where s' is a real exit, whose value is 0; shape [B].
        q_next: The smaller target critic at (s', a'), shape [B].
        logp_next: log pi(a' | s'), shape [B].
        alpha: Temperature, scalar, > 0.
        gamma: Discount in [0, 1].

    Returns:
        Target per element, shape [B], without gradient.

    Raises:
        ValueError: If the shapes differ.
    """
    _check_same_shape(reward=reward, terminated=terminated, q_next=q_next, logp_next=logp_next)
    soft_value = q_next - alpha * logp_next
    return (reward + gamma * (1 - terminated.to(reward.dtype)) * soft_value).detach()


def generalized_advantage(
    reward: Tensor,
    value: Tensor,
    next_value: Tensor,
    terminated: Tensor,
    ended: Tensor,
    *,
    gamma: float,
    trace_decay: float,
) -> Tensor:
    """A_t = delta_t + gamma * trace_decay * (1 - ended_t) * A_{t+1}.

    With delta_t = r_t + gamma * (1 - terminated_t) * V(s_{t+1}) - V(s_t). A truncated row bootstraps,
    a terminated one does not; neither lets the next episode's advantage through.
    Source: Schulman et al. 2016 (GAE), Eq. (16).

    Args:
        reward, value, next_value: Shape [T, N], time first. ``next_value`` is V of the row's own next state.
        terminated: Real exits, shape [T, N].
        ended: Rows after which the next row belongs to another episode, shape [T, N].
        gamma: Discount in [0, 1].
        trace_decay: lambda in [0, 1].

    Returns:
        Advantage per row, shape [T, N], without gradient.

    Raises:
        ValueError: If the shapes differ.
    """
    _check_same_shape(reward=reward, value=value, next_value=next_value, terminated=terminated, ended=ended)
    delta = reward + gamma * (1 - terminated.to(reward.dtype)) * next_value - value
    carry = gamma * trace_decay * (1 - ended.to(reward.dtype))
    advantage = torch.empty_like(delta)
    following = torch.zeros_like(delta[0])
    for t in range(len(delta) - 1, -1, -1):
        following = delta[t] + carry[t] * following
        advantage[t] = following
    return advantage.detach()


def standardized_minibatches(advantage: Tensor, size: int) -> Tensor:
    """Each run of ``size`` advantages less its mean, over its standard deviation; a single row becomes 0.

    Args:
        advantage: Shape [n], minibatches one after the other; the last may be shorter.
        size: Rows of a minibatch, >= 1.

    Returns:
        Shape [n].
    """
    whole = len(advantage) - len(advantage) % size
    parts = advantage[:whole].view(-1, size), advantage[whole:].view(1, -1)
    return torch.cat([_standardized(part).flatten() for part in parts if part.numel()])


def _standardized(rows: Tensor) -> Tensor:
    centred = rows - rows.mean(dim=1, keepdim=True)
    return centred / (rows.std(dim=1, keepdim=True) + 1e-8) if rows.shape[1] > 1 else centred


def expectile_loss(prediction: Tensor, target: Tensor, expectile: float) -> Tensor:
    """Asymmetric squared error, minimised by the ``expectile`` of ``target``.

    With u = target - prediction, the loss is |expectile - 1(u < 0)| * u**2.
    Source: Kostrikov et al. 2021 (IQL); Xue et al. 2023 (PrefRec), Eq. (9).

    Args:
        prediction: V(s), shape [B].
        target: Q(s, a), shape [B]. Receives no gradient.
        expectile: In (0, 1). 0.5 gives half the squared error.

    Returns:
        Loss per element, shape [B].

    Raises:
        ValueError: If the shapes differ ([B] against [B, 1] would broadcast), or expectile is out of (0, 1).
    """
    _check_same_shape(prediction=prediction, target=target)
    if not 0 < expectile < 1:
        raise ValueError(f"expectile must be in (0, 1), got {expectile}")
    error = target.detach() - prediction
    weight = torch.where(error < 0, 1 - expectile, expectile)
    return weight * error.square()


def td_target(reward: Tensor, next_value: Tensor, gamma: float) -> Tensor:
    """reward + gamma * next_value. There is no end of the world here: s' crosses sessions.

    Source: Xue et al. 2023 (PrefRec), Eq. (5) and (6).

    Args:
        reward: r(s, a), shape [B].
        next_value: V(s') or Q(s', a'), shape [B].
        gamma: Discount in [0, 1].

    Returns:
        Target per element, shape [B], without gradient.

    Raises:
        ValueError: If the shapes differ.
    """
    _check_same_shape(reward=reward, next_value=next_value)
    return (reward + gamma * next_value).detach()


def soft_clipped_value(q: Tensor, min_weight: float) -> Tensor:
    """min_weight * min_e q_e + (1 - min_weight) * max_e q_e over the critics e.

    Source: Fujimoto et al. 2019 (BCQ), Eq. (13).

    Args:
        q: Shape [E, ...], critics first.
        min_weight: In [0, 1]; 1 is clipped double Q.

    Returns:
        Value per element, shape [...].

    Raises:
        ValueError: If min_weight is out of [0, 1].
    """
    if not 0 <= min_weight <= 1:
        raise ValueError(f"min_weight must be in [0, 1], got {min_weight}")
    return min_weight * q.amin(dim=0) + (1 - min_weight) * q.amax(dim=0)


def noise_regression_loss(weights: Tensor, noise: Tensor, advantage: Tensor) -> Tensor:
    """(advantage - noise . weights)^2 / 2: an advantage that is linear in the noise of serving.

    Where the noise is standard normal and independent of the state, the minimiser is
    w(s) = E[noise * advantage | s], the gradient of the expected advantage with respect to the served mean in
    units of the noise.

    Args:
        weights: w(s), shape [B, A].
        noise: (action - behaviour mean) / scale, shape [B, A]; no gradient.
        advantage: Of the action that was served, shape [B]; no gradient.

    Returns:
        Loss per element, shape [B].

    Raises:
        ValueError: If the shapes do not agree.
    """
    _check_same_shape(weights=weights, noise=noise)
    predicted = (noise.detach() * weights).sum(dim=-1)
    _check_same_shape(predicted=predicted, advantage=advantage)
    return 0.5 * (advantage.detach() - predicted).square()


def _check_same_shape(**tensors: Tensor) -> None:
    shapes = {name: tuple(x.shape) for name, x in tensors.items()}
    if len(set(shapes.values())) > 1:
        raise ValueError(f"shapes must be equal, got {shapes}")
