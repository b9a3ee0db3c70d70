import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from envs.session_rollouts import record_log
from envs.session_world import SessionWorld
from rec_rl.cli import app
from rec_rl.data.levels import session_levels
from rec_rl.data.preferences import scripted_preferences
from rec_rl.data.session_files import save_log
from rec_rl.errors import ConfigError, DatasetError
from rec_rl.experiments.preference_fitting import PreferenceSpec, check_preferences, fit_preference_reward
from rec_rl.labelling.desk import DeskConfig, open_desk
from rec_rl.labelling.questions import num_questions
from rec_rl.rewards.bradley_terry import BradleyTerryConfig

SMALL = BradleyTerryConfig(hidden_sizes=(32,), batch_size=64, learning_rate=2e-3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log, labelled pairs, and a reward of each kind of label."""
    folder = tmp_path_factory.mktemp("preferences")
    log = record_log(SessionWorld(120, 0), 230).log
    save_log(log, folder / "log.parquet")
    level = session_levels(log).mixture
    scripted_preferences(log, level, num_pairs=200, seed=0).save(folder / "pairs.jsonl")
    for teacher in ("mean", "session"):
        spec = PreferenceSpec(log=str(folder / "log.parquet"), num_pairs=700, teacher=teacher)
        fit_preference_reward(spec, folder / teacher, config=SMALL, resume=False, command="")
    return folder


def test_mean_labels_pass(folder: Path):
    record, sentences, passed = check_preferences(folder / "mean", None, seed=0, command="")
    assert passed
    assert record["metrics"]["within_user_correlation"]["low"] > 0.1
    assert record["metrics"]["within_user_correlation"]["n"] == 30  # the quarter of users held out
    assert record["metrics"]["pair_accuracy"]["low"] > 0.5
    assert sentences[-1].startswith("PASS")


def test_session_labels_are_caught_and_the_command_exits_1(folder: Path):
    done = CliRunner().invoke(app, ["reward", "check", str(folder / "session"), "--json"])
    assert done.exit_code == 1
    record = json.loads(done.stdout)
    assert record["metrics"]["pair_accuracy"]["value"] > 0.7  # which is why accuracy is no evidence
    assert record["notes"][0].startswith("FAIL: harmful")


def test_labelled_pairs_replace_the_teacher_and_those_of_held_out_users_are_left_out(folder: Path):
    spec = PreferenceSpec(log=str(folder / "log.parquet"), pairs=str(folder / "pairs.jsonl"))
    notes = fit_preference_reward(spec, folder / "people", config=SMALL, resume=False, command="")["notes"]
    used = int(notes[0].split()[2])
    assert 0 < used < 200
    assert f"{200 - used} pairs are not in their log" in notes[0]


def test_another_log_is_judged_whole(folder: Path, tmp_path: Path):
    save_log(record_log(SessionWorld(20, 9), 230).log, tmp_path / "other.parquet")
    record, _, _ = check_preferences(folder / "mean", tmp_path / "other.parquet", seed=0, command="")
    assert record["metrics"]["within_user_correlation"]["n"] == 20


def test_mistakes_are_refused(folder: Path):
    log = str(folder / "log.parquet")
    with pytest.raises(ConfigError, match="did you mean 'session'"):
        PreferenceSpec(log=log, teacher="sesion")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="num_pairs must be >= 1, got 0"):
        PreferenceSpec(log=log, num_pairs=0)
    with pytest.raises(DatasetError, match="> 600 requests"):
        fit_preference_reward(
            PreferenceSpec(log=log, segment_length=300),
            folder / "never",
            config=SMALL,
            resume=False,
            command="",
        )
    misplaced = ["reward", "fit", "qr_iql", "--data", log, "--out", "x", "--teacher", "mean"]
    error = CliRunner().invoke(app, misplaced).exception
    assert str(error) == "--teacher is for the method 'preference', got 'qr_iql'"


def test_people_are_learned_from_beside_the_teacher_and_random_ones_left_out(folder: Path, tmp_path: Path):
    log_path = folder / "log.parquet"
    config = DeskConfig(num_pairs=90)
    desk = open_desk(log_path, tmp_path / "labels.db", config, seed=0)
    dice = np.random.default_rng(0)
    for place in range(num_questions(config.num_pairs)):
        question = desk.page("ann")["question"]
        sides = [question[side]["requests"] for side in ("left", "right")]
        desk.answer("ann", place, "left" if sides[0] >= sides[1] else "right", 2.0)
        desk.page("dice")
        desk.answer("dice", place, "left" if dice.random() < 0.5 else "right", 2.0)
    spec = PreferenceSpec(log=str(log_path), num_pairs=300, labels=str(tmp_path / "labels.db"))
    record = fit_preference_reward(spec, tmp_path / "reward", config=SMALL, resume=False, command="")
    notes = "\n".join(record["notes"])
    assert "90 pairs were labelled by people" in notes
    assert "what dice answered was left out" in notes
    # of the 90, those of the users held out are not in the training users' log
    taught = int(notes.split("fitted to ")[1].split(" pairs")[0])
    assert 300 + 40 < taught < 300 + 90
    checked, _, _ = check_preferences(tmp_path / "reward", None, seed=0, command="")
    assert checked["metrics"]["pair_accuracy"]["n"] > 200
    save_log(record_log(SessionWorld(10, 1), 230).log, tmp_path / "other.parquet")
    other = PreferenceSpec(log=str(tmp_path / "other.parquet"), labels=spec.labels)
    with pytest.raises(DatasetError, match="holds labels of the log"):
        fit_preference_reward(other, tmp_path / "none", config=SMALL, resume=False, command="")


@pytest.mark.slow
def test_what_people_said_becomes_a_policy(folder: Path, tmp_path: Path):
    log, labels = str(folder / "log.parquet"), str(tmp_path / "labels.db")
    desk = open_desk(folder / "log.parquet", Path(labels), DeskConfig(num_pairs=40), seed=0)
    for place in range(num_questions(40)):
        question = desk.page("ann")["question"]
        left, right = (question[side]["requests"] for side in ("left", "right"))
        desk.answer("ann", place, "left" if left >= right else "right", 2.0)
    reward, runs = str(tmp_path / "reward"), str(tmp_path / "runs")
    fit = ["reward", "fit", "preference", "--data", log, "--labels", labels, "--out", reward]
    train = ["train", "prefrec_supported", "--data", log, "--reward", reward, "--runs", runs, "--name", "ann"]
    for command in (
        [*fit, "--num-pairs", "40"],
        [*train, "--steps", "10", "--set", "steps_per_iteration=10", "--json"],
    ):
        done = CliRunner().invoke(app, command)
        assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["config"]["data"]["reward_folder"] == reward
    judged = CliRunner().invoke(app, ["ope", log, "--policy", f"{runs}/ann", "--force", "--json"])
    assert json.loads(judged.stdout)["metrics"]["ncis_mixture"]["d2"] > 0
