"""Runs on session logs from end to end, at a size that says nothing."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from envs.session_rollouts import record_log
from envs.session_world import SessionWorld
from rec_rl import checkpoint
from rec_rl.algorithms.array_learner import LearnerLostError
from rec_rl.algorithms.offline import OfflineAlgorithm
from rec_rl.cli import app
from rec_rl.data.levels import TASKS
from rec_rl.data.session_files import save_log
from rec_rl.errors import CheckpointError, ConfigError, DatasetError
from rec_rl.experiments import session_data
from rec_rl.experiments.offline_presets import STEPS, WORLD_SETTINGS, data_for
from rec_rl.experiments.offline_run import learned_from, run_offline_evaluation, run_offline_training
from rec_rl.experiments.offline_training import OfflineSpec, judge, level_shares, train_offline
from rec_rl.experiments.records import to_plain
from rec_rl.experiments.session_data import (
    REPLAY,
    SessionData,
    logs_of,
    offline_data,
    preference_pairs,
    with_kept_reward,
)
from rec_rl.experiments.single_run import read_config
from rec_rl.rewards.bradley_terry import (
    BradleyTerryConfig,
    BradleyTerryNetwork,
    BradleyTerryReward,
    fit_bradley_terry,
)

TINY = SessionData(
    num_users=30,
    num_test_users=12,
    num_requests=80,
    segment_length=30,
    num_pairs=24,
    reward_config=BradleyTerryConfig(hidden_sizes=(4,), batch_size=8, epochs=1),
)
SPEC = OfflineSpec(
    algorithm="iql",
    settings={"hidden_sizes": [4], "batch_size": 8, "steps_per_iteration": 5},
    data=TINY,
    steps=20,
    evaluations=2,
)


def test_training_is_watched_on_validation_users_and_judged_on_others():
    events = list(train_offline(SPEC))
    assert [event["step"] for event in events] == [5, 10, 15, 20, 20]
    result = events[-1]["result"]
    assert [point["step"] for point in result["curve"]] == [10, 20]
    assert set(result["online"]) == set(result["ncis"]) == set(TASKS)
    logs = logs_of(TINY)
    assert [len(log.user_ids) for log in logs] == [27, 3, 12]
    assert not set(logs.train.user_ids) & set(logs.validation.user_ids)
    assert result["ncis"]["mixture"]["n"] <= 12


def test_the_logger_judges_itself_supported_at_its_own_level():
    found = judge(TINY, None)
    for task in TASKS:
        assert found["ncis"][task]["d2"] == pytest.approx(0, abs=1e-6)
    online = found["online"]
    assert online["mixture"] == pytest.approx((online["depth"] + online["frequency"]) / 2, abs=1e-9)


def test_a_spec_comes_back_from_json():
    plain = json.loads(json.dumps(to_plain({**vars(SPEC), "data": TINY})))
    assert OfflineSpec.from_plain(plain) == SPEC


def test_a_kept_reward_is_found_again(tmp_path: Path):
    kept = replace(TINY, reward_folder=str(tmp_path / "reward"))
    first, log = offline_data(kept), logs_of(TINY).train
    offline_data.cache_clear()
    again = offline_data(kept)
    assert again is not first
    states, actions = log.states[:9], log.actions[:9]
    np.testing.assert_array_equal(first.reward(states, actions), again.reward(states, actions))


def test_a_runs_reward_is_fitted_in_sight_and_goes_on_where_it_was_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending_at: Any
):
    monkeypatch.setattr(checkpoint, "SECONDS", 0.0)
    folder, steps = tmp_path / "reward", []
    end = ending_at(3, steps)

    with pytest.raises(KeyboardInterrupt):
        with_kept_reward(TINY, folder, end)
    kept = with_kept_reward(TINY, folder, lambda step, *_: steps.append(step))
    assert steps == [1, 2, 3]  # 24 pairs in batches of 8
    assert [path.name for path in tmp_path.iterdir()] == ["reward"]
    assert with_kept_reward(TINY, folder, pytest.fail) == kept
    rows = logs_of(TINY).train.states[:9], logs_of(TINY).train.actions[:9]
    np.testing.assert_array_equal(offline_data(kept).reward(*rows), offline_data(TINY).reward(*rows))
    for other in (kept, replace(TINY, reward="session")):
        assert with_kept_reward(other, tmp_path / "none", pytest.fail) is other


def test_a_run_tells_of_its_reward_and_is_refused_before_it_has_any_data(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    run_offline_training(SPEC, tmp_path / "run", resume=False, command="")
    assert "reward: 3/3" in capsys.readouterr().err
    assert read_config(tmp_path / "run")["data"]["reward_folder"] is None  # so that it can be moved
    monkeypatch.setattr(session_data, "_recorded", pytest.fail)
    with pytest.raises(ConfigError, match="batch_size must be >= 1, got 0"):
        run_offline_training(
            replace(SPEC, settings={"batch_size": 0}), tmp_path / "none", resume=False, command=""
        )
    assert not (tmp_path / "none").exists()


def test_level_shares_leave_out_what_is_not_counted():
    shares = level_shares(np.array([0, 0, 1, np.nan, 5.0]))
    np.testing.assert_allclose(shares, [0.5, 0.25, 0, 0, 0, 0.25])


def test_a_run_on_a_users_log_leaves_a_policy_and_verdicts(tmp_path: Path):
    log = tmp_path / "log.parquet"
    save_log(record_log(SessionWorld(30, 5), 80).log, log)
    spec = replace(SPEC, algorithm="il", data=replace(TINY, env=REPLAY, log=str(log)))
    record = run_offline_training(spec, tmp_path / "run", resume=False, command="rec-rl train")
    assert {"ncis_depth", "ncis_frequency", "ncis_mixture"} == set(record["metrics"])
    assert record["metrics"]["ncis_mixture"]["d2"] > 0
    assert any("D2" in note for note in record["notes"])
    for name in ("record.json", "metrics.csv", "report.html", "policy", "checkpoints"):
        assert (tmp_path / "run" / name).exists()
    again = run_offline_evaluation(tmp_path / "run", 0, "rec-rl evaluate")
    assert again["metrics"]["ncis_mixture"] == record["metrics"]["ncis_mixture"]
    with pytest.raises(ConfigError, match="holds a run already"):
        run_offline_training(spec, tmp_path / "run", resume=False, command="rec-rl train")


def test_the_closed_form_leaves_a_policy_that_its_log_can_judge(tmp_path: Path):
    settings = {"radius": 1.0, "num_folds": 2, "num_penalties": 2}
    spec = replace(SPEC, algorithm="noise_advantage", settings=settings, steps=0)
    record = run_offline_training(spec, tmp_path / "run", resume=False, command="rec-rl train")
    assert record["metrics"]["ncis_mixture"]["d2"] > 0
    assert not (tmp_path / "run" / "metrics.csv").exists()  # nothing was trained
    again = run_offline_evaluation(tmp_path / "run", 0, "rec-rl evaluate")
    assert again["metrics"] == record["metrics"]


def test_a_wrong_setting_leaves_no_folder(tmp_path: Path):
    for algorithm, known in (("noise_advantage", "radius"), ("prefrec_supported", "radius")):
        spec = replace(SPEC, algorithm=algorithm, settings={"radus": 1.0})
        with pytest.raises(ConfigError, match=f"unknown setting of {algorithm} 'radus'; .*'{known}'"):
            run_offline_training(spec, tmp_path / "run", resume=False, command="rec-rl train")
    assert not (tmp_path / "run").exists()


def test_the_closed_form_takes_no_steps():
    error = CliRunner().invoke(app, ["train", "noise_advantage", "--steps", "5"]).exception
    assert str(error) == "--steps and --num-learners are for algorithms that train, not for noise_advantage"


def test_a_run_of_another_kind_is_not_judged(tmp_path: Path):
    (tmp_path / "config.json").write_text('{"data": "log", "training": {}}')
    with pytest.raises(DatasetError, match="is not the folder of a run of rec-rl train"):
        run_offline_evaluation(tmp_path, 0, "rec-rl evaluate")


def test_a_fitted_reward_takes_the_place_of_the_runs_own(tmp_path: Path):
    log = logs_of(TINY).train
    reward = fit_bradley_terry(log, preference_pairs(TINY, log), TINY.reward_config, seed=7)
    reward.save(tmp_path / "reward")
    learned = offline_data(learned_from(TINY, tmp_path / "reward")).reward
    assert callable(learned)
    np.testing.assert_array_equal(
        learned(log.states[:9], log.actions[:9]), reward(log.states[:9], log.actions[:9])
    )


def test_a_reward_of_other_states_is_refused(tmp_path: Path):
    fitted = offline_data(TINY).reward
    assert isinstance(fitted, BradleyTerryReward)
    BradleyTerryReward(BradleyTerryNetwork(3, 2, (4,)), fitted.record).save(tmp_path / "reward")
    with pytest.raises(DatasetError, match=r"of sizes \(3, 2\), the log's have \(245, 8\)"):
        learned_from(TINY, tmp_path / "reward")
    with pytest.raises(CheckpointError):
        learned_from(TINY, tmp_path / "nothing")


def test_a_resumed_run_ends_as_the_whole_one(tmp_path: Path):
    whole = list(train_offline(SPEC, tmp_path / "a"))[-1]["result"]
    for event in train_offline(SPEC, tmp_path / "b"):
        if event["step"] == 15:
            break  # killed after the checkpoint at step 10
    resumed = list(train_offline(SPEC, tmp_path / "b"))[-1]["result"]
    assert resumed["curve"] == whole["curve"]
    assert resumed["ncis"] == whole["ncis"]


def test_a_lost_learner_costs_time_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    whole = list(train_offline(SPEC, tmp_path / "a"))[-1]["result"]
    training_step, deaths = OfflineAlgorithm.training_step, [0, 15]

    def mortal(self: OfflineAlgorithm) -> None:
        if deaths and self.gradient_steps >= deaths[0]:
            deaths.pop(0)
            raise LearnerLostError(f"a learner was lost after {self.gradient_steps} gradient steps")
        training_step(self)

    monkeypatch.setattr(OfflineAlgorithm, "training_step", mortal)
    events = list(train_offline(SPEC, tmp_path / "b"))
    assert [event["step"] for event in events if "note" in event] == [0, 15]
    assert events[-1]["result"]["curve"] == whole["curve"]
    assert events[-1]["result"]["ncis"] == whole["ncis"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"env": "session-word"}, "unknown env 'session-word'; did you mean 'session-world'"),
        ({"env": REPLAY}, "env session-replay needs a log"),
        ({"task": "deph"}, "unknown task 'deph'; did you mean 'depth'"),
    ],
)
def test_data_that_cannot_be_are_refused(values: dict[str, str], message: str):
    with pytest.raises(ConfigError, match=message):
        SessionData(**values)


def test_presets_cover_every_algorithm():
    from rec_rl.algorithms.catalogue import OFFLINE_ALGORITHMS

    assert set(WORLD_SETTINGS) == set(STEPS) == set(OFFLINE_ALGORITHMS)
    for name, settings in WORLD_SETTINGS.items():
        OFFLINE_ALGORITHMS[name]().training(**settings)
    assert data_for("prefrec_supported", TINY).teacher == "mean"
    assert data_for("iql", TINY) == TINY
