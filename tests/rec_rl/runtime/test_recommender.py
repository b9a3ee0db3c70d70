import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from rec_rl.errors import CheckpointError, ConfigError
from rec_rl.runtime import FeatureError, Recommender, item_graph
from rec_rl.runtime.item_graph import EUCLIDEAN, INNER_PRODUCT, ItemGraph
from rec_rl.runtime.item_search import ItemSearch, best_rows

MakePolicy = Callable[..., Path]
VECTORS = [[0, 0], [2, 0], [0, 4], [9, 9]]


def test_a_policy_recommends_the_nearest_items(policy_artefact: MakePolicy):
    recommender = Recommender(policy_artefact(["p", "q", "r", "s"], VECTORS))
    # The action is (2, 1): squared distances 5, 1, 13 and 113.
    user = {"state": [1.0, 0.5, 7.0]}
    assert recommender.recommend(user, 3) == [("q", -1.0), ("p", -5.0), ("r", -13.0)]
    assert [found.item for found in recommender.recommend(user, 9, exclude=["p", "unheard of"])] == [*"qrs"]
    assert recommender.recommend(user, 2, exclude=[*"pqrs"]) == []


def test_a_policy_of_weights_recommends_the_largest_products(policy_artefact: MakePolicy):
    recommender = Recommender(policy_artefact([4, 3, 2, 1], VECTORS, INNER_PRODUCT))
    # (2, 1) with each: 0, 4, 4, 27; the tie keeps the items' order.
    assert recommender.recommend({"state": [1, 0.5, 0]}, 3) == [(1, 27.0), (3, 4.0), (2, 4.0)]


def test_many_questions_are_answered_as_one_by_one(policy_artefact: MakePolicy):
    recommender = Recommender(policy_artefact(["p", "q", "r", "s"], VECTORS))
    users = [{"state": state} for state in ([0, 0, 0], [5, 5, 0], [0, 2, 0])]
    queries = [recommender.query(user, k, exclude=["p"]) for k, user in enumerate(users, start=1)]
    assert recommender.recommend_many(queries) == [
        recommender.recommend(user, k, exclude=["p"]) for k, user in enumerate(users, start=1)
    ]


def test_a_click_model_scores_every_item_for_the_user(click_artefact: Path):
    recommender = Recommender(click_artefact)
    # Codes 1..5 with categories 1, 2, 1, 1, 1; two of the history are known; the user has code 2.
    found = recommender.recommend({"user": 80, "history": ["a", "never seen", "b"]}, 3)
    assert [item for item, _ in found] == ["b", "e", "d"]
    np.testing.assert_allclose([score for _, score in found], [222.2, 122.5, 122.4], rtol=1e-6)
    # An unknown user has code 0; only the last three of a history count.
    found = recommender.recommend({"user": "who", "history": [*"abcde"]}, 5, exclude=["b"])
    assert [item for item, _ in found] == ["e", "d", "c", "a"]
    np.testing.assert_allclose(found[0].score, 103.5, rtol=1e-6)
    np.testing.assert_allclose(recommender.recommend({"history": []}, 1)[0].score, 200.2, rtol=1e-6)


@pytest.mark.parametrize(
    ("user", "k", "exclude", "field", "message"),
    [
        ({}, 1, [], "user.state", "is missing"),
        ({"state": [1, 2]}, 1, [], "user.state", "must be 3 numbers, got 2 values"),
        ({"state": "abc"}, 1, [], "user.state", "must be 3 numbers, got 3 values"),
        ({"state": [1, [2], 3]}, 1, [], "user.state", "must be 3 numbers"),
        ({"state": [1, float("nan"), 3]}, 1, [], "user.state.1", "must be finite, got nan"),
        ({"state": [1, 2, 3], "age": 7}, 1, [], "user.age", "is not a feature; the features are state"),
        ([1, 2, 3], 1, [], "user", "must be an object of state"),
        ({"state": [1, 2, 3]}, 0, [], "k", "must be a whole number in 1..1000, got 0"),
        ({"state": [1, 2, 3]}, True, [], "k", "got True"),
        ({"state": [1, 2, 3]}, 1, "p", "exclude", "must be a list of item ids, got 'p'"),
        ({"state": [1, 2, 3]}, 1, ["p", 7], "exclude.1", "must be an id (text), got 7"),
    ],
)
def test_a_wrong_question_names_its_field(
    policy_artefact: MakePolicy, user: object, k: object, exclude: object, field: str, message: str
):
    recommender = Recommender(policy_artefact(["p", "q", "r", "s"], VECTORS))
    with pytest.raises(FeatureError) as caught:
        recommender.query(user, k, exclude=exclude)
    assert caught.value.field == field
    assert message in caught.value.message


