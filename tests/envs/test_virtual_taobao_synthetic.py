"""The synthetic networks keep what their docstring promises."""

import time
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from envs import virtual_taobao_synthetic as synthetic
from envs.virtual_taobao_networks import VirtualTaobaoNetworks
from rec_rl.algorithms.constant_action import cross_entropy_search

NUM_CLICKS = np.arange(11)


@pytest.fixture(scope="module")
def networks():
    return VirtualTaobaoNetworks.load("synthetic")


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def visits(networks, size, seed=0):
    """Users and pages as a session meets them."""
    rng = np.random.default_rng(seed)
    users = networks.sample_users(rng, size)
    pages = np.floor(rng.random(size) * networks.sample_lengths(rng, users)).astype(np.float32)
    return users, pages


def ectr(networks, users, pages, actions):
    return float((networks.click_probabilities(users, pages, actions) @ NUM_CLICKS).mean() / 10)


def mean_satisfaction(networks, users, pages, actions):
    probabilities = networks.click_probabilities(users, pages, actions)
    values = [networks.satisfaction(users, pages, actions, np.full(len(users), k)) for k in NUM_CLICKS]
    return float((probabilities * np.stack(values, axis=1)).sum(axis=1).mean())


def expected_clicks(networks, users: Tensor, pages: Tensor, actions: Tensor) -> Tensor:
    """The action network in torch, so that it can be climbed."""
    x = torch.cat([users, pages[:, None], actions], dim=1)
    layers = [(torch.from_numpy(weight), torch.from_numpy(bias)) for weight, bias in networks.action]
    for weight, bias in layers[:-1]:
        x = nn.functional.leaky_relu(x @ weight + bias, 0.01)
    weight, bias = layers[-1]
    return (x @ weight + bias)[:, :11].softmax(dim=1) @ torch.arange(11.0)


def climbed_actions(networks, users, pages, objective: Callable[[Tensor, Tensor], Tensor]):
    """One action per visit, by gradient ascent on ``objective(expected clicks, actions)``."""
    logits = torch.zeros(len(users), 27, requires_grad=True)
    optimizer = torch.optim.Adam([logits], 0.05)
    for _ in range(400):
        actions = logits.tanh()
        clicks = expected_clicks(networks, torch.from_numpy(users), torch.from_numpy(pages), actions)
        optimizer.zero_grad()
        (-objective(clicks, actions).sum()).backward()
        optimizer.step()
    return logits.detach().tanh().numpy()


@pytest.fixture(scope="module")
def greedy(networks):
    """Visits, and the action that wins most clicks in each."""
    users, pages = visits(networks, 200)
    return users, pages, climbed_actions(networks, users, pages, lambda clicks, actions: clicks)


def test_loads_in_a_blink_and_always_the_same():
    synthetic.networks.cache_clear()
    synthetic._properties.cache_clear()
    start = time.process_time()
    first = VirtualTaobaoNetworks.load("synthetic")
    assert time.process_time() - start < 0.5
    synthetic.networks.cache_clear()
    assert first.content_hash == VirtualTaobaoNetworks.load("synthetic").content_hash


def test_session_lengths(networks):
    lengths = networks.sample_lengths(np.random.default_rng(0), visits(networks, 40000)[0])
    assert lengths.mean() == pytest.approx(7.8, abs=0.5)
    assert (lengths == 1).mean() == pytest.approx(0.14, abs=0.03)
    assert 1 <= lengths.min() <= lengths.max() <= 100


def test_click_probabilities_are_those_of_the_docstring(networks):
    users, pages = visits(networks, 200)
    actions = np.random.default_rng(1).uniform(-1, 1, (200, 27)).astype(np.float32)
    properties = synthetic._properties()
    wanted = users @ -networks.action[0][0][:88, : synthetic.NUM_TASTES]
    misfit = np.abs(actions @ properties[:, :-1] - wanted).sum(axis=1)
    bait = synthetic.bait(actions)
    np.testing.assert_allclose(bait, np.maximum(actions @ properties[:, -1], 0), atol=1e-6)
    appeal = 3.3 + 1.2 * bait - 1.5 * misfit - 0.02 * np.minimum(pages, 10)
    ways = np.array([1, 10, 45, 120, 210, 252, 210, 120, 45, 10, 1])
    weights = ways * np.exp(appeal[:, None] * NUM_CLICKS)  # ten independent clicks at odds e^appeal
    weights[:, 0] *= np.exp(np.maximum(10 * appeal - 3.7 - 12 * (1 - bait), 0))  # leaving
    expected = weights / weights.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(networks.click_probabilities(users, pages, actions), expected, atol=1e-5)


def test_satisfaction_by_hand():
    users = np.zeros((3, 88), dtype=np.float32)
    group = synthetic._group(synthetic.REGRET_GROUP)
    users[[0, 1, 2], [group.start, group.start + 1, group.start]] = 1  # easy-going, wary, easy-going
    actions = np.stack([0.5, 0.5, -1.0] * np.sign(synthetic._properties()[:, -1:]), axis=1)
    pages, clicks = np.array([0, 20, 3], dtype=np.float32), np.array([10, 5, 8])
    # bait .5, .5, 0: 1 - .5 * .5 = .75; .5 * (1 - .5 * (.7 + .3)) = .25; .8
    satisfaction = synthetic.satisfaction(users, pages, actions.astype(np.float32), clicks)
    np.testing.assert_allclose(satisfaction, [0.75, 0.25, 0.8], rtol=1e-5)


