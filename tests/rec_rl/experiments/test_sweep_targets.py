from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from envs.session_rollouts import record_log
from envs.session_world import SessionWorld
from rec_rl.algorithms.offline_policy import OfflinePolicy
from rec_rl.data.session_files import save_log
from rec_rl.errors import ConfigError
from rec_rl.experiments import sweep_targets
from rec_rl.experiments.presets import PLAIN
from rec_rl.experiments.records import RunRecord
from rec_rl.experiments.session_data import SessionData
from rec_rl.experiments.sweep import judge_trial, tune
from rec_rl.experiments.sweep_targets import TARGETS, SweepTarget, run_trial
from rec_rl.experiments.training import TrainingSpec, build_algorithm
from tuning.best import BEST, read_best
from tuning.tuner import SweepConfig


def first_settings(target: SweepTarget) -> dict[str, Any]:
    """Each domain's first value, or its lower bound."""
    domains = target.space.domains()
    return {name: d.values[0] if hasattr(d, "values") else d.low for name, d in domains.items()}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"env": "virtual-taobo"}, "unknown env 'virtual-taobo'; did you mean 'virtual-taobao'"),
        ({"name": "sacc"}, "unknown target on virtual-taobao 'sacc'; did you mean 'sac'"),
        ({"name": "din", "env": "click-log"}, "env click-log needs --data"),
        ({"steps": 3}, "steps must be >= 9, got 3"),
    ],
)
def test_a_target_that_is_none_is_refused(changes: dict[str, Any], message: str):
    with pytest.raises(ConfigError, match=message):
        SweepTarget(**({"name": "sac", "env": "virtual-taobao"} | changes))


def test_satisfaction_is_a_metric_only_where_it_is_known():
    assert SweepTarget(name="sac", env="virtual-taobao").metrics == {"ectr": "max", "satisfaction": "max"}
    assert SweepTarget(name="sac", env="virtual-taobao", weights="/x").metrics == {"ectr": "max"}


def test_every_kind_names_its_targets_and_their_spaces():
    for env, kind in TARGETS.items():
        for name in kind.names():
            target = SweepTarget(name=name, env=env, data="x")
            assert set(kind.mutable) <= set(target.space.domains())
            assert next(iter(target.metrics.values())) in ("max", "min")


def test_a_mental_reward_reports_what_held_out_users_say(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sweep_targets, "WORLD_USERS", 200)
    target = SweepTarget(name="anchored", env="click-world")
    spec = {"target": asdict(target), "metric": "log_likelihood"}
    settings = first_settings(target) | {"steps": 20, "head_steps": 5}
    *told, last = judge_trial(spec | {"settings": settings})
    assert told == [{"step": 1, "total": 1}]
    assert -1 < last["result"]["value"] < 0


def test_a_scheduler_has_nothing_to_decide_on_a_single_report(tmp_path: Path):
    target = SweepTarget(name="anchored", env="click-world")
    config = SweepConfig(
        samples=1,
        metrics=("log_likelihood",),
        metric="log_likelihood",
        mode="max",
        max_steps=1,
        scheduler="asha",
    )
    with pytest.raises(ConfigError, match="anchored reports once, at its end: scheduler must be none"):
        tune(target, config, tmp_path / "s", resume=False, num_seeds=0, command="")
    assert not (tmp_path / "s").exists()


def test_offline_algorithms_report_what_users_earn_or_what_a_log_supports(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    small = SessionData(num_users=30, num_test_users=12, num_requests=80, segment_length=30, num_pairs=24)
    target = SweepTarget(name="il", env="session-world", steps=100)
    monkeypatch.setattr(sweep_targets, "_session_data", lambda target: small)
    settings = {"hidden_sizes": (32,), "batch_size": 256, "actor_lr": 3e-3}
    online = list(run_trial(target, settings, tmp_path / "world"))
    assert [report["step"] for report in online] == [50, 100]
    assert all(set(report) == {"step", "mixture", "depth", "frequency"} for report in online)
    assert all(0 < report["mixture"] < 2 for report in online)

    save_log(record_log(SessionWorld(400, 5), 80).log, tmp_path / "log.parquet")
    replay = replace(small, env="session-replay", log=str(tmp_path / "log.parquet"))
    monkeypatch.setattr(sweep_targets, "_session_data", lambda target: replay)
    target = replace(target, env="session-replay", data=replay.log)
    for far in (False, True):
        if far:  # a policy that the log cannot judge
            monkeypatch.setattr(OfflinePolicy, "__call__", lambda _, states: np.full((len(states), 8), 9.0))
        reports = list(run_trial(target, settings, tmp_path / f"log-{far}"))
        assert all(set(report) == {"step", *target.metrics} for report in reports)
        assert (reports[-1]["ncis_mixture"] == 0) == far


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_a_sweep_leaves_settings_that_a_run_takes_and_can_be_made_larger(tmp_path: Path):
    target = SweepTarget(name="sac", env="virtual-taobao", steps=600)

    def sweep(samples: int, *, resume: bool) -> RunRecord:
        metrics = tuple(target.metrics)
        config = SweepConfig(samples=samples, metrics=metrics, metric="ectr", mode="max", max_steps=600)
        return tune(target, config, tmp_path, resume=resume, num_seeds=1, command="rec-rl tune sac")

    sweep(2, resume=False)
    two = pd.read_csv(tmp_path / "trials.csv").sort_values("trial", ignore_index=True)
    record = sweep(3, resume=True)
    three = pd.read_csv(tmp_path / "trials.csv").sort_values("trial", ignore_index=True)
    pd.testing.assert_frame_equal(three[:2], two)
    assert list(three.state) == ["finished"] * 3
    assert set(record.arms) == {"trial 0", "trial 1", "trial 2", "preset"}
    assert record.metrics["ectr"] == max((arm["ectr"] for arm in record.arms.values()), key=lambda e: e.value)
    assert (tmp_path / "figures" / "trials.png").is_file()
    best = read_best(tmp_path / BEST, "sac")
    build_algorithm(TrainingSpec(algorithm="sac", settings=PLAIN["sac"] | best)).stop()
