"""State on disk: whole or not at all, verified when read, and never executed.

A checkpoint is a folder of ``state.safetensors`` (every array), ``state.json`` (everything else, with
references to the arrays) and ``manifest.json`` (what wrote it, and the SHA-256 of both).
"""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from rec_rl.errors import CheckpointError
from rec_rl.progress import say

CHECKPOINTS = "checkpoints"
"""A run's folder of them."""
FORMAT = 1
SECONDS = 10.0
"""Between two states that `Checkpoints` keeps."""
_FILES = ("state.safetensors", "state.json")


def save_state(directory: Path, state: Any, kind: str) -> None:
    """Writes a tree of dicts, lists, numbers, strings, arrays and tensors.

    The folder appears by one rename after everything in it has reached the disk; an older one in its place
    is replaced only then.

    Args:
        directory: The checkpoint's folder.
        state: The tree. Tuples come back as lists.
        kind: What the state belongs to, such as an algorithm's name; checked by `load_state`.

    Raises:
        CheckpointError: If the folder cannot be written, or holds something else.
    """
    check_replaceable(directory, kind)
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    tree = _pack(state, arrays)
    staging = directory.with_name(f".{directory.name}.{os.getpid()}.partial")
    try:
        staging.mkdir(parents=True)
        save_file(arrays, staging / _FILES[0])
        (staging / _FILES[1]).write_text(json.dumps(tree, allow_nan=True))
        hashes = {name: _sha256(staging / name) for name in _FILES}
        manifest = {"format": FORMAT, "kind": kind, "sha256": hashes}
        (staging / "manifest.json").write_text(json.dumps(manifest, indent=1))
        for path in (*(staging / name for name in (*_FILES, "manifest.json")), staging):
            _flush(path)
        _replace(staging, directory)
    except (OSError, SafetensorError) as error:  # safetensors wraps what the disk says
        reason = error.strerror if isinstance(error, OSError) else None
        raise CheckpointError(f"cannot write checkpoint {directory}: {reason or error}") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def check_replaceable(directory: Path, kind: str) -> None:
    """Raises CheckpointError if ``directory`` holds anything but a checkpoint of this kind."""
    if not directory.is_dir() or not any(directory.iterdir()):
        return
    try:
        held = state_kind(directory)
    except CheckpointError:
        held = "something else"
    if held != kind:
        raise CheckpointError(f"cannot write checkpoint {directory}: it holds {held}, not {kind}")


def load_state(directory: Path, kind: str) -> Any:
    """Reads what `save_state` wrote; arrays come back as numpy arrays.

    Raises:
        CheckpointError: If the folder is missing, cut short, altered or of another kind.
    """
    manifest = _read_manifest(directory)
    if manifest["kind"] != kind:
        raise CheckpointError(f"checkpoint {directory} must be of {kind!r}, got {manifest['kind']!r}")
    for name, expected in manifest["sha256"].items():
        path = directory / name
        if not path.is_file():
            raise CheckpointError(f"checkpoint {directory} is cut short: {name} is missing")
        if (actual := _sha256(path)) != expected:
            raise CheckpointError(
                f"checkpoint file {path} must have SHA-256 {expected[:12]}..., got {actual[:12]}..."
            )
    try:
        arrays = load_file(directory / _FILES[0])
        return _unpack(json.loads((directory / _FILES[1]).read_text()), arrays)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"checkpoint {directory} does not hold a state: {error}") from error


def state_kind(directory: Path) -> str:
    """What a checkpoint belongs to: the ``kind`` that it was saved with.

    Raises:
        CheckpointError: If the folder is not a checkpoint.
    """
    return str(_read_manifest(directory)["kind"])


def last_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint in a run's ``folder`` of them; None if there is none."""
    return max(folder.glob("step_*"), default=None)


def keep_checkpoint(save: Callable[[str], None], folder: Path | None, step: int) -> None:
    """Saves a checkpoint under its step, and removes all but the one before it; None keeps none."""
    if folder is None:
        return
    save(str(folder / f"step_{step:09d}"))
    unfinished = folder.glob(".step_*")  # of a process that was killed while it wrote
    for old in (*sorted(folder.glob("step_*"))[:-2], *unfinished):
        shutil.rmtree(old)


