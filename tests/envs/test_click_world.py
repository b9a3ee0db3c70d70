import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from envs.click_world import NUM_ITEMS, NUM_PEOPLE, NUM_STATES, ClickWorld
from rec_rl.errors import ConfigError

REFERENCE = Path(__file__).parents[3] / "shared" / "reference" / "click_world.py"


@pytest.fixture(scope="module")
def world() -> ClickWorld:
    return ClickWorld()


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    if not REFERENCE.exists():
        pytest.skip("the reference world is not in ../shared/reference")
    spec = importlib.util.spec_from_file_location("reference_click_world", REFERENCE)
    module = importlib.util.module_from_spec(spec)
    written, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    spec.loader.exec_module(module)
    sys.dont_write_bytecode = written
    return module


def dense(people: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    matrix = np.zeros((NUM_STATES, NUM_PEOPLE))
    for outcome in range(4):
        np.add.at(matrix, (np.arange(NUM_STATES), people[:, outcome]), probabilities[:, outcome])
    return matrix


def test_click_world_has_the_transitions_of_the_reference(world: ClickWorld, reference: ModuleType):
    for action in (0, 1):
        ours = dense(world.next_people[:, action], world.next_probabilities[:, action])
        theirs = dense(reference.OUT[action][1], reference.OUT[action][0])
        np.testing.assert_allclose(ours, theirs, atol=1e-12)
    people = np.arange(NUM_STATES) // NUM_ITEMS
    np.testing.assert_allclose(world.exit_probability[people], reference.exit_p(world.fatigue), atol=1e-12)
    np.testing.assert_allclose(world.item_probabilities, reference.pi_item, atol=1e-12)


@pytest.mark.parametrize(("discount", "skip_cost"), [(0.9, 0.0), (0.5, 0.3), (0.0, 0.0)])
def test_click_world_has_the_values_of_the_reference(
    reference: ModuleType, discount: float, skip_cost: float
):
    world = ClickWorld(discount=discount, skip_cost=skip_cost)
    q, _ = reference.soft_vi(reference.mean_reward(skip_cost), discount, iters=5000)
    np.testing.assert_allclose(world.mean_reward("A"), reference.mean_reward(skip_cost), atol=1e-12)
    np.testing.assert_allclose(world.q, q, atol=1e-8)
    for noise in ("N1", "N2"):
        np.testing.assert_allclose(world.noise_sd(noise), reference.sigma(noise), atol=1e-12)


def test_click_world_probabilities_sum_to_one(world: ClickWorld):
    np.testing.assert_allclose(world.next_probabilities.sum(axis=2), 1, atol=1e-12)
    assert world.item_probabilities.sum() == pytest.approx(1)


def test_a_person_and_an_item_by_hand(world: ClickWorld):
    # Tastes (2, 0, 1), fatigue 3, shown topic 1, quality 2, bait 1.
    person = (2 * 9 + 0 * 3 + 1) * 5 + 3
    state = int(world.state(np.array([person]), np.array([1 * 6 + 2 * 2 + 1]))[0])
    assert (*world.tastes[state], world.fatigue[state]) == (2, 0, 1, 3)
    assert (world.topic[state], world.quality[state], world.bait[state]) == (1, 2, 1)
    # -.2 - 1.2 + .5 - .45 + 1.2 = -.15; regretted, -2.55
    np.testing.assert_allclose(world.mean_reward("A")[state], [0, -0.15], atol=1e-12)
    np.testing.assert_allclose(world.mean_reward("B")[state], [0, -2.55], atol=1e-12)
    assert world.features[state].tolist() == [0, 0, 1, 1, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 1, 1]


def test_features_tell_states_apart(world: ClickWorld):
    assert len(np.unique(world.features, axis=0)) == NUM_STATES


def test_both_truths_share_their_behaviour(world: ClickWorld):
    a, b = (world.simulate(200, seed=5, truth=truth) for truth in ("A", "B"))
    assert a.transitions.content_hash == b.transitions.content_hash
    regretted = (world.bait[a.states] == 1) & (a.transitions.actions == 1)
    np.testing.assert_allclose((a.rewards - b.rewards)[regretted], 2.4)
    np.testing.assert_allclose((a.rewards - b.rewards)[~regretted], 0, atol=1e-12)


def test_simulation_meets_the_figures_of_the_reference_population(world: ClickWorld):
    log = world.simulate(20_000, seed=1)
    rows = log.transitions
    # The reference: 13.16 rows a user, click rate .344 (baits .448), 35 % of users cut off after 20 steps.
    assert len(rows) / 20_000 == pytest.approx(13.16, abs=0.1)
    assert rows.actions.mean() == pytest.approx(0.344, abs=0.005)
    assert rows.actions[world.bait[log.states] == 1].mean() == pytest.approx(0.448, abs=0.008)
    assert rows.truncated.sum() / 20_000 == pytest.approx(0.355, abs=0.01)


def test_simulated_rows_follow_each_other(world: ClickWorld):
    log = world.simulate(300, seed=2)
    rows = log.transitions
    ends = rows.terminated | rows.truncated
    assert ends.sum() == 300
    assert (np.diff(rows.users)[~ends[:-1]] == 0).all()
    np.testing.assert_array_equal(rows.next_states[:-1][~ends[:-1]], rows.states[1:][~ends[:-1]])
    np.testing.assert_array_equal(log.steps[1:][~ends[:-1]], log.steps[:-1][~ends[:-1]] + 1)
    assert (log.steps[rows.truncated] == 19).all()
    np.testing.assert_array_equal(rows.states, world.features[log.states])
    assert log.transitions.content_hash == world.simulate(300, seed=2).transitions.content_hash
    assert log.transitions.content_hash != world.simulate(300, seed=3).transitions.content_hash


def test_users_advance_as_the_tables_say(world: ClickWorld):
    rng = np.random.default_rng(0)
    states = np.full(200_000, 1000)
    people, left = world.advance(rng, states, np.ones(len(states), dtype=np.int64))
    seen = np.bincount(people, minlength=NUM_PEOPLE) / len(states)
    expected = dense(world.next_people[:, 1], world.next_probabilities[:, 1])[1000]
    np.testing.assert_allclose(seen, expected, atol=0.005)
    assert left.mean() == pytest.approx(float(expected @ world.exit_probability), abs=0.003)


def test_click_world_refuses_what_it_has_not(world: ClickWorld):
    with pytest.raises(ConfigError, match=r"discount must be in \[0, 1\), got 1"):
        ClickWorld(discount=1.0)
    with pytest.raises(ConfigError, match="unknown truth 'C'"):
        world.mean_reward("C")
    with pytest.raises(ConfigError, match="unknown noise 'N3'"):
        world.simulate(1, seed=0, noise="N3")
    with pytest.raises(ConfigError, match="num_users must be >= 1, got 0"):
        world.simulate(0, seed=0)
