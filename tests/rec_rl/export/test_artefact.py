import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from rec_rl.algorithms.noise_advantage import NoiseAdvantagePolicy
from rec_rl.checkpoint import last_checkpoint, save_state
from rec_rl.data.behaviour import LinearBehaviour
from rec_rl.data.transitions import UserTransitions
from rec_rl.errors import CheckpointError, ConfigError, DatasetError, RecRLError
from rec_rl.experiments.ctr_run import CTRRunSpec, run_ctr
from rec_rl.experiments.ctr_training import CTRConfig
from rec_rl.experiments.single_run import run_training
from rec_rl.experiments.training import TrainingSpec, build_algorithm, greedy_policy
from rec_rl.export import artefact as exporting
from rec_rl.export.artefact import export_run
from rec_rl.export.contents import rows_around
from rec_rl.export.graphs import GraphSpec, write_graph
from rec_rl.rewards import AnchoredConfig, fit_mental_reward
from rec_rl.rewards.bradley_terry import (
    BradleyTerryConfig,
    BradleyTerryNetwork,
    BradleyTerryRecord,
    BradleyTerryReward,
)
from rec_rl.runtime import Recommender
from rec_rl.runtime.artefact import Artefact
from rec_rl.runtime.item_graph import ItemGraph

pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")

STATE_DIM, ACTION_DIM = 6, 3


@pytest.fixture(scope="module")
def policy() -> NoiseAdvantagePolicy:
    rng = np.random.default_rng(0)

    def normal(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape, dtype=np.float32)

    behaviour = LinearBehaviour(
        center=normal(STATE_DIM),
        spread=1 + normal(STATE_DIM) ** 2,
        weights=normal(STATE_DIM + 1, ACTION_DIM),
        scale=np.array([0.5, 1, 2], np.float32),
    )
    return NoiseAdvantagePolicy(
        behaviour=behaviour,
        weights=normal(STATE_DIM + 1, ACTION_DIM),
        size=2.0,
        radius=1.5,
        penalty=0.1,
        effective_share=0.4,
    )


@pytest.fixture
def checkpoint(policy: NoiseAdvantagePolicy, tmp_path: Path) -> Path:
    policy.save(tmp_path / "policy")
    return tmp_path / "policy"


@pytest.fixture
def items(tmp_path: Path) -> Path:
    vectors = np.random.default_rng(1).normal(size=(40, ACTION_DIM)).astype(np.float32)
    frame = pd.DataFrame({"item": [f"item {i}" for i in range(40)], "vector": list(vectors)})
    frame.to_parquet(tmp_path / "items.parquet")
    return tmp_path / "items.parquet"


def test_a_policy_is_exported_whole_and_recommends(
    checkpoint: Path, items: Path, policy: NoiseAdvantagePolicy, tmp_path: Path
):
    description = export_run(checkpoint, tmp_path / "out", items=items)
    assert description == json.loads((tmp_path / "out/artefact.json").read_text())
    assert description["graphs"]["policy"]["parity"]["rows"] == 1000
    assert description["graphs"]["policy"]["parity"]["largest_error"] <= 1e-5
    card = (tmp_path / "out/MODEL_CARD.md").read_text()
    for words in (
        "Noise_advantage policy",
        "Intended use",
        "nothing is claimed",
        "policy.onnx",
        "Unknown ids",
    ):
        assert words in card
    state = np.random.default_rng(2).normal(size=(1, STATE_DIM)).astype(np.float32)
    table = pd.read_parquet(items)
    distances = np.square(np.stack(table["vector"]) - policy(state)).sum(axis=1)
    found = Recommender(tmp_path / "out").recommend({"state": state[0].tolist()}, 5, exclude=["item 7"])
    best = [i for i in np.argsort(distances) if i != 7][:5]
    assert [item for item, _ in found] == [f"item {i}" for i in best]
    np.testing.assert_allclose([score for _, score in found], -distances[best], rtol=1e-4)
    with pytest.raises(ConfigError, match="exists: give --out a new folder"):
        export_run(checkpoint, tmp_path / "out")


