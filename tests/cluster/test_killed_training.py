"""Offline algorithms, click models and rewards: what a ``kill -9`` interrupted ends as if it had not."""

import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rec_rl.algorithms.catalogue import OFFLINE_ALGORITHMS
from rec_rl.checkpoint import load_state, state_kind
from rec_rl.models import MODELS
from rec_rl.rewards import REWARD_METHODS

ROOT = Path(__file__).parents[2]
SCRIPT = Path(__file__).with_name("training_script.py")

pytestmark = pytest.mark.slow


def start(folder: Path) -> "subprocess.Popen[str]":
    kept = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=ROOT,
        env={**kept, "PYTHONPATH": path},
    )


def finish(folder: Path) -> dict[str, Any]:
    """Trains to the end; every state that is left, by where it lies."""
    process = start(folder)
    process.communicate(timeout=500)
    assert process.returncode == 0
    return states(folder)


def states(folder: Path) -> dict[str, Any]:
    """Every whole checkpoint, but for the seconds that were measured on the way."""
    found = (path.parent for path in sorted(folder.rglob("manifest.json")))
    return {
        str(path.relative_to(folder)): without_seconds(load_state(path, state_kind(path)))
        for path in found
        if not path.name.startswith(".")  # a writer that was killed leaves such a one
    }


def without_seconds(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: without_seconds(value) for key, value in node.items() if key != "seconds"}
    return [without_seconds(value) for value in node] if isinstance(node, list) else node


@pytest.mark.timeout(1500)
def test_whatever_is_killed_at_a_random_step_ends_with_the_same_state(tmp_path: Path):
    whole = finish(tmp_path / "whole")
    # Before their fourth round click models keep nothing.
    process, rounds = start(tmp_path / "killed"), random.SystemRandom().randrange(4, 7)
    assert process.stdout is not None
    for _ in range(rounds):
        assert process.stdout.readline() == "on\n"
    process.kill()
    assert process.wait() == -9
    before = states(tmp_path / "killed")
    for name in OFFLINE_ALGORITHMS:  # checkpoints at 10, 20, 30 and 40 steps
        kept = [path for path in before if path.startswith(f"offline-{name}/checkpoints/")]
        assert kept
        assert max(kept) < f"offline-{name}/checkpoints/step_000000040"
    for name in MODELS:
        assert 0 < before[f"click-{name}/training"]["step"] < whole[f"click-{name}/training"]["step"]

    resumed = finish(tmp_path / "killed")
    assert {f"reward-{name}/reward" for name in (*REWARD_METHODS, "bradley_terry")} <= set(whole)
    assert resumed.keys() == whole.keys()
    for name, state in whole.items():
        np.testing.assert_equal(resumed[name], state, err_msg=f"{name}, killed after {rounds} rounds")
