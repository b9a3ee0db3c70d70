import sys
import time
from pathlib import Path

import numpy as np
import pytest

from envs.session_rollouts import (
    ORACLE_PARTS,
    Policy,
    logging_policy,
    on_states,
    online_levels,
    oracle,
    record_log,
)
from envs.session_world import ACTION_DIM, STATE_DIM, SessionWorld
from rec_rl.data.levels import TASKS, mean_level_of_users, session_levels, user_averages
from rec_rl.data.sessions import SessionLog
from rec_rl.errors import CheckpointError


def served(world: SessionWorld, requests: int) -> list[np.ndarray]:
    outcomes = []
    for _ in range(requests):
        outcome = world.step(world.serve(world.logging_mean()))
        outcomes += [outcome.ended.copy(), outcome.gap.copy(), world.observe().copy()]
    return outcomes


def test_world_is_a_function_of_its_seeds():
    for a, b in zip(served(SessionWorld(20, 3), 30), served(SessionWorld(20, 3), 30), strict=True):
        np.testing.assert_array_equal(a, b)
    other = SessionWorld(20, 3)
    other.reset(4)
    np.testing.assert_array_equal(other.taste, SessionWorld(20, 3).taste)
    assert not np.array_equal(served(other, 5)[2], served(SessionWorld(20, 3), 5)[2])


def test_looking_at_states_does_not_change_a_life():
    watched, alone = SessionWorld(50, 0), SessionWorld(50, 0)
    for _ in range(40):
        watched.observe()
        a, b = (world.step(world.serve(world.logging_mean())) for world in (watched, alone))
        np.testing.assert_array_equal(a.gap, b.gap)


def test_a_state_stays_until_the_next_step():
    world = SessionWorld(5, seed=0)
    first = world.observe().copy()
    np.testing.assert_array_equal(world.observe(), first)
    world.step(world.logging_mean())
    assert (world.observe()[:, 215:] != first[:, 215:]).all()  # what the platform sees anew at each request


