from pathlib import Path

import pytest

from rec_rl.evaluation.intervals import Estimate
from rec_rl.experiments.prefrec_table import (
    ABLATIONS,
    ALGORITHMS,
    OURS,
    QUICK,
    TableSize,
    _ablation_specs,
    _by_arm,
    _data,
    _judged,
    _metrics,
    _specs,
    missed_bars,
)


def estimate(value: float, half: float) -> Estimate:
    return Estimate(value=value, low=value - half, high=value + half, n=5)


def test_bars_are_missed_by_a_low_value_or_intervals_that_touch():
    arms = {"iql": {"mixture": estimate(0.6, 0.1)}, "ddpg": {"mixture": estimate(0.8, 0.05)}}
    assert missed_bars(arms | {OURS: {"mixture": estimate(0.95, 0.05)}}) == []
    missed = missed_bars(arms | {OURS: {"mixture": estimate(0.88, 0.05)}})
    assert [miss["value"] for miss in missed] == [0.88, 0.8]
    assert "ddpg" in missed[1]["bar"]
    assert missed_bars({"iql": {"depth": estimate(0.5, 0.1)}, OURS: {"depth": estimate(0.5, 0.1)}}) == []


def test_the_worst_verdict_of_the_seeds_stands():
    found = [
        {"value": 1.0, "d2": 2.0, "ess": 10.0, "verdict": "SUPPORTED"},
        {"value": 3.0, "d2": 90.0, "ess": 2.0, "verdict": "NOT SUPPORTED: D2 90.0 above 8"},
        {"value": 2.0, "d2": 4.0, "ess": 3.0, "verdict": "CAUTION: D2 4.0 above 4"},
    ]
    judged = _judged(found)
    assert judged.verdict == "NOT SUPPORTED: D2 90.0 above 8"
    assert (judged.value, judged.d2, judged.ess) == (2.0, 32.0, 5.0)


def test_the_table_holds_every_algorithm_by_task_and_seed(tmp_path: Path):
    data = {(t, s): _data(t, s, TableSize(), tmp_path) for s in (100, 101) for t in ("depth", "mixture")}
    specs = _specs(data, TableSize())
    assert len(specs) == 2 * (2 * len(ALGORITHMS) - 2)  # the logger and il serve for both tasks
    assert [seed for _, _, seed in specs] == sorted(seed for _, _, seed in specs)
    supported = specs[(OURS, "depth", 100)].data
    assert (supported.teacher, supported.reward, supported.task) == ("mean", "session", "depth")
    rest = {spec.data for (name, task, seed), spec in specs.items() if name in ("iql", "prefrec", "bcq")}
    assert len(rest) == 4  # they share a reward per task and seed


def test_ablations_change_what_they_name(tmp_path: Path):
    data = {("mixture", 100): _data("mixture", 100, TableSize(), tmp_path)}
    specs = _ablation_specs(data, TableSize())
    assert {name for name, _ in specs} == set(ABLATIONS)
    assert specs[("prefrec, expectile 0.9", 100)].settings["expectile"] == 0.9
    assert specs[("prefrec, no pre-training", 100)].data.reward == "untrained"
    assert specs[("prefrec, session reward", 100)].data.reward == "session"
    assert specs[(f"{OURS}, linear reward", 100)].data.reward == "linear"


def test_metrics_are_the_values_of_the_policy_trained_for_the_task():
    def run(level: float) -> dict:
        found = {"value": level, "d2": 1.0, "ess": 5.0, "verdict": "SUPPORTED"}
        tasks = ("depth", "frequency", "mixture")
        return {"online": {t: level + i for i, t in enumerate(tasks)}, "ncis": dict.fromkeys(tasks, found),
                "seconds": 1.0}  # fmt: skip

    runs = {f"{arm}/mixture#{seed}": run(float(seed)) for arm in ("logging", "il", "iql") for seed in (1, 3)}
    runs |= {f"iql/depth#{seed}": run(10.0 * seed) for seed in (1, 3)}
    rows = _by_arm(runs)
    metrics = _metrics(rows["iql"])
    assert metrics["depth"].value == 20.0
    assert metrics["depth"].per_seed == (10.0, 30.0)
    assert metrics["mixture"].value == 4.0  # 2 and the task's place
    assert metrics["frequency_of_mixture"].value == 3.0
    assert _metrics(rows["il"])["depth"].value == 2.0


@pytest.mark.slow
def test_a_quick_table_has_every_arm_and_goes_on_where_it_stopped(
    ray_session: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    import sys

    from rec_rl.experiments.prefrec_table import run_table
    from rec_rl.progress import Progress

    settings = {"tasks": ["mixture"], "num_seeds": 2, "ablations": True, "size": QUICK, "folder": tmp_path}
    record, rows, rewards = run_table(**settings, progress=Progress(sys.stderr), command="c")
    assert set(record.arms) == {*ALGORITHMS, *ABLATIONS} - {"logging"}
    assert len(rewards) == 2
    again, _, _ = run_table(**settings, progress=Progress(sys.stderr), command="c")
    assert again.arms == record.arms
    assert len(rows["prefrec"]["mixture"]) == 2
