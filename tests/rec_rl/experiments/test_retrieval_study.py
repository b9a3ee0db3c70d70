import numpy as np
import pytest

from envs.session_world import SessionWorld
from rec_rl.experiments.retrieval_study import StudySize, changes, measure_search
from rec_rl.experiments.retrieval_value import (
    CatalogueWorld,
    NearestItems,
    RetrievedPolicy,
    ServedItems,
    catalogue_like,
    served_levels,
)


def test_the_world_shows_the_nearest_item_of_its_catalogue():
    vectors = np.random.default_rng(0).normal(size=(5, 8)).astype(np.float32)
    served, free = CatalogueWorld(4, 0, NearestItems(vectors)), SessionWorld(4, 0)
    asked = vectors[[3, 0, 0, 4]] + 0.01
    for got, expected in zip(served.step(asked), free.step(vectors[[3, 0, 0, 4]]), strict=True):
        np.testing.assert_array_equal(got, expected)


def test_a_retrieved_policy_serves_items():
    class Constant:
        state_dim = 245

        def __call__(self, states: np.ndarray) -> np.ndarray:
            return np.tile(np.float32([0.9, 0.2]), (len(states), 1))

    vectors = np.array([[5, 5], [1, 0], [0, 0]], np.float32)
    policy = RetrievedPolicy(Constant(), NearestItems(vectors))
    assert policy.state_dim == 245
    assert policy(np.zeros((2, 245))).tolist() == [[1, 0], [1, 0]]


def test_a_smaller_catalogue_is_part_of_a_larger_one():
    actions = np.random.default_rng(0).normal([1, -1, 3], [1, 2, 1], (2000, 3)).astype(np.float32)
    items = catalogue_like(actions, 5000, seed=1)
    np.testing.assert_allclose(items[:, :2].mean(axis=0), [1, -1], atol=0.15)
    np.testing.assert_allclose(items[:, :2].std(axis=0), [1, 2], atol=0.15)
    assert (items[:, 2] <= 1).all()
    np.testing.assert_array_equal(catalogue_like(actions, 50, seed=1), items[:50])


def test_a_search_is_measured_against_the_truth():
    pytest.importorskip("usearch")
    size = StudySize(num_items=1500, num_queries=5, num_batches=1)
    found = measure_search(4, "cosine", size, lambda _: None)
    assert list(found) == ["exact", "graph", "exact masked", "graph masked"]
    for metrics in found.values():
        assert metrics["leaked"].value == 0
        assert metrics["recall"].value > 0.9
        assert 0 < metrics["p50_ms"].value <= metrics["p99_ms"].value
    assert found["exact"]["recall"].value == 1


def test_changes_are_paired_within_worlds():
    worlds = [
        {"levels": {"free": {"depth": x}, "with": {"depth": x - 0.5}}, "free": {"with": "free"}}
        for x in (1.0, 3.0)
    ]
    change = changes(worlds)["with"]["depth_change"]
    assert (change.value, change.low, change.high) == (-0.5, -0.5, -0.5)


@pytest.mark.slow
def test_served_levels_come_near_those_without_a_catalogue_as_it_grows():
    size = ServedItems(seed=0, catalogues=(20, 20_000), num_users=150, num_requests=60)
    result = served_levels(size, lambda _: None)
    levels = {arm: value["mixture"] for arm, value in result["levels"].items()}
    gaps = {arm: abs(levels[arm] - levels[free]) for arm, free in result["free"].items()}
    assert gaps["logging, 20,000 items, served"] < 0.1
    assert gaps["closed form, 20,000 items, mean"] < 0.1