def test_many_items_come_with_a_graph(
    checkpoint: Path, items: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    pytest.importorskip("usearch")
    export_run(checkpoint, tmp_path / "few", items=items)
    monkeypatch.setattr(exporting, "GRAPH_FROM", 40)
    description = export_run(checkpoint, tmp_path / "many", items=items)
    assert "items-0.usearch" in description["sha256"]
    asked: list[int] = []
    search = ItemGraph.search

    def counted(self: ItemGraph, queries: np.ndarray, k: int, **masks: Any) -> Any:
        asked.append(k)
        return search(self, queries, k, **masks)

    monkeypatch.setattr(ItemGraph, "search", counted)
    user = {"state": [0.5] * STATE_DIM}
    answers = [
        Recommender(tmp_path / name).recommend(user, 5, exclude=["item 7"]) for name in ("few", "many")
    ]
    assert asked == [5]
    assert [item for item, _ in answers[1]] == [item for item, _ in answers[0]]


def test_a_graph_that_differs_is_refused_and_nothing_is_left(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def unlike(folder: Path) -> object:
        contents = contents_of(folder)
        graph = contents.graphs["policy"]
        off = replace(graph, reference=lambda states: graph.function(states) + 2e-5)
        return replace(contents, graphs={"policy": off})

    contents_of = exporting.contents_of
    monkeypatch.setattr(exporting, "contents_of", unlike)
    monkeypatch.setattr("rec_rl.export.graphs._export", write_identity)
    with pytest.raises(RecRLError, match="must agree with its network within 1e-05 on 1000 rows, differs by"):
        export_run(checkpoint, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["policy"]


def write_identity(spec: GraphSpec, path: Path) -> None:
    """A graph of the first three numbers of a state, in the exporter's place."""
    onnx = pytest.importorskip("onnx")
    ends = [
        onnx.numpy_helper.from_array(np.array([end]), name) for end, name in ((0, "a"), (3, "b"), (1, "c"))
    ]
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Slice", ["states", "a", "b", "c"], ["output"])],
        "identity",
        [onnx.helper.make_tensor_value_info("states", 1, ["rows", STATE_DIM])],
        [onnx.helper.make_tensor_value_info("output", 1, ["rows", 3])],
        ends,
    )
    onnx.save(
        onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=9), path
    )


def test_the_bound_is_absolute_and_relative_above_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("rec_rl.export.graphs._export", write_identity)
    states = rows_around(torch.zeros(STATE_DIM), torch.ones(STATE_DIM)).clamp(-0.9, 0.9)
    network = torch.nn.Identity()

    def spec(states: torch.Tensor, error: float) -> GraphSpec:
        inputs = {"states": states}
        return GraphSpec(network=network, function=lambda x: x[:, :3] + error, inputs=inputs, output="")

    assert write_graph(spec(states, 0.0), tmp_path / "x.onnx")["parity"]["largest_error"] == 0
    assert write_graph(spec(states, 5e-6), tmp_path / "x.onnx")["parity"]["largest_error"] <= 1e-5
    with pytest.raises(RecRLError, match="nothing was exported"):
        write_graph(spec(states, 2e-5), tmp_path / "x.onnx")
    assert write_graph(spec(1000 + states, 1e-3), tmp_path / "x.onnx")["parity"]["largest_error"] <= 1e-5


def test_what_does_not_export_is_said_in_one_line(checkpoint: Path, tmp_path: Path):
    with pytest.raises(DatasetError, match="neither the folder of a run nor a checkpoint"):
        export_run(tmp_path, tmp_path / "out")
    save_state(tmp_path / "other", {}, "ctr")
    with pytest.raises(ConfigError, match="must hold a reward to export, got 'ctr'"):
        export_run(tmp_path / "other", tmp_path / "out")
    (checkpoint / "state.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match="must have SHA-256"):
        export_run(checkpoint, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"item": ["a", "a"], "vector": [[1.0, 2, 3]] * 2}, "items must be unique, 1 repeat one"),
        ({"item": ["a"], "vector": [[1.0, 2]]}, r"must have 3 numbers as the actions do, got \[2\]"),
        ({"item": [1.5], "vector": [[1.0, 2, 3]]}, "item must be whole numbers or text, got double"),
        ({"item": ["a"], "vector": [[1.0, 2, float("nan")]]}, "that of item 0 is not"),
        ({"name": ["a"]}, "must be a Parquet file with columns item and vector"),
    ],
)
def test_items_that_cannot_be_used_are_refused(
    checkpoint: Path, tmp_path: Path, columns: dict[str, object], message: str
):
    pd.DataFrame(columns).to_parquet(tmp_path / "items.parquet")
    with pytest.raises(DatasetError, match=message):
        export_run(checkpoint, tmp_path / "out", items=tmp_path / "items.parquet")


