import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from envs.session_rollouts import record_log
from envs.session_world import SessionWorld
from rec_rl.cli import app
from rec_rl.data.levels import TASKS
from rec_rl.data.session_files import load_log, save_log
from rec_rl.data.sessions import SessionLog
from rec_rl.errors import DatasetError, UnsupportedEstimateError
from rec_rl.evaluation.off_policy import CAUTION, NOT_SUPPORTED, SUPPORTED
from rec_rl.experiments.ope_run import LOGGER, judge


@pytest.fixture(scope="module")
def log() -> SessionLog:
    return record_log(SessionWorld(60, 0), 60).log


@pytest.fixture(scope="module")
def folder(log: SessionLog, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ope")
    save_log(log, folder / "log.parquet")
    np.save(folder / "same.npy", log.behaviour_mean)
    np.save(folder / "far.npy", log.behaviour_mean + np.float32(1.6))
    return folder


def test_the_behaviour_itself_is_worth_the_logs_own_level(log: SessionLog):
    record = judge(log, log.behaviour_mean, force=False)
    logger = record.controls[LOGGER]
    for task in TASKS:
        assert record.arms["ncis"][task].verdict == SUPPORTED
        assert record.arms["ncis"][task].value == pytest.approx(logger[task].value)
        assert record.arms["ncis, cap 1"][task].value == pytest.approx(logger[task].value)
        assert record.metrics[f"ncis_{task}"] == record.arms["ncis"][task]


def test_refused_estimates_have_a_verdict_and_no_number_unless_forced(log: SessionLog):
    far = log.behaviour_mean + np.float32(1.6)  # four sigma in each of eight dimensions
    for force in (False, True):
        for arm in judge(log, far, force=force).arms.values():
            for estimate in arm.values():
                assert estimate.verdict.startswith(NOT_SUPPORTED)
                assert np.isfinite(estimate.value) == force
                assert estimate.d2 > 50


def test_a_behaviour_that_is_not_calibrated_is_at_best_caution(log: SessionLog):
    wrong = replace(log, behaviour_scale=log.behaviour_scale * np.float32(1.4))
    estimate = judge(wrong, wrong.behaviour_mean, force=False).arms["ncis"]["mixture"]
    assert estimate.verdict.startswith(f"{CAUTION}: behaviour not calibrated: deviation")


def test_nothing_is_claimed_about_depth_where_sessions_are_single_requests(log: SessionLog):
    single = replace(log, session_starts=np.arange(len(log)), session_users=log.user_index)
    arms = judge(single, single.behaviour_mean, force=False).arms
    assert arms["ncis"]["depth"].verdict == f"{NOT_SUPPORTED}: 100% of sessions are a single request"
    assert np.isnan(arms["ncis"]["depth"].value)
    assert arms["ncis"]["frequency"].verdict == SUPPORTED
    assert arms["ncis"]["mixture"].verdict.startswith(CAUTION)


def test_logs_that_carry_no_estimate_are_refused_in_one_line(log: SessionLog):
    lone = replace(log, session_starts=log.user_starts[:-1], session_users=log.user_ids)
    with pytest.raises(UnsupportedEstimateError, match="no session has a level"):
        judge(lone, lone.behaviour_mean, force=False)
    blind = replace(log, actions=np.ones_like(log.actions), behaviour_mean=None, behaviour_scale=None)
    with pytest.raises(DatasetError, match="actions must vary"):
        judge(blind, blind.actions, force=False)


def test_zero_length_gaps_are_counted_out(log: SessionLog):
    times, second = log.times.copy(), log.session_starts[1]
    times[second] = times[second - 1]
    exclusions = judge(replace(log, times=times), log.behaviour_mean, force=False).config["exclusions"]
    assert exclusions["no time passed before the next session"] == 1
    assert exclusions["a user's last session, whose return was not seen"] == 60


def test_the_command_prints_verdicts_and_says_by_its_exit_whether_any_stands(folder: Path):
    run = CliRunner().invoke
    log = str(folder / "log.parquet")
    done = run(app, ["ope", log, "--policy", str(folder / "same.npy")])
    assert done.exit_code == 0
    assert "mixture: SUPPORTED (D2 0.00" in done.stdout
    refused = run(app, ["ope", log, "--policy", str(folder / "far.npy")])
    assert refused.exit_code == 1
    assert "mixture: NOT SUPPORTED: D2 " in refused.stdout
    forced = run(app, ["ope", log, "--policy", str(folder / "far.npy"), "--force", "--json"])
    assert forced.exit_code == 0
    record = json.loads(forced.stdout)
    assert record["metrics"]["ncis_mixture"]["value"] is not None
    assert record["metrics"]["ncis_mixture"]["verdict"].startswith(NOT_SUPPORTED)


def test_generate_and_audit_at_the_command_line(tmp_path: Path):
    out = tmp_path / "log.parquet"
    told = CliRunner().invoke(
        app,
        [
            "data",
            "generate",
            "session-world",
            "--users",
            "60",
            "--requests",
            "30",
            "--out",
            str(out),
            "--json",
        ],
    )
    assert json.loads(told.stdout)["data_hash"] == load_log(out).content_hash
    done = CliRunner().invoke(app, ["data", "audit", str(out), "--out", str(tmp_path / "audit")])
    assert done.exit_code == 0
    assert "60 users" in done.stdout
    page = (tmp_path / "audit" / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 2
    assert "Behaviour recorded by the serving layer" in page
    assert (tmp_path / "audit" / "record.json").is_file()
