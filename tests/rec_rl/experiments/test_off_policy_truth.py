import numpy as np
import pytest

from rec_rl.data.levels import TASKS
from rec_rl.errors import ConfigError
from rec_rl.evaluation.off_policy import NOT_SUPPORTED, SUPPORTED
from rec_rl.experiments.off_policy_coverage import coverage_study
from rec_rl.experiments.off_policy_truth import ESTIMATORS, POLICIES, truth_study

FEW = {name: POLICIES[name] for name in ("logging", "taste 0.5", "anti 0.5", "diverse+calm 2")}


def test_truth_study_runs_every_estimator_on_every_policy():
    done = []
    study = truth_study(
        num_users=80,
        num_requests=80,
        policies=FEW,
        estimators=tuple(ESTIMATORS),
        on_progress=lambda *a: done.append(a),
    )
    assert done[-1] == (4, 4)
    assert [p.name for p in study.policies] == list(FEW)
    for policy in study.policies:
        assert set(policy.estimates) == set(ESTIMATORS)
        assert all(np.isfinite(policy.estimates[kind][task].value) for kind in ESTIMATORS for task in TASKS)
    assert study.policies[1].online["depth"].low > study.policies[2].online["depth"].high
    assert study.policies[3].estimates["ncis"]["depth"].verdict.startswith(NOT_SUPPORTED)
    with pytest.raises(ConfigError, match="unknown estimator"):
        truth_study(estimators=("nciss",))


def test_coverage_study_counts_draws():
    found = coverage_study(("taste 0.5",), num_draws=4, users_per_draw=60, num_requests=60)
    assert [c.task for c in found] == list(TASKS)
    assert all(0 <= c.ncis <= 1 and 0 <= c.snips <= 1 and c.num_supported == 4 for c in found)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_estimates_order_policies_as_their_online_values_do():
    study = truth_study(seed=2, estimators=("ncis", "ncis, session product", "advantage"))
    assert len(study.policies) >= 24
    default, printed = study.spearman["ncis"], study.spearman["ncis, session product"]
    assert default["depth"] >= 0.85
    assert default["frequency"] >= 0.95
    assert default["mixture"] >= 0.75
    assert study.policies[-1].support.d2 > 50
    assert printed["depth"] < 0.3
    assert min(study.spearman["advantage"].values()) >= 0.9
    for policy in study.policies:
        for estimates in policy.estimates.values():
            assert all(e.d2 <= 50 or e.verdict != SUPPORTED for e in estimates.values())


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_intervals_hold_what_they_are_of():
    for found in coverage_study(("taste 0.5", "click 1"), num_draws=200, users_per_draw=100):
        assert found.num_supported > 180
        assert 0.90 <= found.ncis <= 0.98, found
        assert 0.90 <= found.snips <= 0.98, found
