"""A sweep that is killed and resumed, with real processes."""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = Path(__file__).with_name("sweep_script.py")
STEPS = 6
PATIENCE = 500

pytestmark = pytest.mark.slow


def start(folder: Path, *options: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), str(folder), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])},
    )


def trials(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted((folder / "trials").glob("*.json"))]


def half_way(folder: Path) -> bool:
    """One trial is finished and another has a checkpoint."""
    states = trials(folder)
    return any(t["state"] == "finished" for t in states) and any(
        t["state"] == "running" and t["checkpoint"] for t in states
    )


@pytest.mark.parametrize("search", ["random", "optuna"])
def test_a_killed_sweep_repeats_no_finished_trial_and_goes_on_with_the_others(tmp_path: Path, search: str):
    folder = tmp_path / "sweep"
    process = start(folder, search, "none")
    deadline = time.monotonic() + PATIENCE
    while not half_way(folder):
        assert process.poll() is None, "the sweep ended before it could be killed"
        assert time.monotonic() < deadline, trials(folder)
        time.sleep(0.05)
    process.kill()
    process.wait()
    before = trials(folder)
    assert len(before) >= 2

    resumed = start(folder, search, "none", "--resume")
    output, _ = resumed.communicate(timeout=PATIENCE)
    assert resumed.returncode == 0
    assert output.count("finished") == 4
    after = trials(folder)
    assert [t["drawn"] for t in after[: len(before)]] == [t["drawn"] for t in before]
    assert len({t["drawn"]["x"] for t in after}) == 4  # new draws do not repeat old ones

    ran = Counter(line for line in (tmp_path / "steps.txt").read_text().splitlines())
    for trial in after:
        times = [ran[f"{trial['drawn']['x']:.6f} {step}"] for step in range(1, STEPS + 1)]
        assert [report["step"] for report in trial["reports"]] == list(range(1, STEPS + 1))
        known = [t for t in before if t["drawn"] == trial["drawn"]]
        if known and known[0]["state"] == "finished":
            assert times == [1] * STEPS
        elif known and known[0]["checkpoint"]:
            assert times[0] == 1  # it did not start from nothing
            assert sum(times) <= STEPS + 2  # what ran after the last checkpoint that was known
        else:
            assert max(times) <= 2


def run(folder: Path, search: str, scheduler: str, *options: str) -> list[dict[str, Any]]:
    process = start(folder, search, scheduler, *options)
    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert output.count("TRIAL") == 4
    return trials(folder)


def test_asha_stops_the_worst_and_lets_the_best_finish(tmp_path: Path):
    found = run(tmp_path / "sweep", "random", "asha")
    best = max(found, key=lambda trial: trial["drawn"]["x"])
    assert best["state"] == "finished"
    assert {trial["state"] for trial in found} <= {"finished", "stopped"}
    for trial in found:
        assert (len(trial["reports"]) < STEPS) == (trial["state"] == "stopped")
    steps = (tmp_path / "steps.txt").read_text()
    assert run(tmp_path / "sweep", "random", "asha", "--resume") == found  # nothing was left to do
    assert (tmp_path / "steps.txt").read_text() == steps


def test_pbt_gives_the_worst_what_the_best_has(tmp_path: Path):
    found = run(tmp_path / "sweep", "random", "pbt")
    assert all(trial["state"] == "finished" for trial in found)
    assert all(trial["reports"][-1]["step"] == STEPS for trial in found)
    ran = {line.split()[0] for line in (tmp_path / "steps.txt").read_text().splitlines()}
    assert len(ran) > 4  # settings changed in mid-trial
    assert {f"{trial['drawn']['x']:.6f}" for trial in found} <= ran
    assert all(0 <= trial["drawn"]["x"] <= 1 for trial in found)
