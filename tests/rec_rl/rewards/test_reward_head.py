import numpy as np
import pytest
import torch

from rec_rl.rewards.reward_head import RewardHead, coverage_error
from rec_rl.rewards.soft_q import Batch, mlp_body


def test_coverage_error_by_hand():
    quantiles = np.array([[[0.0, 1.0], [5.0, 6.0]]] * 4, np.float32)
    actions = np.array([0, 0, 0, 1])
    targets = np.array([-1.0, 0.5, 2.0, 4.0], np.float32)
    # Level .25 covers rows 0 and 3, level .75 rows 0, 1 and 3: (|.5 - .25| + |.75 - .75|) / 2
    assert coverage_error(quantiles, actions, targets) == pytest.approx(0.125)


def test_the_loss_sees_the_action_taken_alone():
    torch.manual_seed(0)
    states = np.random.default_rng(0).random((6, 3)).astype(np.float32)
    head = RewardHead(mlp_body(states, (4,)), 2)
    targets = torch.arange(6.0)
    head.fit_scale(targets)
    actions = torch.zeros(6, dtype=torch.int64)
    x = torch.from_numpy(states)
    head.loss(Batch(x, actions, x, actions.bool()), targets).backward()
    gradient = head.output.weight.grad
    # Outputs: the means of skip and click, then the quantiles of skip (2) and of click (2).
    assert (gradient[[0, 2, 3]] != 0).any(dim=1).all()
    assert (gradient[[1, 4, 5]] == 0).all()


def test_rewards_are_in_the_units_of_the_targets():
    states = np.zeros((5, 2), np.float32)
    head = RewardHead(mlp_body(states, (4,)), 2)
    head.fit_scale(torch.tensor([8.0, 10.0, 12.0]))
    z, quantiles = head.standardised(torch.from_numpy(states))
    torch.testing.assert_close(head.reward(torch.from_numpy(states)), 10 + 2 * z)
    torch.testing.assert_close(head.quantiles(torch.from_numpy(states)), 10 + 2 * quantiles)
