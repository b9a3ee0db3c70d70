import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rec_rl.runtime.artefact import DESCRIPTION, FORMAT, ITEMS, file_hash


def write_artefact(folder: Path, description: dict[str, Any], graph: Any, items: dict[str, Any]) -> Path:
    """An artefact of one graph made by hand, without torch."""
    import onnx

    folder.mkdir()
    name = description["kind"]
    opset = onnx.helper.make_opsetid("", 17)
    onnx.save(onnx.helper.make_model(graph, opset_imports=[opset], ir_version=9), folder / f"{name}.onnx")
    np.savez(folder / ITEMS, **items)
    description |= {"format": FORMAT, "what": "made by hand", "graphs": {name: {"file": f"{name}.onnx"}}}
    description |= {"source": {"data_hash": None}}
    description["items"]["count"] = len(items["ids"])
    description["sha256"] = {path.name: file_hash(path) for path in folder.iterdir()}
    (folder / DESCRIPTION).write_text(json.dumps(description))
    return folder


@pytest.fixture
def policy_artefact(tmp_path: Path) -> Callable[..., Path]:
    """Makes a policy that serves the first two of three numbers of the state, times two."""
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    from onnx import TensorProto, helper, numpy_helper

    def make(ids: Any, vectors: Any, metric: str = "euclidean") -> Path:
        weights = np.array([[2, 0], [0, 2], [0, 0]], np.float32)
        graph = helper.make_graph(
            [helper.make_node("MatMul", ["states", "weights"], ["output"])],
            "policy",
            [helper.make_tensor_value_info("states", TensorProto.FLOAT, ["rows", 3])],
            [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["rows", 2])],
            [numpy_helper.from_array(weights, "weights")],
        )
        features = {"state": {"type": "vector of numbers", "size": 3, "required": True, "meaning": ""}}
        description = {"kind": "policy", "features": features, "items": {"metric": metric, "graph": False}}
        arrays = {"ids": np.array(ids), "vectors": np.array(vectors, np.float32)}
        return write_artefact(tmp_path / "artefact", description, graph, arrays)

    return make


@pytest.fixture
def click_artefact(tmp_path: Path) -> Path:
    """A click model of five items: .1 per item code, + 1 for each element of the history, + 10 per user code,
    + 100 per category code."""
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    from onnx import TensorProto, helper, numpy_helper

    names = ("users", "items", "categories", "history_items", "history_categories", "lengths")
    factors = {"users": 10.0, "items": 0.1, "categories": 100.0, "lengths": 1.0}
    nodes = []
    for name in factors:
        nodes.append(helper.make_node("Cast", [name], [f"{name}_float"], to=TensorProto.FLOAT))
        nodes.append(helper.make_node("Mul", [f"{name}_float", f"{name}_factor"], [f"{name}_part"]))
    nodes.append(helper.make_node("Sum", [f"{name}_part" for name in factors], ["output"]))
    graph = helper.make_graph(
        nodes,
        "click_model",
        [
            helper.make_tensor_value_info(
                name, TensorProto.INT64, ["rows", "history"] if name.startswith("history") else ["rows"]
            )
            for name in names
        ],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["rows"])],
        [numpy_helper.from_array(np.array(x, np.float32), f"{name}_factor") for name, x in factors.items()],
    )
    features = {
        "user": {"type": "id", "required": False, "meaning": ""},
        "history": {"type": "list of item ids", "most": 3, "required": True, "meaning": ""},
    }
    items = {
        "ids": np.array(["a", "b", "c", "d", "e"]),
        "categories": np.array([0, 1, 2, 1, 1, 1], np.int32),
        "user_ids": np.array([70, 80]),
    }
    description = {"kind": "click_model", "features": features, "items": {"metric": None}}
    return write_artefact(tmp_path / "artefact", description, graph, items)
