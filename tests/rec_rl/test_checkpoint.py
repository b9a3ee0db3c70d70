import hashlib
import json
import pickle
import resource
from pathlib import Path

import numpy as np
import pytest
import torch

from rec_rl.checkpoint import check_same, load_state, save_state
from rec_rl.errors import CheckpointError

STATE = {
    "weights": torch.arange(6.0).reshape(2, 3),
    "moments": {0: np.array(3), 1: np.array([True, False])},
    "rng": {"state": 2**100, "name": "PCG64"},
    "list": [1, 2.5, None, "x", (1, 2)],
    7: float("inf"),
}


def test_state_comes_back_as_it_was(tmp_path: Path):
    save_state(tmp_path / "c", STATE, "sac")
    state = load_state(tmp_path / "c", "sac")
    np.testing.assert_array_equal(state["weights"], STATE["weights"].numpy())
    assert state["moments"][0].shape == ()
    np.testing.assert_array_equal(state["moments"][1], [True, False])
    assert state["rng"] == STATE["rng"]
    assert state["list"] == [1, 2.5, None, "x", [1, 2]]
    assert state[7] == float("inf")


def test_saving_again_replaces_the_whole_folder(tmp_path: Path):
    save_state(tmp_path / "c", {"x": 1}, "sac")
    save_state(tmp_path / "c", {"x": 2}, "sac")
    assert load_state(tmp_path / "c", "sac") == {"x": 2}
    assert [p.name for p in tmp_path.iterdir()] == ["c"]


def test_a_folder_that_holds_something_else_is_never_replaced(tmp_path: Path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.txt").write_text("years of work")
    with pytest.raises(CheckpointError, match="thesis: it holds something else, not sac"):
        save_state(tmp_path / "thesis", {"x": 1}, "sac")
    assert (tmp_path / "thesis" / "thesis.txt").read_text() == "years of work"
    save_state(tmp_path / "c", {"x": 1}, "ppo")
    with pytest.raises(CheckpointError, match="c: it holds ppo, not sac"):
        save_state(tmp_path / "c", {"x": 2}, "sac")
    assert load_state(tmp_path / "c", "ppo") == {"x": 1}


def test_a_state_is_of_the_same_settings_whether_it_was_loaded_or_not(tmp_path: Path):
    state = {"config": {"hidden_sizes": (8, 4)}, "data_hash": "abc"}
    save_state(tmp_path / "c", state, "ctr")
    for given in (state, load_state(tmp_path / "c", "ctr")):
        check_same(given, config={"hidden_sizes": (8, 4)}, data_hash="abc")
        with pytest.raises(CheckpointError, match="the checkpoint's data hash must be x, got abc"):
            check_same(given, config={"hidden_sizes": [8, 4]}, data_hash="x")


def test_another_algorithms_checkpoint_is_refused(tmp_path: Path):
    save_state(tmp_path / "c", STATE, "ppo")
    with pytest.raises(CheckpointError, match="must be of 'sac', got 'ppo'"):
        load_state(tmp_path / "c", "sac")


@pytest.mark.parametrize("name", ["state.safetensors", "state.json"])
def test_a_truncated_or_missing_file_is_refused(tmp_path: Path, name: str):
    save_state(tmp_path / "c", STATE, "sac")
    path = tmp_path / "c" / name
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(CheckpointError, match="SHA-256"):
        load_state(tmp_path / "c", "sac")
    path.unlink()
    with pytest.raises(CheckpointError, match="cut short"):
        load_state(tmp_path / "c", "sac")


def test_a_pickle_is_no_checkpoint(tmp_path: Path):
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "manifest.json").write_bytes(pickle.dumps({"format": 1}))
    with pytest.raises(CheckpointError, match="not a checkpoint"):
        load_state(tmp_path / "c", "sac")
    with pytest.raises(CheckpointError, match="no manifest"):
        load_state(tmp_path / "nothing", "sac")


def test_a_failed_write_leaves_the_old_checkpoint_and_nothing_else(tmp_path: Path):
    save_state(tmp_path / "c", {"x": 1}, "sac")
    with pytest.raises(TypeError, match="holds numbers"):
        save_state(tmp_path / "c", {"x": object()}, "sac")
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CheckpointError, match="cannot write checkpoint"):
        save_state(tmp_path / "file" / "c", {"x": 2}, "sac")
    assert load_state(tmp_path / "c", "sac") == {"x": 1}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["c", "file"]


def test_a_full_disk_is_one_line_and_leaves_the_old_checkpoint(tmp_path: Path):
    save_state(tmp_path / "c", {"x": np.zeros(10)}, "sac")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))  # refuses more, as when full
    try:
        with pytest.raises(CheckpointError, match=r"cannot write checkpoint .*c: .*File too large"):
            save_state(tmp_path / "c", {"x": np.zeros(100_000)}, "sac")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    np.testing.assert_array_equal(load_state(tmp_path / "c", "sac")["x"], np.zeros(10))
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


def test_a_folder_that_cannot_be_written_is_one_line():
    with pytest.raises(CheckpointError, match="cannot write checkpoint /proc/c: "):
        save_state(Path("/proc/c"), {"x": 1}, "sac")


class Bomb:
    """A pickle that would run code."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("name", ["state.safetensors", "state.json"])
def test_a_crafted_pickle_is_refused_and_does_not_run(tmp_path: Path, name: str):
    save_state(tmp_path / "c", STATE, "sac")
    payload = pickle.dumps(Bomb(tmp_path / "exploded"))
    (tmp_path / "c" / name).write_bytes(payload)
    manifest = json.loads((tmp_path / "c" / "manifest.json").read_text())
    manifest["sha256"][name] = hashlib.sha256(payload).hexdigest()  # whoever crafts it also signs it
    (tmp_path / "c" / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError, match="does not hold a state"):
        load_state(tmp_path / "c", "sac")
    assert not (tmp_path / "exploded").exists()


def test_the_manifest_names_what_wrote_it(tmp_path: Path):
    save_state(tmp_path / "c", STATE, "sac")
    assert json.loads((tmp_path / "c" / "manifest.json").read_text())["kind"] == "sac"
