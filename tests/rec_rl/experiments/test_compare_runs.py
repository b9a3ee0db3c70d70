import json
from pathlib import Path
from typing import Any

import pytest

from rec_rl.errors import ConfigError, DatasetError
from rec_rl.evaluation.intervals import Estimate, mean_interval
from rec_rl.experiments.compare_runs import arms_of, compare_runs
from rec_rl.experiments.records import RunRecord


def leave_run(folder: Path, value: float | None, *, seed: int, data_hash: str = "f" * 64, **settings: Any):
    """The folder of a run of one seed with the metric auc."""
    nan = float("nan")
    verdict = "CAUTION: few users" if seed else "SUPPORTED"
    estimate = Estimate(value=nan if value is None else value, low=nan, high=nan, n=1, verdict=verdict)
    config = {"model": {"seed": seed, **settings}, "seed": seed}
    RunRecord(
        command=f"rec-rl train {folder.name}",
        seeds=[seed],
        data_hash=data_hash,
        config={**config, "epochs": seed},  # measured, and so no setting
        metrics={"auc": estimate, "gauc": mean_interval([0.5])},
        notes=["One log."],
    ).save(folder / "record.json")
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    """Three seeds of two settings, neither in order nor side by side."""
    values = {"a": (0.5, 0.6, 0.7), "b": (0.6, 0.7, 0.9)}
    return [
        leave_run(tmp_path / f"{name}-{seed}", values[name][seed], seed=seed, size=len(name), name=name)
        for seed in (2, 0, 1)
        for name in "ab"
    ]


def test_runs_that_differ_in_their_seed_alone_are_one_arm(runs: list[Path]):
    arms = arms_of(runs)
    assert [arm.title for arm in arms] == ["a (seeds 0, 1, 2)", "b (seeds 0, 1, 2)"]
    assert [folder.name for folder in arms[1].folders] == ["b-0", "b-1", "b-2"]
    assert arms[0].record["metrics"]["auc"]["per_seed"] == [0.5, 0.6, 0.7]
    assert arms[0].record["notes"] == ["seed 0: One log.", "seed 1: One log.", "seed 2: One log."]


def test_differences_are_paired_by_seed(runs: list[Path]):
    record = compare_runs(arms_of(runs), command="c")
    row = record.arms["auc"]
    assert row["a"].value == pytest.approx(0.6)
    assert row["a"].verdict == "SUPPORTED in 1 of 3, CAUTION in 2 of 3"
    # differences .1, .1, .2: mean .1333, t(2) 4.3027 * sd .057735 / sqrt(3)
    assert row["b - a"].value == pytest.approx(0.4 / 3)
    assert row["b - a"].high - row["b - a"].value == pytest.approx(4.3027 / 30, rel=1e-3)
    assert record.config["differing"] == {"model.name": {"a": "a", "b": "b"}}
    assert record.seeds == [0, 1, 2]


def test_one_run_keeps_its_own_interval_and_has_bare_differences(tmp_path: Path):
    first, second = (leave_run(tmp_path / name, v, seed=0, name=name) for name, v in (("x", 0.5), ("y", 0.7)))
    record = compare_runs(arms_of([first, second]), command="c")
    difference = record.arms["auc"]["y - x"]
    assert difference.value == pytest.approx(0.2)
    assert difference.low != difference.low


def test_seeds_on_logs_of_their_own_pair_with_those_on_the_same_logs(tmp_path: Path):
    def folders(name: str, hashes: str) -> list[Path]:
        return [
            leave_run(tmp_path / f"{name}{i}", 0.5 + i, seed=i, data_hash=h, name=name)
            for i, h in enumerate(hashes)
        ]

    ab, also_ab, ac = folders("p", "ab"), folders("q", "ab"), folders("r", "ac")
    assert compare_runs(arms_of(ab + also_ab), command="").arms["auc"]["q - p"].n == 2
    with pytest.raises(DatasetError, match=r"same data and split, .* in p \(seeds 0, 1\) and .* in r"):
        compare_runs(arms_of(ab + ac), command="")


def test_a_refused_estimate_stays_refused(tmp_path: Path):
    refused = [leave_run(tmp_path / f"r-{i}", value, seed=i, name="r") for i, value in enumerate((0.5, None))]
    whole = [leave_run(tmp_path / f"w-{i}", 0.5, seed=i, name="w") for i in range(2)]
    row = compare_runs(arms_of(refused + whole), command="").arms["auc"]
    assert row["r"].value != row["r"].value
    assert row["r"].verdict == "SUPPORTED in 1 of 2, CAUTION in 1 of 2"
    assert row["w"].value == 0.5
    assert row["w - r"].value != row["w - r"].value


def test_the_same_run_twice_is_refused(runs: list[Path], tmp_path: Path):
    again = leave_run(tmp_path / "again", 0.5, seed=0, size=1, name="a")
    with pytest.raises(ConfigError, match=r"a-0 and .*again are the same run"):
        arms_of([*runs, again])


def test_arms_of_the_same_name_are_told_apart_by_their_paths(tmp_path: Path):
    folders = [leave_run(tmp_path / side / "run", 0.5, seed=0, side=side) for side in ("l", "r")]
    assert [arm.name for arm in arms_of(folders)] == [str(folder) for folder in folders]