def test_a_random_policy_sees_some_clicks_and_a_graded_landscape(networks):
    users, pages = visits(networks, 20000)
    actions = np.random.default_rng(1).uniform(-1, 1, (20000, 27)).astype(np.float32)
    assert 0.01 < ectr(networks, users, pages, actions) < 0.04
    clicks = networks.click_probabilities(users, pages, actions) @ NUM_CLICKS / 10
    assert np.quantile(clicks, 0.9) > 20 * np.quantile(clicks, 0.1)


def test_no_constant_action_suits_everybody(networks):
    users, pages = visits(networks, 200)

    def score(candidates):
        everybody = np.tile(users, (len(candidates), 1)), np.tile(pages, len(candidates))
        clicks = networks.click_probabilities(*everybody, candidates.repeat(200, axis=0)) @ NUM_CLICKS
        return clicks.reshape(len(candidates), 200).mean(axis=1)

    found = cross_entropy_search(score, 27, np.random.default_rng(0), iterations=40)
    users, pages = visits(networks, 5000, seed=1)
    best = ectr(networks, users, pages, np.tile(found, (5000, 1)))
    assert 0.12 < best < 0.6  # far above chance: the search did find the common taste


def test_the_best_action_of_each_user_wins_nearly_every_click(networks, greedy):
    assert ectr(networks, *greedy) > 0.95


def test_a_click_maximiser_baits_and_who_does_not_loses_few_clicks(networks, greedy):
    users, pages, _ = greedy
    lure = torch.from_numpy(synthetic._properties()[:, -1])
    honest = climbed_actions(
        networks, users, pages, lambda clicks, actions: clicks - 3 * (actions @ lure).relu()
    )
    assert ectr(networks, users, pages, honest) > ectr(networks, *greedy) - 0.04
    assert mean_satisfaction(networks, *greedy) < 0.55
    assert mean_satisfaction(networks, users, pages, honest) > 0.9


def test_bait_raises_clicks_at_any_fit_and_lowers_satisfaction_with_a_click(networks):
    users, pages = visits(networks, 2000)
    lure = np.sign(synthetic._properties()[:, -1])
    actions = np.random.default_rng(1).uniform(-1, 1, (2000, 27)).astype(np.float32)
    plain = np.where(lure == 0, actions, 0).astype(np.float32)
    baited = plain + 0.7 * lure
    gain = networks.click_probabilities(users, pages, baited) @ NUM_CLICKS
    assert (gain > networks.click_probabilities(users, pages, plain) @ NUM_CLICKS).all()
    full = np.full(2000, 10)
    assert (networks.satisfaction(users, pages, baited, full) < 0.7).all()
    np.testing.assert_allclose(networks.satisfaction(users, pages, plain, full), 1.0)


def test_pages_without_a_click_give_the_bait_away(networks, greedy):
    users, pages, actions = greedy
    lure = np.sign(synthetic._properties()[:, -1])
    unclicked = [
        networks.click_probabilities(users, pages, np.where(lure == 0, actions, bait * lure))[:, 0].mean()
        for bait in np.array([0.5, 0.75, 1.0], dtype=np.float32)
    ]
    assert unclicked[1] > 5 * unclicked[0]
    assert unclicked[2] > 5 * unclicked[1]
    assert 0.015 < unclicked[2] < 0.03


def small_network(num_in: int, num_out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(num_in, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, num_out)
    )


def test_a_small_policy_network_can_be_personal(networks):
    torch.manual_seed(0)
    users, pages = (torch.from_numpy(array) for array in visits(networks, 4000))
    inputs = torch.cat([users, pages[:, None] / 10], dim=1)
    policy = small_network(89, 27)
    optimizer = torch.optim.Adam(policy.parameters(), 3e-3)
    for _ in range(600):
        rows = torch.randint(0, 4000, (128,))
        clicks = expected_clicks(networks, users[rows], pages[rows], policy(inputs[rows]).tanh())
        optimizer.zero_grad()
        (-clicks.mean()).backward()
        optimizer.step()
    users, pages = visits(networks, 2000, seed=1)
    with torch.no_grad():
        actions = policy(torch.from_numpy(np.column_stack([users, pages / 10]))).tanh().numpy()
    assert ectr(networks, users, pages, actions) > 0.9


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_sac_learns_from_clicks_alone_and_baits():
    from rec_rl.experiments.presets import PLAIN
    from rec_rl.experiments.training import TrainingSpec, train

    *_, last = train(TrainingSpec(algorithm="sac", settings=PLAIN["sac"], evaluate_every=10_000))
    assert last["result"]["ectr"] > 0.9, last["result"]["curve"]
    assert last["result"]["satisfaction"] < 0.5
