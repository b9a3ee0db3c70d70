"""Who can reach a Ray that a run starts for itself."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = """
import sys
from rec_rl.experiments.runner import start_ray
from rec_rl.experiments.scaling import build
start_ray(num_cpus=3)
runners, learners = map(int, sys.argv[1:])
algorithm = build(runners, learners)
algorithm.train()
print("up", flush=True)
sys.stdin.readline()
"""

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(("learners", "outside"), [(0, 0), (2, 1)])
def test_a_runs_own_ray_listens_on_the_loopback_but_for_the_meeting_point_of_learners(
    ports: Callable[[int], tuple[list[int], list[int]]], learners: int, outside: int
):
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, "1", str(learners)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"},
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "up\n"
        inside, elsewhere = ports(process.pid)
    finally:
        process.communicate("", timeout=120)
    assert len(inside) > 5  # Ray's head, its node, its agents, the driver and the runner
    assert len(elsewhere) == outside, elsewhere
