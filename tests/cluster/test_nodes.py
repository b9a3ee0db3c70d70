"""What a cluster loses, on three nodes of real Ray processes; each case in a process of its own."""

import json
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = Path(__file__).with_name("nodes_script.py")

pytestmark = pytest.mark.slow


def run(case: str) -> dict[str, Any]:
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, str(SCRIPT), case],
        capture_output=True,
        text=True,
        timeout=540,
        cwd=ROOT,
        env={**environment, "PYTHONPATH": path},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def grows(steps: list[int]) -> bool:
    return all(a < b for a, b in pairwise(steps))


def test_the_learner_goes_to_the_gpu_and_the_runners_to_the_cpus():
    found = run("placement")
    assert found["learner"] == "gpu"
    assert set(found["runners"]) <= {"cpu-1", "cpu-2"}
    assert grows(found["steps"])


def test_a_node_removed_in_mid_training_costs_its_runners_only():
    found = run("node_removed")
    assert grows([*found["before"], *found["after"]])
    assert found["healthy"] == 2
    assert found["elsewhere"]
    assert found["up_to_date"]


def test_training_survives_the_death_of_every_env_runner():
    found = run("all_runners_killed")
    assert found["killed"] == found["healthy"] == 2
    assert found["others"]
    assert grows([*found["before"], *found["after"]])
    assert found["up_to_date"]
