import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from rec_rl.cli import app
from rec_rl.experiments import click_study
from rec_rl.experiments.ab_study import A_A, ARMS


def run_here(trial: Any, specs: Mapping[str, Any], **_: Any) -> dict[str, Any]:
    """The runner without Ray: every trial in this process, in turn."""
    results = {}
    for name, spec in specs.items():
        *_, event = trial(spec)
        results[name] = json.loads(json.dumps(event["result"]))
    return results


@pytest.fixture
def finished_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[dict[str, Any], Path]:
    monkeypatch.setattr(click_study, "run_trials", run_here)
    arguments = ["table", "ab", "--quick", "--seeds", "1", "--json", "--runs", str(tmp_path)]
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0
    return json.loads(done.stdout), tmp_path / "table-ab"


def test_a_study_prints_its_record_and_leaves_table_figures_and_page(
    finished_run: tuple[dict[str, Any], Path],
):
    record, folder = finished_run
    assert record == json.loads((folder / "record.json").read_text())
    assert set(record["arms"]) == set(ARMS)
    assert set(record["controls"]) == {A_A, "shuffled", "placebo", "q_difference", "oracle"}
    metrics = record["arms"]["anchored, 2 % feedback"]["metrics"]
    assert {"lift", "lift_cuped_truth_b", "lift_day_7", "users_needed_cuped_truth_b"} < set(metrics)
    text = (folder / "table.md").read_text()
    assert "| arm | lift | lift_cuped | lift_truth_b | lift_cuped_truth_b |" in text
    assert f"| {A_A} (control) |" in text
    assert "![daily lift](figures/daily-lift.png)" in text
    assert (folder / "figures/daily-lift.png").stat().st_size > 10_000
    assert "daily lift" in (folder / "report.html").read_text()
