import pytest
import torch

from rec_rl.losses.value import generalized_advantage, soft_q_target, standardized_minibatches

ALPHA = torch.tensor(0.5)
ROOT_HALF = 0.5**0.5


def test_soft_q_target_by_hand():
    target = soft_q_target(
        torch.tensor([1.0, 2.0]),
        torch.tensor([False, True]),
        torch.tensor([3.0, 4.0]),
        torch.tensor([-1.0, 2.0]),
        alpha=ALPHA,
        gamma=0.9,
    )
    # 1 + .9 (3 - .5 * -1) = 4.15; a real exit leaves the reward alone
    torch.testing.assert_close(target, torch.tensor([4.15, 2.0]))


def test_soft_q_target_passes_no_gradient():
    q_next = torch.tensor([3.0], requires_grad=True)
    target = soft_q_target(torch.ones(1), torch.zeros(1), q_next, torch.zeros(1), alpha=ALPHA, gamma=0.9)
    assert not target.requires_grad


def test_soft_q_target_refuses_a_column():
    with pytest.raises(ValueError, match="shapes must be equal"):
        soft_q_target(torch.ones(2), torch.zeros(2), torch.ones(2, 1), torch.zeros(2), alpha=ALPHA, gamma=0.9)


def column(*values: float) -> torch.Tensor:
    return torch.tensor(values)[:, None]


def test_generalized_advantage_by_hand():
    advantage = generalized_advantage(
        column(1.0, 2.0, 3.0),
        column(0.5, 1.0, 1.5),
        column(1.0, 1.5, 2.0),
        column(0, 0, 1).bool(),
        column(0, 0, 1).bool(),
        gamma=0.5,
        trace_decay=0.8,
    )
    # deltas: 1 + .5 * 1 - .5 = 1; 2 + .75 - 1 = 1.75; 3 - 1.5 = 1.5 (no value after a real exit)
    # A3 = 1.5; A2 = 1.75 + .4 * 1.5 = 2.35; A1 = 1 + .4 * 2.35 = 1.94
    torch.testing.assert_close(advantage, column(1.94, 2.35, 1.5))


def test_generalized_advantage_bootstraps_a_truncated_row_and_stops_there():
    advantage = generalized_advantage(
        column(1.0, 5.0),
        column(0.0, 0.0),
        column(2.0, 0.0),
        column(0, 0).bool(),
        column(1, 1).bool(),
        gamma=0.5,
        trace_decay=1.0,
    )
    torch.testing.assert_close(advantage, column(2.0, 5.0))  # 1 + .5 * 2, and nothing of the next episode


def test_generalized_advantage_without_future_is_reward_minus_value():
    reward, value = torch.rand(4, 3), torch.rand(4, 3)
    no = torch.zeros(4, 3).bool()
    advantage = generalized_advantage(reward, value, torch.rand(4, 3), no, no, gamma=0.0, trace_decay=0.95)
    torch.testing.assert_close(advantage, reward - value)


@pytest.mark.parametrize(
    ("advantage", "size", "expected"),
    [
        (
            [1.0, 3.0, 5.0, 5.0],
            2,
            [-ROOT_HALF, ROOT_HALF, 0.0, 0.0],
        ),  # mean 2, deviation sqrt 2; all equal
        ([1.0, 3.0, 7.0], 2, [-ROOT_HALF, ROOT_HALF, 0.0]),  # one row has no deviation
        ([4.0, 5.0, 6.0, 0.0, 2.0], 3, [-1.0, 0.0, 1.0, -ROOT_HALF, ROOT_HALF]),
        ([0.0, 2.0], 64, [-ROOT_HALF, ROOT_HALF]),
    ],
)
def test_standardized_minibatches_by_hand(advantage: list[float], size: int, expected: list[float]):
    ours = standardized_minibatches(torch.tensor(advantage), size)
    torch.testing.assert_close(ours, torch.tensor(expected))
