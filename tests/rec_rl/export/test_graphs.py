from pathlib import Path

import pytest
import torch
from torch import nn

from rec_rl.algorithms.networks import MLP
from rec_rl.export.graphs import PARITY_ROWS, GraphSpec, write_graph

pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")


@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh])
def test_a_network_that_trains_as_one_node_takes_any_number_of_rows(
    activation: type[nn.Module], tmp_path: Path
):
    network = MLP([3, 4, 2], activation)
    rows = {"states": torch.randn(PARITY_ROWS, 3)}
    written = write_graph(
        GraphSpec(network=network, function=network, inputs=rows, output="actions"), tmp_path / "policy.onnx"
    )
    assert written["parity"]["rows"] == PARITY_ROWS > 3  # three rows make the graph
