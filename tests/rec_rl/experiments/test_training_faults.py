"""Runs that are killed, or whose learner or checkpoint is lost, and go on to the same result."""

import json
import os
import random
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray

from rec_rl import cli
from rec_rl.algorithms.array_learner import LearnerLostError
from rec_rl.algorithms.online import OnlineAlgorithm
from rec_rl.checkpoint import last_checkpoint, load_state
from rec_rl.errors import CheckpointError
from rec_rl.experiments.records import to_plain
from rec_rl.experiments.training import TrainingSpec, train

pytestmark = pytest.mark.usefixtures("ray_session")

ROOT = Path(__file__).parents[3]

SAC = TrainingSpec(
    algorithm="sac",
    settings={"hidden_sizes": [8], "batch_size": 8, "rounds_per_iteration": 8, "random_steps": 16},
    steps=600,
    num_envs_per_env_runner=4,
    evaluate_every=100,
    evaluation_episodes=64,
    final_episodes=64,
    seed=5,
)
PPO = replace(
    SAC,
    algorithm="ppo",
    settings={
        "hidden_sizes": [8],
        "steps_per_iteration": 8,
        "num_passes": 2,
        "batch_size": 16,
        "self_imitation_weight": 0.3,
    },
)
SPECS = {"sac": SAC, "ppo": PPO}

SCRIPT = """
import json, sys
from itertools import zip_longest
from pathlib import Path
from rec_rl.experiments.training import TrainingSpec, train
specs = {folder: TrainingSpec.from_plain(spec) for folder, spec in json.loads(sys.argv[1]).items()}
for _ in zip_longest(*(train(spec, Path(folder)) for folder, spec in specs.items())):
    print("on", flush=True)
"""


def finish(spec: TrainingSpec, folder: Path) -> tuple[dict[str, Any], Any]:
    """The result of a run, and the whole state that it ends with."""
    result = list(train(spec, folder))[-1]["result"]
    last = last_checkpoint(folder)
    assert last is not None
    return result, load_state(last, spec.algorithm)


@pytest.fixture(scope="module")
def uninterrupted(
    ray_session: None, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[dict[str, Any], Any]]:
    folder = tmp_path_factory.mktemp("whole")
    return {name: finish(spec, folder / name) for name, spec in SPECS.items()}


def kill_in_the_middle(folder: Path, after: int) -> None:
    """Trains every run in one process, and kills it ``after`` events behind the first checkpoints."""
    runs = {str(folder / name): to_plain(asdict(spec)) for name, spec in SPECS.items()}
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, json.dumps(runs)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=ROOT,
        env={**os.environ, "RAY_ADDRESS": ray.get_runtime_context().gcs_address},
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line == "on\n" and all(last_checkpoint(Path(run)) is not None for run in runs):
            after -= 1
        if after < 0:
            process.kill()
            break
    assert process.wait() == -9


def test_a_driver_killed_at_a_random_step_is_resumed_to_the_same_state(
    uninterrupted: dict[str, tuple[dict[str, Any], Any]], tmp_path: Path
):
    after = random.SystemRandom().randrange(8)
    kill_in_the_middle(tmp_path, after)
    for name, spec in SPECS.items():
        newest = last_checkpoint(tmp_path / name)
        assert newest is not None
        assert newest.name < "step_000000500", f"killed too late, {after} events behind the checkpoint"
        result, state = finish(spec, tmp_path / name)
        assert result == uninterrupted[name][0], after
        np.testing.assert_equal(state, uninterrupted[name][1], name)


def test_a_truncated_checkpoint_is_passed_over_in_words(
    uninterrupted: dict[str, tuple[dict[str, Any], Any]], tmp_path: Path
):
    run = train(PPO, tmp_path)
    while len(list(tmp_path.iterdir())) < 2:
        next(run)
    run.close()
    newest = last_checkpoint(tmp_path)
    assert newest is not None
    arrays = newest / "state.safetensors"
    arrays.write_bytes(arrays.read_bytes()[:-100])
    (tmp_path / ".step_000000900.1.partial").mkdir()  # as a writer that was killed leaves it

    events = list(train(PPO, tmp_path))
    notes = [event["note"] for event in events if "note" in event]
    assert len(notes) == 1
    assert f"{arrays} must have SHA-256" in notes[0]
    assert notes[0].endswith("going on from the one before it")
    assert events[-1]["result"] == uninterrupted["ppo"][0]
    assert list(tmp_path.glob(".*")) == []

    for path in tmp_path.glob("step_*"):
        (path / "state.json").unlink()
    with pytest.raises(CheckpointError, match=r"no checkpoint in .* is whole: .*state\.json is missing"):
        next(train(PPO, tmp_path))


