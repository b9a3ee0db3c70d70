import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rec_rl.cli import app
from rec_rl.data.levels import TASKS
from rec_rl.data.session_files import load_log
from rec_rl.evaluation.off_policy import NOT_SUPPORTED, SUPPORTED
from rec_rl.experiments.kuairand_sessions_run import OURS, RANDOM, run_pipeline


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_pipeline_on_real_exposures_claims_nothing_about_depth(shared_data: Path):
    record = run_pipeline(shared_data / "kuairand_pure_late", seed=0, command="")
    for arm in (record.arms[OURS], record.controls[RANDOM]):
        assert arm["ncis_depth"].verdict.startswith(NOT_SUPPORTED)
        assert "single request" in arm["ncis_depth"].verdict
        assert all(arm[f"ncis_{task}"].verdict != SUPPORTED for task in TASKS)


@pytest.mark.slow
def test_conversion_at_the_command_line(shared_data: Path, tmp_path: Path):
    out = tmp_path / "log.parquet"
    folder = str(shared_data / "kuairand_pure_late")
    done = CliRunner().invoke(app, ["data", "convert", "kuairand", folder, "--out", str(out), "--json"])
    told = json.loads(done.stdout)
    assert told["requests"] == 222_444
    assert told["behaviour"] == "unknown"
    assert load_log(out).content_hash == told["data_hash"]
