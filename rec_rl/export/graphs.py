"""One network as an ONNX graph, and the proof that both say the same."""

import logging
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rec_rl.errors import ConfigError, RecRLError
from rec_rl.runtime.artefact import Graph

PARITY_ROWS = 1_000
LARGEST_ERROR = 1e-5


@dataclass(frozen=True, kw_only=True)
class GraphSpec:
    """What is exported, and what it is fed.

    Attributes:
        network: Whose parameters the graph holds.
        function: Takes the inputs in their order and gives one output, whose first axis is theirs.
        inputs: PARITY_ROWS rows of every input by name; the first axis is the rows.
        output: Its name and shape, in words.
        free_axes: Names of further axes of any length, by input and axis.
        reference: The original, where ``function`` is a form of it made for export; by default ``function``.
    """

    network: nn.Module
    function: Callable[..., Tensor]
    inputs: Mapping[str, Tensor]
    output: str
    free_axes: Mapping[str, Mapping[int, str]] = field(default_factory=dict)
    reference: Callable[..., Tensor] | None = None


class _Function(nn.Module):
    """The function as a network of its own, which is what the exporter takes."""

    def __init__(self, spec: GraphSpec) -> None:
        super().__init__()
        self.network = spec.network
        self._function = spec.function

    def forward(self, *inputs: Tensor) -> Tensor:
        return self._function(*inputs)


def write_graph(spec: GraphSpec, path: Path) -> dict[str, Any]:
    """Writes the graph and compares it with the network on all rows.

    Returns:
        What ``artefact.json`` says of it.

    Raises:
        ConfigError: If the packages of the extra ``export`` are not installed.
        RecRLError: If the two differ by more than LARGEST_ERROR.
    """
    _export(spec, path)
    error = parity_error(spec, path)
    if not error <= LARGEST_ERROR:
        raise RecRLError(
            f"{path.name} must agree with its network within {LARGEST_ERROR:g} on {PARITY_ROWS} rows, "
            f"differs by {error:.2g}: nothing was exported"
        )
    shapes = {name: ["rows", *tensor.shape[1:]] for name, tensor in spec.inputs.items()}
    for name, axes in spec.free_axes.items():
        for axis, word in axes.items():
            shapes[name][axis] = word
    return {
        "file": path.name,
        "inputs": {
            name: {"shape": shapes[name], "type": str(tensor.dtype).removeprefix("torch.")}
            for name, tensor in spec.inputs.items()
        },
        "output": spec.output,
        "parity": {"rows": PARITY_ROWS, "largest_error": float(f"{error:.3g}"), "bound": LARGEST_ERROR},
    }


@torch.inference_mode()
def parity_error(spec: GraphSpec, path: Path) -> float:
    """Largest difference of graph and network over the rows: absolute, or relative to outputs above 1."""
    expected = (spec.reference or spec.function)(*spec.inputs.values()).numpy()
    found = Graph(path).run({name: tensor.numpy() for name, tensor in spec.inputs.items()})
    if found.shape != expected.shape or len(expected) != PARITY_ROWS:
        raise ValueError(f"outputs must have shape {expected.shape} of {PARITY_ROWS} rows, got {found.shape}")
    return float((np.abs(found - expected) / np.maximum(1, np.abs(expected))).max())


def _export(spec: GraphSpec, path: Path) -> None:
    try:
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ConfigError("the export needs onnx and onnxscript: pip install 'rec_rl[export]'") from error
    rows = torch.export.Dim("rows")
    named = {word: torch.export.Dim(word) for axes in spec.free_axes.values() for word in axes.values()}
    dynamic = tuple(
        {0: rows} | {axis: named[word] for axis, word in spec.free_axes.get(name, {}).items()}
        for name in spec.inputs
    )
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it warns that torchvision is absent
    with warnings.catch_warnings(), torch.no_grad():  # with gradients networks are nodes for training
        warnings.simplefilter("ignore")  # the exporter's own, about its internals
        program = torch.onnx.export(
            _Function(spec).eval(),
            tuple(tensor[:3].clone() for tensor in spec.inputs.values()),
            dynamo=True,
            dynamic_shapes=(dynamic,),
            input_names=list(spec.inputs),
            output_names=["output"],
            verbose=False,
        )
    assert program is not None
    program.save(path)