def test_a_disk_that_fills_up_is_one_line_and_the_run_goes_on_when_there_is_room(
    uninterrupted: dict[str, tuple[dict[str, Any], Any]], tmp_path: Path
):
    run = train(PPO, tmp_path)
    while (kept := last_checkpoint(tmp_path)) is None:
        next(run)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    room = (kept / "state.safetensors").stat().st_size - 1
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))  # refuses more, as a full disk does
    try:
        with pytest.raises(CheckpointError, match=r"^cannot write checkpoint .*File too large[^\n]*$"):
            list(run)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == [kept]
    assert finish(PPO, tmp_path)[0] == uninterrupted["ppo"][0]


def test_a_folder_that_cannot_be_written_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(sys, "argv", ["rec-rl", "train", "ppo", "--weights", "synthetic", "--runs", "/sys/r"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 1
    told = capsys.readouterr()
    assert told.err.splitlines()[-1] == "rec-rl: cannot write /sys/r: Operation not permitted"
    assert told.out == ""


@pytest.fixture
def mortal(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Loses the learner at each of these numbers of environment steps, once."""
    deaths: list[int] = []
    update = OnlineAlgorithm.update

    def die_at_times(self: OnlineAlgorithm, batch: Any) -> dict[str, float]:
        if deaths and self.env_steps >= deaths[0]:
            deaths.pop(0)
            raise LearnerLostError(f"a learner was lost after {self.env_steps:,} environment steps")
        return update(self, batch)

    monkeypatch.setattr(OnlineAlgorithm, "update", die_at_times)
    return deaths


def test_lost_learners_cost_time_and_nothing_else(
    uninterrupted: dict[str, tuple[dict[str, Any], Any]], mortal: list[int], tmp_path: Path
):
    mortal += [60, 250]  # before the first checkpoint, and behind the second
    events = list(train(PPO, tmp_path))
    notes = [event["note"] for event in events if "note" in event]
    assert len(notes) == 2
    assert all(note.endswith("going on from the last checkpoint") for note in notes)
    assert events[-1]["result"] == uninterrupted["ppo"][0]


def test_a_learner_that_is_lost_over_and_over_ends_the_run(mortal: list[int], tmp_path: Path):
    mortal += [0] * 4
    with pytest.raises(LearnerLostError):
        list(train(PPO, tmp_path))
    assert mortal == []
    mortal += [0]
    with pytest.raises(LearnerLostError):  # nothing to go on from
        list(train(PPO))


@pytest.mark.slow
def test_a_killed_learner_costs_time_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    spec = replace(PPO, num_learners=1)
    whole = finish(spec, tmp_path / "whole")
    built: list[OnlineAlgorithm] = []
    setup = OnlineAlgorithm.setup

    def remember(self: OnlineAlgorithm, config: Any) -> None:
        built.append(self)
        setup(self, config)

    monkeypatch.setattr(OnlineAlgorithm, "setup", remember)
    notes: list[str] = []
    killed = False
    for event in train(spec, tmp_path / "killed"):
        notes += [event["note"]] if "note" in event else []
        if not killed and last_checkpoint(tmp_path / "killed") is not None:
            learner = next(iter(built[-1].learner_group.foreach_learner(lambda _: os.getpid()))).get()
            os.kill(learner, signal.SIGKILL)
            killed = True
    assert len(built) == 2
    assert len(notes) == 1
    assert notes[0].endswith("going on from the last checkpoint")
    result, state = finish(spec, tmp_path / "killed")
    assert result == whole[0]
    np.testing.assert_equal(state, whole[1])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sac", "ppo"])
def test_a_run_with_runners_of_its_own_goes_on_to_the_same_state(tmp_path: Path, name: str):
    spec = replace(SPECS[name], num_env_runners=2, num_envs_per_env_runner=2)
    whole = finish(spec, tmp_path / "whole")
    interrupted = train(spec, tmp_path / "broken")
    while last_checkpoint(tmp_path / "broken") is None:
        next(interrupted)
    next(interrupted)
    interrupted.close()
    result, state = finish(spec, tmp_path / "broken")
    assert result == whole[0]
    np.testing.assert_equal(state, whole[1])