def restore_last(restore: Callable[[str], None], folder: Path | None) -> list[str]:
    """Restores the newest whole checkpoint in ``folder``, if there is one.

    Returns:
        A sentence for each newer one that had to be passed over.

    Raises:
        CheckpointError: If there are checkpoints and none is whole.
    """
    passed_over: list[str] = []
    for path in sorted(folder.glob("step_*"), reverse=True) if folder is not None else ():
        try:
            restore(str(path))
            return passed_over
        except CheckpointError as error:
            passed_over.append(f"{error}; going on from the one before it")
            refusal = error
    if passed_over:
        raise CheckpointError(f"no checkpoint in {folder} is whole: {refusal}")
    return passed_over


class Checkpoints:
    """The last states of training that takes no longer than minutes, by which it goes on where it was ended.

    Args:
        folder: Where they are kept; None keeps none.
        kind: What they belong to, as for `save_state`.
    """

    def __init__(self, folder: Path | None, kind: str) -> None:
        self._folder, self._kind = folder, kind
        self._kept_at = time.monotonic()

    def restore(self, restore: Callable[[Any], None]) -> None:
        """Hands the newest whole state to ``restore``, if there is one, and says what was passed over.

        Raises:
            CheckpointError: If there are states and none is whole.
        """
        for note in restore_last(lambda path: restore(load_state(Path(path), self._kind)), self._folder):
            say(note)

    def offer(self, step: int, state: Callable[[], Any]) -> None:
        """Keeps a state, if the last one is older than SECONDS."""
        if time.monotonic() - self._kept_at > SECONDS:
            self.keep(step, state)

    def keep(self, step: int, state: Callable[[], Any]) -> None:
        """Keeps a state."""
        keep_checkpoint(lambda path: save_state(Path(path), state(), self._kind), self._folder, step)
        self._kept_at = time.monotonic()


def check_same(state: Mapping[str, Any], **mine: Any) -> None:
    """Raises CheckpointError where a state, loaded or not, is not of this setting, seed or data."""
    for name, value in mine.items():
        expected, got = (_unpack(_pack(side, {}), {}) for side in (value, state[name]))  # tuples as lists
        if got != expected:
            raise CheckpointError(f"the checkpoint's {name.replace('_', ' ')} must be {expected}, got {got}")


def as_tensors(node: Any) -> Any:
    """A loaded tree with tensors for its arrays."""
    if isinstance(node, np.ndarray):
        return torch.tensor(node)
    if isinstance(node, dict):
        return {key: as_tensors(value) for key, value in node.items()}
    if isinstance(node, list):
        return [as_tensors(value) for value in node]
    return node


def _read_manifest(directory: Path) -> dict[str, Any]:
    try:
        manifest = json.loads((directory / "manifest.json").read_text())
        if manifest["format"] != FORMAT or set(manifest["sha256"]) != set(_FILES):
            raise KeyError("format")
    except FileNotFoundError as error:
        raise CheckpointError(f"{directory} is not a checkpoint: it has no manifest.json") from error
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{directory / 'manifest.json'} is not a checkpoint's manifest") from error
    return dict(manifest)


def _pack(node: Any, arrays: dict[str, np.ndarray[Any, Any]]) -> Any:
    if isinstance(node, torch.Tensor):
        node = node.detach().cpu().numpy()
    if isinstance(node, np.generic):
        return node.item()
    if isinstance(node, np.ndarray):
        key = str(len(arrays))
        arrays[key] = np.ascontiguousarray(node).reshape(node.shape)
        return {"__array__": key}
    if isinstance(node, dict):
        return {"__dict__": [[_pack(k, arrays), _pack(v, arrays)] for k, v in node.items()]}
    if isinstance(node, list | tuple):
        return [_pack(item, arrays) for item in node]
    if node is None or isinstance(node, bool | int | float | str):
        return node
    raise TypeError(
        f"a checkpoint holds numbers, strings, arrays, lists and dicts, got {type(node).__name__}"
    )


def _unpack(node: Any, arrays: dict[str, np.ndarray[Any, Any]]) -> Any:
    if isinstance(node, list):
        return [_unpack(item, arrays) for item in node]
    if isinstance(node, dict):
        if "__array__" in node:
            return arrays[node["__array__"]]
        return {_unpack(k, arrays): _unpack(v, arrays) for k, v in node["__dict__"]}
    return node


def _replace(staging: Path, directory: Path) -> None:
    """Puts ``staging`` in the place of ``directory``; at every moment one whole folder exists."""
    if directory.exists():
        old = directory.with_name(f".{directory.name}.{os.getpid()}.old")
        os.rename(directory, old)
        os.rename(staging, directory)
        shutil.rmtree(old)
    else:
        os.rename(staging, directory)
    _flush(directory.parent)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