@pytest.fixture(scope="module")
def ctr_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Users click on items of their own parity."""
    rng = np.random.default_rng(0)
    users, items = rng.integers(1, 61, 1500), rng.integers(1, 21, 1500)
    clicks = (rng.random(1500) < np.where(items % 2 == users % 2, 0.9, 0.1)).astype(int)
    path = tmp_path_factory.mktemp("log") / "log.csv"
    pd.DataFrame({"uid": users, "iid": items, "ts": np.arange(1500), "click": clicks}).to_csv(path)
    return path


def ctr_spec(log: Path, model: str, **settings: object) -> CTRRunSpec:
    training = CTRConfig(
        model=model,
        embedding_size=4,
        hidden_sizes=(8,),
        batch_size=128,
        learning_rate=2e-2,
        max_epochs=1,
        kappa=0.1 if "reward" in settings else 0.0,
    )
    mapping = "user=uid,item=iid,time=ts,action=click"
    return CTRRunSpec(data=str(log), mapping=mapping, training=training, **settings)


def test_a_recurrent_backbone_is_refused_by_name(ctr_log: Path, tmp_path: Path):
    from rec_rl.experiments.records import to_plain

    (tmp_path / "run").mkdir()
    settings = to_plain(ctr_spec(ctr_log, "dien"))
    (tmp_path / "run/config.json").write_text(json.dumps(settings))
    with pytest.raises(ConfigError, match=r"dien does not export; these do: wide_deep.*din"):
        export_run(tmp_path / "run", tmp_path / "out")


@pytest.mark.slow
def test_a_click_model_and_its_reward_are_exported(ctr_log: Path, tmp_path: Path):
    spec = ctr_spec(ctr_log, "din", reward="iq_learn", reward_epochs=1)
    run_ctr(spec, tmp_path / "run", resume=False, command="test")
    description = export_run(tmp_path / "run", tmp_path / "out")
    assert set(description["graphs"]) == {"click_model", "reward"}
    found = Recommender(tmp_path / "out").recommend({"history": [2, 4, 6, 999]}, 5, exclude=[2])
    assert 2 not in [item for item, _ in found]
    assert all(0 < score < 1 for _, score in found)
    assert "auc" in (tmp_path / "out/MODEL_CARD.md").read_text()
    with ctr_log.open("a") as file:
        file.write("9999,1,1,9999,1\n")
    with pytest.raises(DatasetError, match=r"must be the log that .* was trained on"):
        export_run(tmp_path / "run", tmp_path / "again")


@pytest.mark.slow
def test_rewards_are_exported_alone(tmp_path: Path):
    rng = np.random.default_rng(0)
    states = rng.normal(3, 2, (400, 5)).astype(np.float32)
    transitions = UserTransitions(
        states=states,
        actions=rng.integers(0, 2, 400),
        next_states=np.roll(states, -1, axis=0),
        terminated=np.zeros(400, np.bool_),
        truncated=np.zeros(400, np.bool_),
        users=np.repeat(np.arange(40), 10),
    )
    config = AnchoredConfig(hidden_sizes=(8,), steps=3, head_steps=3, batch_size=32)
    model = fit_mental_reward(transitions, config)
    model.save(tmp_path / "mental")
    description = export_run(tmp_path / "mental", tmp_path / "mental out")
    assert description["kind"] == "reward"
    graph = Artefact.load(tmp_path / "mental out").graph("reward")
    np.testing.assert_allclose(graph.run({"states": states}), model.reward(states), rtol=1e-5, atol=1e-5)
    with pytest.raises(ConfigError, match="has no items to recommend"):
        Recommender(tmp_path / "mental out")

    network = BradleyTerryNetwork(5, 2, (8,))
    network.center.fill_(3)
    config_of_pairs = BradleyTerryConfig(hidden_sizes=(8,))
    record = BradleyTerryRecord(
        config=config_of_pairs, seed=0, num_pairs=1, num_missing=0, data_hash="", loss=(), accuracy=()
    )
    reward = BradleyTerryReward(network, record)
    reward.save(tmp_path / "pairs")
    export_run(tmp_path / "pairs", tmp_path / "pairs out")
    graph = Artefact.load(tmp_path / "pairs out").graph("reward")
    actions = rng.normal(size=(400, 2)).astype(np.float32)
    found = graph.run({"states": states, "actions": actions})
    np.testing.assert_allclose(found, reward(states, actions), rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["ppo", "sac"])
def test_a_policy_of_virtual_taobao_is_exported_from_its_run(
    algorithm: str, tmp_path: Path, ray_session: None
):
    spec = TrainingSpec(
        algorithm=algorithm,
        settings={"hidden_sizes": (8, 8)},
        evaluation_episodes=128,
        final_episodes=128,
        steps=2_100 if algorithm == "ppo" else 600,
        evaluate_every=10_000,
    )
    run_training(spec, tmp_path / "run", resume=False, command="test")
    description = export_run(tmp_path / "run", tmp_path / "out")
    assert description["items"] is None
    assert "| ectr |" in (tmp_path / "out/MODEL_CARD.md").read_text()
    states = np.random.default_rng(1).integers(0, 2, (7, 91)).astype(np.float32)
    built = build_algorithm(spec)
    try:
        built.load_checkpoint(str(last_checkpoint(tmp_path / "run/checkpoints")))
        expected = greedy_policy(built.policy_module())(states)
    finally:
        built.stop()
    found = Artefact.load(tmp_path / "out").graph("policy").run({"states": states})
    np.testing.assert_allclose(found, np.clip(expected, -1, 1), atol=1e-5)
