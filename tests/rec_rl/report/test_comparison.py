import html
import json
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from rec_rl.cli import app
from rec_rl.errors import ConfigError, DatasetError
from rec_rl.evaluation.intervals import mean_interval
from rec_rl.experiments.records import RunRecord
from rec_rl.report.comparison import read_curve, save_curves

CURVE = [{"step": 10.0, "ncis_depth": 0.5, "d2": 1.0}, {"step": 20.0, "ncis_depth": 0.7, "d2": 1.5}]


def leave_run(folder: Path, value: float, *, seed: int, data_hash: str = "abc", curve: bool = True) -> str:
    RunRecord(
        command="rec-rl train il",
        seeds=[seed],
        data_hash=data_hash,
        config={"algorithm": folder.name.split("-")[0], "note": "<script>1</script>", "seed": seed},
        metrics={"depth": mean_interval([value])},
    ).save(folder / "record.json")
    if curve:
        pd.DataFrame(CURVE).to_csv(folder / "metrics.csv", index=False)
    return str(folder)


def test_the_page_holds_curves_differences_and_what_differs(tmp_path: Path):
    values = {"il": (0.5, 0.6, 0.65), "iql": (0.7, 0.85, 0.82)}
    runs = [
        leave_run(tmp_path / f"{name}-{seed}", values[name][seed], seed=seed)
        for name in values
        for seed in range(3)
    ]
    out = tmp_path / "page.html"
    done = CliRunner().invoke(app, ["report", *runs, "--out", str(out), "--json"])
    assert done.exit_code == 0, done.output
    record = json.loads(done.stdout)
    page = html.unescape(out.read_text())
    # iql - il: .2, .25, .17; mean .2067, t(2) 4.3027 * sd .04041 / sqrt(3) = .1004
    assert record["arms"]["depth"]["metrics"]["iql - il"]["low"] == pytest.approx(0.1063, abs=1e-4)
    assert "<strong>0.2067 [0.1063, 0.3071]</strong>" in page
    assert "1 of 1 intervals hold no zero" in page
    assert "<td>algorithm</td><td>il</td><td>iql</td>" in page
    assert page.count("data:image/png;base64,") == 1
    for fetched in ("http://", "https://", "<script src"):
        assert fetched not in page


def test_what_a_record_says_is_text(tmp_path: Path):
    runs = [leave_run(tmp_path / name, 0.5, seed=0) for name in ("il", "<b>iql")]
    page = tmp_path / "page.html"
    assert CliRunner().invoke(app, ["report", *runs, "--out", str(page)]).exit_code == 0
    assert "<b>iql" not in page.read_text()
    assert "No difference has an interval" in page.read_text()
    assert "What to know" not in page.read_text()


def test_runs_of_other_data_are_refused_and_nothing_is_written(tmp_path: Path):
    runs = [leave_run(tmp_path / name, 0.5, seed=0, data_hash=name) for name in ("il", "iql")]
    done = CliRunner().invoke(app, ["report", *runs, "--out", str(tmp_path / "page.html")])
    assert isinstance(done.exception, DatasetError)
    assert "got data hash il in il (seed 0) and iql in iql (seed 0)" in str(done.exception)
    assert not (tmp_path / "page.html").exists()


def test_out_is_for_several_runs(tmp_path: Path):
    run = leave_run(tmp_path / "il", 0.5, seed=0)
    done = CliRunner().invoke(app, ["report", run, "--out", "page.html"])
    assert isinstance(done.exception, ConfigError)


def test_curves_are_drawn_by_what_all_runs_that_have_one_share(tmp_path: Path):
    trained = [{"epoch": 1.0, "loss": 0.5, "validation_auc": 0.6}]
    both = {"il": [CURVE], "closed form": [[]], "iql": [CURVE[:1]]}
    assert list(save_curves(both, tmp_path)) == [
        "NCIS of depth on validation users while training, supported or not"
    ]
    assert list(save_curves({"din": [trained]}, tmp_path)) == ["AUC on validation rows by epoch"]
    assert save_curves({"il": [CURVE], "din": [trained]}, tmp_path) == {}
    assert save_curves({"closed form": [[]]}, tmp_path) == {}


def test_a_curve_comes_back_as_it_was_left(tmp_path: Path):
    leave_run(tmp_path, 0.5, seed=0)
    assert read_curve(tmp_path) == CURVE
    (tmp_path / "metrics.csv").unlink()
    assert read_curve(tmp_path) == []
