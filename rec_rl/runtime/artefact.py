"""An exported artefact on disk: its description, its graphs, and whether they are what was exported."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rec_rl.errors import CheckpointError, ConfigError, check_name

FORMAT = 1
DESCRIPTION = "artefact.json"
ITEMS, ITEM_GRAPH = "items.npz", "items"
CARD = "MODEL_CARD.md"

POLICY, CLICK_MODEL, REWARD = "policy", "click_model", "reward"
KINDS = (POLICY, CLICK_MODEL, REWARD)

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, kw_only=True)
class Artefact:
    """What `rec-rl export` wrote.

    Attributes:
        folder: Where it lies.
        description: The content of ``artefact.json``: kind, features, graphs, source.
        items: Arrays of ``items.npz``; empty without items.
    """

    folder: Path
    description: Mapping[str, Any]
    items: Arrays

    @classmethod
    def load(cls, folder: str | Path) -> "Artefact":
        """Reads an artefact and checks every file against its hash.

        Raises:
            CheckpointError: If it is missing, cut short, altered or of another format.
        """
        folder = Path(folder)
        description = _read_description(folder)
        for name, expected in description["sha256"].items():
            path = folder / name
            if not path.is_file():
                raise CheckpointError(f"artefact {folder} is cut short: {name} is missing")
            if (actual := file_hash(path)) != expected:
                raise CheckpointError(f"{path} must have SHA-256 {expected[:12]}..., got {actual[:12]}...")
        items: Arrays = {}
        if ITEMS in description["sha256"]:
            with np.load(folder / ITEMS, allow_pickle=False) as stored:
                items = {name: stored[name] for name in stored.files}
        return cls(folder=folder, description=description, items=items)

    @property
    def kind(self) -> str:
        """A name in KINDS."""
        return str(self.description["kind"])

    def graph(self, name: str, *, threads: int = 1) -> "Graph":
        """One of its ONNX graphs, ready to run.

        Raises:
            ConfigError: If it has no graph of that name.
        """
        graphs = self.description["graphs"]
        file = graphs[check_name(f"graph of {self.folder}:", name, graphs)]["file"]
        return Graph(self.folder / file, threads=threads)


class Graph:
    """An ONNX graph on the CPU.

    Args:
        path: The file.
        threads: That one run may use.
    """

    def __init__(self, path: Path, *, threads: int = 1) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise ConfigError("an artefact needs onnxruntime: pip install onnxruntime") from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        try:
            self._session = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime has a class for every way in which a file is no graph
            raise CheckpointError(f"{path} is no ONNX graph: {error}") from error

    def run(self, inputs: Arrays) -> NDArray[np.float32]:
        """The graph's only output for named inputs."""
        output: NDArray[np.float32] = self._session.run(None, dict(inputs))[0]
        return output


def file_hash(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_description(folder: Path) -> dict[str, Any]:
    path = folder / DESCRIPTION
    try:
        description = json.loads(path.read_text())
        known = description["format"] == FORMAT and description["kind"] in KINDS
        whole = all(isinstance(description[name], dict) for name in ("graphs", "features", "sha256"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise CheckpointError(f"{folder} is not an exported artefact: it has no {DESCRIPTION}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} does not describe an artefact") from error
    if not (known and whole):
        raise CheckpointError(f"{path} does not describe an artefact of format {FORMAT}")
    return dict(description)