def test_world_goes_on_from_its_state():
    world = SessionWorld(20, 1)
    served(world, 25)
    state = world.get_state()
    expected = served(world, 25)
    again = SessionWorld(20, 9)
    again.set_state(state)
    for a, b in zip(expected, served(again, 25), strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(CheckpointError, match="20 users, expected 5"):
        SessionWorld(5, 1).set_state(state)


def test_world_refuses_items_of_a_wrong_shape_or_not_finite():
    world = SessionWorld(3, 0)
    with pytest.raises(ValueError, match=r"must have shape \(3, 8\)"):
        world.step(np.zeros((3, 7)))
    items = np.zeros((3, ACTION_DIM))
    items[1, 2] = np.nan
    with pytest.raises(ValueError, match="that of user 1 is not"):
        world.step(items)
    with pytest.raises(ValueError, match="num_users"):
        SessionWorld(0, 0)


def test_oracles_serve_what_they_are_named_after():
    world = SessionWorld(10, 0)
    world.step(world.serve(world.logging_mean()))
    start = world.logging_mean()
    np.testing.assert_allclose(oracle("taste")(world)[:, :7], world.taste, atol=1e-6)
    np.testing.assert_array_equal(oracle("taste")(world)[:, 7], start[:, 7])
    np.testing.assert_allclose(oracle("taste", "calm")(world)[:, 7], -1, atol=1e-6)
    halfway = oracle("click", share=0.5)(world)
    np.testing.assert_allclose(halfway[:, 7], 0.5 * (0.25 + 1))
    np.testing.assert_array_equal(halfway[:, :7], start[:, :7])
    assert set(ORACLE_PARTS) == {"taste", "diverse", "profile", "anti", "neutral", "click", "calm"}


def test_recorded_log_is_what_the_world_did():
    record = record_log(SessionWorld(15, 2), 40, shadows={"taste": oracle("taste")})
    log = record.log
    world = SessionWorld(15, 2)
    rows = np.arange(15) * 40
    for t in range(40):
        np.testing.assert_array_equal(log.states[rows + t], world.observe().astype(np.float16))
        np.testing.assert_array_equal(record.policy_means["taste"][rows + t], oracle("taste")(world))
        items = world.serve(world.logging_mean())
        np.testing.assert_array_equal(log.actions[rows + t], items)
        outcome = world.step(items)
        ends_here = np.isin(rows + t + 1, log.session_starts) & (t < 39)
        np.testing.assert_array_equal(ends_here, outcome.ended & (t < 39))
        if ends_here.any():
            sessions = np.searchsorted(log.session_starts, rows[ends_here] + t + 1) - 1
            np.testing.assert_allclose(log.gaps[sessions], outcome.gap[ends_here], rtol=1e-6)
            np.testing.assert_array_equal(log.depths[sessions], outcome.depth[ends_here])


def test_policy_on_states_sees_the_recorded_states():
    seen = []
    policy = on_states(lambda states: seen.append(states) or np.zeros((4, ACTION_DIM), np.float32))
    policy(SessionWorld(4, 0))
    assert seen[0].shape == (4, STATE_DIM)


@pytest.fixture(scope="module")
def world_and_log() -> tuple[SessionWorld, SessionLog]:
    world = SessionWorld(800, 0)
    return world, record_log(world, 240).log


def test_logging_policy_hits_the_worlds_figures(world_and_log: tuple[SessionWorld, SessionLog]):
    log = world_and_log[1]
    levels = session_levels(log)
    assert log.depths.mean() == pytest.approx(8.1, abs=0.5)
    assert len(log.depths) / 800 == pytest.approx(29, abs=2)
    in_sample = {task: np.nanmean(mean_level_of_users(log, levels.of(task))) for task in TASKS}
    assert in_sample["depth"] == pytest.approx(0.566, abs=0.02)
    assert in_sample["frequency"] == pytest.approx(0.643, abs=0.02)


@pytest.mark.parametrize(
    ("policy", "depth", "frequency", "band"),
    [
        (logging_policy, 0.617, 0.648, 0.03),
        (oracle("taste"), 1.27, 1.10, 0.06),
        (oracle("taste", "click"), 1.43, 0.61, 0.06),
        (oracle("diverse", "calm"), 1.05, 2.40, 0.06),
        (oracle("click"), 0.71, 0.29, 0.06),
        (oracle("calm"), 0.48, 1.60, 0.06),
        (oracle("anti"), 0.26, 0.34, 0.06),
    ],
    ids=["logging", "taste", "taste+click", "diverse+calm", "click", "calm", "anti"],
)
def test_policies_earn_the_worlds_figures_online(
    world_and_log: tuple[SessionWorld, SessionLog],
    policy: Policy,
    depth: float,
    frequency: float,
    band: float,
):
    world, log = world_and_log
    earned = online_levels(world, policy, user_averages(log), 240, seed=5)
    assert np.nanmean(earned["depth"]) == pytest.approx(depth, abs=band)
    assert np.nanmean(earned["frequency"]) == pytest.approx(frequency, abs=band)
    np.testing.assert_allclose(earned["mixture"], (earned["depth"] + earned["frequency"]) / 2)


def test_world_agrees_with_the_reference(shared_data: Path):
    folder = shared_data.parent / "reference"
    if not (folder / "session_world.py").is_file():
        pytest.skip(f"no reference at {folder}")
    sys.path.insert(0, str(folder))
    import session_world as reference

    sys.path.remove(str(folder))
    world, theirs = SessionWorld(64, 0), reference.World(64, 0)
    # The same users in the same state, shown the same items: what the streams do not decide must agree.
    theirs.theta, theirs.alpha, theirs.gam = (
        world.taste.copy(),
        world._patience.copy(),
        world._base_gap.copy(),
    )
    theirs.static, theirs.snoise, theirs.xi = (
        world._core[:, :24].copy(),
        world._frozen_noise.copy(),
        world._whim.copy(),
    )
    theirs.g, theirs.clock = world.profile.copy(), world._clock.copy()
    np.testing.assert_allclose(world.observe()[:, :215], theirs.obs()[:, :215], atol=1e-5)
    for _ in range(3):
        np.testing.assert_allclose(world.logging_mean(), theirs.mu_b(), atol=1e-5)
        items = world.serve(world.logging_mean())
        world.step(items)
        theirs.step(items)
        np.testing.assert_allclose(world._mood, theirs.m, atol=1e-5)
        theirs.k, theirs.liked, theirs.fb = (
            world._requests.astype(np.int64),
            world._core[:, 40:48].copy(),
            ((world._core[:, 48:54] + 1) / 2),
        )
        theirs.h, theirs.hist, theirs.si = (
            world._core[:, 32:40].copy(),
            world._history.copy(),
            world._sessions.copy(),
        )
        theirs.clock, theirs.xi = world._clock.copy(), world._whim.copy()
        np.testing.assert_allclose(world.observe()[:, :215], theirs.obs()[:, :215], atol=1e-4)


@pytest.mark.slow
def test_world_serves_a_hundred_thousand_requests_a_second():
    world = SessionWorld(3000, 0)
    record_log(world, 4)
    started = time.process_time()
    record_log(world, 60)
    assert 3000 * 60 / (time.process_time() - started) > 100_000