def test_a_click_model_names_a_wrong_field(click_artefact: Path):
    recommender = Recommender(click_artefact)
    with pytest.raises(FeatureError, match=r"user\.history\.1 must be an id \(text\), got 3"):
        recommender.recommend({"history": ["a", 3]}, 1)
    with pytest.raises(FeatureError, match=r"user\.user must be an id, got \[1\]"):
        recommender.recommend({"history": [], "user": [1]}, 1)


def test_an_altered_artefact_is_refused(policy_artefact: MakePolicy):
    folder = policy_artefact(["p", "q", "r", "s"], VECTORS)
    graph = folder / "policy.onnx"
    whole = graph.read_bytes()
    graph.write_bytes(whole[:-1])
    with pytest.raises(CheckpointError, match=r"policy\.onnx must have SHA-256"):
        Recommender(folder)
    graph.unlink()
    with pytest.raises(CheckpointError, match=r"cut short: policy\.onnx is missing"):
        Recommender(folder)
    graph.write_bytes(whole)
    description = json.loads((folder / "artefact.json").read_text())
    (folder / "artefact.json").write_text(json.dumps(description | {"format": 99}))
    with pytest.raises(CheckpointError, match="does not describe an artefact of format 1"):
        Recommender(folder)
    with pytest.raises(CheckpointError, match="is not an exported artefact"):
        Recommender(folder.parent)


def test_an_artefact_without_items_recommends_nothing(policy_artefact: MakePolicy):
    folder = policy_artefact(["p"], VECTORS[:1])
    description = json.loads((folder / "artefact.json").read_text())
    del description["sha256"]["items.npz"]
    (folder / "artefact.json").write_text(json.dumps(description))
    with pytest.raises(ConfigError, match="export a policy with --items"):
        Recommender(folder)


def test_best_rows_leave_out_what_is_excluded_and_keep_the_order_of_ties():
    scores = np.array([1, 5, -np.inf, 5, 0], np.float32)
    assert best_rows(scores, 3).tolist() == [1, 3, 0]
    assert best_rows(scores, 9).tolist() == [1, 3, 0, 4]


@pytest.mark.parametrize("metric", [EUCLIDEAN, INNER_PRODUCT])
def test_the_graph_of_an_artefact_finds_what_scoring_all_finds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, metric: str
):
    pytest.importorskip("usearch")
    monkeypatch.setattr(item_graph, "MOST_SCORED", 200)  # three layers
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(1000, 4)).astype(np.float32)
    ItemGraph.build(vectors, metric).save(tmp_path / "items")
    exact = ItemSearch(vectors, metric)
    graph = ItemSearch(vectors, metric, tmp_path / "items")
    found: dict[int, list[float]] = {5: [], 600: []}  # the graph, and too many to ask it
    for action in rng.normal(size=(20, 4)).astype(np.float32):
        best, _ = exact.search(action, 40, np.array([], np.int64))
        excluded = best[:30]
        for k in found:
            rows, scores = graph.search(action, k, excluded)
            every, every_score = exact.search(action, 970, excluded)
            score_of = dict(zip(every.tolist(), every_score.tolist(), strict=True))  # excluded ones have none
            np.testing.assert_allclose(scores, [score_of[row] for row in rows.tolist()], rtol=1e-4, atol=1e-5)
            found[k].append(np.isin(rows, every[:k]).mean())
    assert np.mean(found[5]) > 0.95  # building a graph on several threads is not the same twice
    assert np.mean(found[600]) == 1
