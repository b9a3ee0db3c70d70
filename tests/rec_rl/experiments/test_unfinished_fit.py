"""Reward fits that are killed and go on to the same reward."""

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from envs.click_world import ClickWorld
from envs.session_rollouts import record_log
from envs.session_world import SessionWorld
from rec_rl.checkpoint import last_checkpoint, load_state, save_state, state_kind
from rec_rl.data.session_files import save_log
from rec_rl.errors import CheckpointError, ConfigError
from rec_rl.experiments.reward_fitting import MentalFitSpec, fit_reward
from rec_rl.experiments.unfinished_fit import unfinished_fit
from rec_rl.rewards import REWARD_METHODS
from tuning.best import write_best

ROOT = Path(__file__).parents[3]
PATIENCE = 120

REC_RL = """
import sys
from rec_rl import checkpoint, cli
checkpoint.SECONDS = 0.0
cli.main()
"""

OF_SESSIONS = ["--data", "sessions.parquet", "--num-pairs", "1500", "--segment-length", "20"]

SPEC = MentalFitSpec(
    method="iq_learn", data="click-world", num_users=50, settings={"steps": 4, "head_steps": 2}
)


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("logs")
    ClickWorld().simulate(400, seed=0).transitions.save(folder / "clicks.parquet")
    for method in REWARD_METHODS:
        write_best(folder / f"{method}.json", method, {"steps": 20, "head_steps": 20, "batch_size": 500}, "")
    save_log(record_log(SessionWorld(60, 0), 230).log, folder / "sessions.parquet")
    return folder


def begin(*options: str, folder: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", REC_RL, "reward", "fit", *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def finish(fit: "subprocess.Popen[str]") -> None:
    _, said = fit.communicate(timeout=PATIENCE)
    assert fit.returncode == 0, said


def left_in(folder: Path) -> tuple[Any, dict[str, Any]]:
    """The reward, and what its record says that does not depend on the clock."""
    record = json.loads((folder / "record.json").read_text())
    kept = {name: record.get(name) for name in ("data_hash", "config", "metrics", "notes")}
    return load_state(folder, state_kind(folder)), kept


@pytest.mark.parametrize(
    "method",
    [
        "qr_iql",
        *(pytest.param(slow, marks=pytest.mark.slow) for slow in ("iq_learn", "anchored", "preference")),
    ],
)
def test_a_fit_killed_at_a_random_step_is_resumed_to_the_same_reward(logs: Path, method: str):
    clicks = ["--data", "clicks.parquet", "--config", f"{method}.json"]
    fit = [method, *(OF_SESSIONS if method == "preference" else clicks)]
    finish(begin(*fit, "--out", f"{method}-whole", folder=logs))

    killed, out = begin(*fit, "--out", f"{method}-killed", folder=logs), logs / f"{method}-killed"
    after = f"step_{random.SystemRandom().randrange(1, 13):09d}"
    deadline = time.monotonic() + PATIENCE
    while (last := last_checkpoint(logs / f"{out.name}.unfinished")) is None or last.name < after:
        assert killed.poll() is None, killed.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.001)
    killed.kill()
    assert killed.wait() == -9
    assert not out.exists()

    finish(begin(*fit, "--out", out.name, "--resume", folder=logs))
    np.testing.assert_equal(left_in(out), left_in(logs / f"{method}-whole"), after)
    assert not list(logs.glob("*.unfinished"))


def test_a_fit_leaves_its_reward_alone(tmp_path: Path):
    for _ in range(2):  # the second replaces the first
        fit_reward(SPEC, tmp_path / "reward", resume=False, command="")
    assert [path.name for path in tmp_path.iterdir()] == ["reward"]
    with pytest.raises(ConfigError, match=r"there is no run at .*reward\.unfinished to resume"):
        fit_reward(SPEC, tmp_path / "reward", resume=True, command="")


def test_a_fit_is_refused_where_something_else_lies_before_it_begins(tmp_path: Path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.txt").write_text("years of work")
    save_state(tmp_path / "policy", {}, "sac")
    for name in ("thesis", "policy"):
        with pytest.raises(CheckpointError, match=f"cannot write checkpoint .*{name}: it holds"):
            fit_reward(SPEC, tmp_path / name, resume=False, command="")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["policy", "thesis"]


def test_a_mistake_leaves_no_folder_and_an_ended_fit_leaves_what_it_has(tmp_path: Path):
    out = tmp_path / "reward"
    with pytest.raises(ConfigError, match="mistake"), unfinished_fit(out, "sac", SPEC, resume=False):
        raise ConfigError("mistake")
    assert list(tmp_path.iterdir()) == []

    def end(folder: Path) -> None:
        save_state(folder / "step_000000001", {}, "fit")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), unfinished_fit(out, "sac", SPEC, resume=False) as folder:
        end(folder)
    with pytest.raises(ConfigError, match="--resume goes on"), unfinished_fit(out, "sac", SPEC, resume=False):
        pass
    with unfinished_fit(out, "sac", SPEC, resume=True) as folder:
        assert last_checkpoint(folder) == folder / "step_000000001"
    assert list(tmp_path.iterdir()) == []
