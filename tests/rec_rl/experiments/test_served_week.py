import numpy as np
import pytest

from envs.click_world import NUM_FATIGUES, ClickWorld
from rec_rl.experiments.served_week import serve


@pytest.fixture(scope="module")
def world() -> ClickWorld:
    return ClickWorld()


EVERY_DAY = np.ones(1500)


def people(world: ClickWorld) -> np.ndarray:
    return world.draw_people(np.random.default_rng(0), len(EVERY_DAY))


def test_a_model_that_seeks_baits_loses_time_where_they_are_regretted(world: ClickWorld):
    baits, none = world.bait.astype(np.float32), -world.bait.astype(np.float32)
    minutes = {}
    for truth in ("A", "B"):
        for name, scores in (("baits", baits), ("none", none)):
            rng = np.random.default_rng(1)
            minutes[truth, name], _ = serve(
                world, people(world), EVERY_DAY, scores, days=2, truth=truth, rng=rng
            )
            assert minutes[truth, name].shape == (1500, 2)
    assert minutes["A", "baits"][:, 0].mean() > minutes["A", "none"][:, 0].mean()
    assert minutes["B", "baits"][:, 0].mean() < minutes["B", "none"][:, 0].mean()
    # Baits cost tastes, so that the second day of whoever saw them is worse.
    assert minutes["A", "baits"][:, 1].mean() < minutes["A", "baits"][:, 0].mean()


def test_truth_decides_what_is_watched_and_not_what_is_done(world: ClickWorld):
    scores = world.click_probability
    after = [
        serve(world, people(world), EVERY_DAY, scores, days=1, truth=truth, rng=np.random.default_rng(2))[1]
        for truth in ("A", "B")
    ]
    np.testing.assert_array_equal(*after)


def test_users_start_a_day_rested_and_are_left_as_they_came(world: ClickWorld):
    tired = people(world) + NUM_FATIGUES - 1
    kept = tired.copy()
    scores = np.zeros(len(world.features), np.float32)
    rested, _ = serve(
        world, people(world), EVERY_DAY, scores, days=1, truth="A", rng=np.random.default_rng(3)
    )
    minutes, _ = serve(world, tired, EVERY_DAY, scores, days=1, truth="A", rng=np.random.default_rng(3))
    np.testing.assert_array_equal(minutes, rested)
    np.testing.assert_array_equal(tired, kept)


def test_users_come_on_their_share_of_the_days(world: ClickWorld):
    activity = np.repeat([0.0, 0.25], 750)
    scores = world.click_probability
    rng = np.random.default_rng(4)
    minutes, after = serve(world, people(world), activity, scores, days=4, truth="A", rng=rng)
    assert not minutes[:750].any()
    np.testing.assert_array_equal(after[:750], people(world)[:750])
    assert (minutes[750:] > 0).mean() == pytest.approx(0.25, abs=0.03)  # hardly anybody watches nothing
