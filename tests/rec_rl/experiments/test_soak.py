import os
import subprocess
import sys
import time

import numpy as np
import pytest

from rec_rl.experiments.soak import Soak, _lives, descendants, growth, resident


def test_growth_leaves_out_the_warm_up():
    assert growth([1, 50, 100, 100, 90, 95, 105, 110]) == pytest.approx(107.5 / 100 - 1)
    assert np.isnan(growth([1, 2, 3]))


def test_a_soak_passes_only_if_memory_is_flat_and_nothing_is_left():
    clean = {
        "seconds": 1.0,
        "env_steps": 1,
        "kills": 1,
        "memory": [],
        "growth": 0.049,
        "left_processes": [],
        "left_shared_memory": [],
    }
    assert Soak(**clean).passed
    assert not Soak(**clean | {"growth": 0.051}).passed
    assert not Soak(**clean | {"growth": float("nan")}).passed  # too short to tell
    assert not Soak(**clean | {"left_processes": ["7 raylet"]}).passed
    assert not Soak(**clean | {"left_shared_memory": ["/dev/shm/plasma"]}).passed


def test_descendants_are_found_and_seen_to_end():
    script = "import subprocess, sys; subprocess.run(['sleep', '60'])"
    with subprocess.Popen([sys.executable, "-c", script]) as child:
        while not descendants(child.pid):
            time.sleep(0.05)
        family = descendants(os.getpid())
        assert child.pid in family
        assert resident(child.pid) > 2**20
        grandchild = next(pid for pid in descendants(child.pid))
        assert _lives(grandchild, family[grandchild])
        assert not _lives(grandchild, "1")  # another process of that number
        os.kill(grandchild, 9)
        child.kill()
    assert not _lives(child.pid, family[child.pid])
    assert resident(child.pid) == 0
