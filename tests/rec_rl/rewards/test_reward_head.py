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


def rated_head() -> tuple[RewardHead, torch.Tensor]:
    torch.manual_seed(1)
    states = np.random.default_rng(1).normal(size=(400, 3)).astype(np.float32)
    head = RewardHead(mlp_body(states, (8,)), 2)
    head.fit_scale(torch.tensor([-1.0, 0.0, 1.0]))
    head.requires_grad_(False)
    return head, torch.from_numpy(states)


def test_calibration_follows_what_users_said():
    head, states = rated_head()
    before, quantiles = head.reward(states), head.quantiles(states)
    glad = states[:, 0]  # what users think has nothing to do with what the head says
    feedback = (glad > 0).float()
    head.calibrate(states, feedback, prior_sd=1.0)
    after = head.reward(states)
    difference = after[:, 1] - after[:, 0]
    assert np.corrcoef(difference, glad)[0, 1] > 0.9
    assert np.corrcoef(before[:, 1] - before[:, 0], glad)[0, 1] < 0.7
    # The reward of skipping is the reference, and a click's quantiles move with its mean.
    torch.testing.assert_close(after[:, 0], before[:, 0])
    moved = (after - before)[..., None].expand_as(quantiles)
    torch.testing.assert_close(head.quantiles(states) - quantiles, moved, atol=1e-4, rtol=1e-4)


def test_calibration_finds_in_the_state_what_no_feature_holds():
    head, states = rated_head()
    with torch.no_grad():
        for layer in (head.body[1], head.output):
            layer.weight.zero_()  # features that are the same everywhere
    glad = states[:, 2] - states[:, 0]
    head.calibrate(states, (glad > 0).float(), prior_sd=1.0)
    after = head.reward(states)
    assert np.corrcoef(after[:, 1] - after[:, 0], glad)[0, 1] > 0.95


def test_a_narrow_prior_leaves_the_ranking_to_behaviour():
    head, states = rated_head()
    before = head.reward(states)
    difference = before[:, 1] - before[:, 0]
    feedback = (difference > difference.median()).float()
    head.calibrate(states, feedback, prior_sd=1e-4)
    after = head.reward(states)
    assert np.corrcoef(after[:, 1] - after[:, 0], difference)[0, 1] > 0.9999
    # Half are glad: the level moves to where the log-odds are 0 at the median.
    assert (after[:, 1] - after[:, 0]).median().abs() < 0.2 * (after[:, 1] - after[:, 0]).std()


def test_calibration_leaves_the_networks_as_they_are():
    head, states = rated_head()
    weights = [parameter.clone() for parameter in head.parameters()]
    head.calibrate(states[:30], torch.ones(30), prior_sd=0.1)
    for old, new in zip(weights, head.parameters(), strict=True):
        assert torch.equal(old, new)
    assert head.reward(states).isfinite().all()  # all are glad: the prior keeps the level finite
