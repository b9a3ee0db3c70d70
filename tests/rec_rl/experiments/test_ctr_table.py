"""The tables of click models and of satisfaction, on a log of a few hundred rows."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from rec_rl.errors import ConfigError, DatasetError
from rec_rl.experiments import ctr_trials
from rec_rl.experiments.ctr_study import CONTROLS, ClickStudy, parse_arms
from rec_rl.experiments.ctr_table import run_table, study_notes
from rec_rl.experiments.ctr_training import CTRConfig
from rec_rl.experiments.ctr_trials import StudyRuns, load_arrays
from rec_rl.experiments.satisfaction_study import run_satisfaction
from rec_rl.progress import progress
from rec_rl.report.figures import save
from rec_rl.report.grids import gain_figure, markdown_grid

SMALL = CTRConfig(embedding_size=4, hidden_sizes=(8,), batch_size=128, learning_rate=2e-2, max_epochs=2)


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Trials run here, one after the other; the results by name."""
    results: dict[str, Any] = {}

    def run(trial: Callable[..., Any], specs: dict[str, Any], **_: object) -> dict[str, Any]:
        for name, spec in specs.items():
            results[name] = list(trial(spec))[-1]["result"]
        return {name: results[name] for name in specs}

    monkeypatch.setattr(ctr_trials, "run_trials", run)
    monkeypatch.setattr(ctr_trials, "DRAWS", 20)
    return results


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Users click on items of their own parity; of those they like the small numbers, whatever they click."""
    rng = np.random.default_rng(0)
    n = 1600
    users, items = rng.integers(1, 51, n), rng.integers(1, 21, n)
    clicks = (rng.random(n) < np.where(items % 2 == users % 2, 0.8, 0.2)).astype(int)
    likes = (items <= 10).astype(int)
    path = tmp_path_factory.mktemp("log") / "log.csv"
    rare = (np.arange(n) == n - 1).astype(int)
    columns = {
        "uid": users,
        "iid": items,
        "ts": np.arange(n),
        "click": clicks,
        "is_like": likes,
        "rare": rare,
    }
    pd.DataFrame(columns).to_csv(path, index=False)
    return path


def study_of(log: Path, **settings: Any) -> ClickStudy:
    return ClickStudy(
        data=str(log),
        mapping="user=uid,item=iid,time=ts,action=click,feedback=is_like,feedback=rare",
        training=SMALL,
        reward_body="deepfm",
        reward_epochs=1,
        **settings,
    )


def test_arms_are_named_as_in_the_paper():
    assert parse_arms("mtrec, irl") == ("ce", "irl", "mtrec")
    assert parse_arms("ce,anchored,controls") == ("ce", "anchored", *CONTROLS)
    with pytest.raises(ConfigError, match="did you mean 'mtrec'"):
        parse_arms("mtrek")
    with pytest.raises(ConfigError, match="controls need a reward arm"):
        parse_arms("ce,controls")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"models": ("dinn",)}, "did you mean 'din'"),
        ({"models": ("din",), "kappa": 0.0}, "kappa must be > 0, got 0"),
        ({"models": ()}, "a study needs a model and a seed"),
    ],
)
def test_a_study_refuses_what_makes_no_sense(settings: dict[str, Any], message: str):
    with pytest.raises(ConfigError, match=message):
        ClickStudy(**{"data": "log", "arms": ("ce",), "seeds": (1,), **settings})


def test_the_table_compares_every_arm_with_the_plain_model(
    log: Path, tmp_path: Path, in_process: dict[str, Any]
):
    study = study_of(log, models=("deepfm", "din"), arms=parse_arms("irl,anchored,controls"), seeds=(1, 2))
    with progress() as shown:
        record = run_table(study, folder=tmp_path, progress=shown, command="rec-rl table ctr")
    assert set(record.arms) == {f"{m}/{a}" for m in ("deepfm", "din") for a in ("ce", "irl", "anchored")}
    assert set(record.controls) == {f"{m}/{a}" for m in ("deepfm", "din") for a in CONTROLS}
    plain, aligned = record.arms["din/ce"], record.arms["din/irl"]
    by_seed = [in_process[f"din/irl seed {s}"]["draws"]["auc"][0] for s in (1, 2)]
    assert aligned["auc"].per_seed == pytest.approx(by_seed)
    assert aligned["auc_gain"].value == pytest.approx(aligned["auc"].value - plain["auc"].value)
    both = [record.arms[f"{m}/irl"]["auc_gain"].value for m in ("deepfm", "din")]
    assert record.metrics["irl.auc_gain"].value == pytest.approx(np.mean(both))
    assert "auc_gain" not in plain
    # One reward of a seed serves both backbones; the controls follow the last of the rewards.
    assert sum("seed 1" in name and name.startswith("deepfm/") for name in in_process) == 6
    assert len(in_process) == 2 * 2 + 2 * 2 * 6 - 2 * 2  # rewards share their names with arms of deepfm
    assert any("all backbones" in note for note in record.notes)

    text = markdown_grid(record.to_dict(), "auc", "Title")
    assert "| | ce | irl | anchored | shuffled | placebo | q_difference |" in text
    assert f"| din | {plain['auc'].value:.4f} |" in text
    save(gain_figure(record.to_dict(), "auc", "gain"), tmp_path / "gain.png")
    assert (tmp_path / "gain.png").stat().st_size > 5000


def test_satisfaction_is_ranked_among_clicked_rows_that_no_training_saw(
    log: Path, tmp_path: Path, in_process: dict[str, Any]
):
    study = study_of(
        log, models=("deepfm",), arms=parse_arms("irl,anchored"), seeds=(1,), labels=("is_like", "rare")
    )
    with progress() as shown:
        record = run_satisfaction(study, folder=tmp_path, progress=shown, command="")
    names = {"ce", "irl", "irl model", "anchored", "anchored model", "anchored + feedback"}
    assert set(record.arms) == {f"is_like>=1/{name}" for name in names}
    assert record.controls["is_like>=1/constant"]["satisfaction_auc"].value == 0.5
    assert any(note.startswith("rare>=1: ") and "too few of a class" in note for note in record.notes)
    assert sum("is_like>=1: the reward" in note for note in record.notes) == 3
    # Clicks say nothing of what users like here; a few answers do.
    asked = record.arms["is_like>=1/anchored + feedback"]["satisfaction_auc"].value
    assert asked > 0.65 > record.arms["is_like>=1/irl"]["satisfaction_auc"].value
    _, data = study.dataset(1)
    arrays = load_arrays(in_process["deepfm/anchored seed 1"]["path"])
    assert len(arrays["test"]) == len(data.test)


def test_a_reward_that_is_nearly_constant_is_told(log: Path):
    study = study_of(log, models=("din",), arms=("ce", "irl"), seeds=(1,))
    reward = {"clipped": 0.9, "assumptions": []}
    runs = StudyRuns(data_hashes=("a",), rewards={("deepfm", 1, "irl"): reward}, arms={}, notes=())
    assert any("90% of its differences are clipped" in note for note in study_notes(study, runs))
    runs = replace(runs, rewards={("deepfm", 1, "irl"): reward | {"clipped": 0.1}})
    assert not any("clipped" in note for note in study_notes(study, runs))


def test_a_table_whose_arrays_are_gone_says_what_to_do(tmp_path: Path):
    with pytest.raises(DatasetError, match=r"cannot be read; remove .*trials to run its trials again"):
        load_arrays(str(tmp_path / "arrays" / "gone.npz"))


def test_rewards_on_each_backbone_are_fitted_for_each(log: Path):
    study = study_of(log, models=("din", "pnn"), arms=("ce",), seeds=(1,))
    assert [study.body_of(m) for m in study.models] == ["deepfm", "deepfm"]
    assert [replace(study, reward_body="own").body_of(m) for m in study.models] == ["din", "pnn"]
