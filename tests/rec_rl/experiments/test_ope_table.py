from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from rec_rl.data.levels import TASKS
from rec_rl.evaluation.off_policy import NOT_SUPPORTED, SUPPORTED
from rec_rl.experiments import ope_table
from rec_rl.progress import Progress
from rec_rl.report.ope_figures import truth_figure

Trial = Callable[[Mapping[str, Any]], Iterator[dict[str, Any]]]


def run_here(trial: Trial, specs: Mapping[str, Any], **_: Any) -> dict[str, Any]:
    """The runner without Ray."""
    results = {}
    for name, spec in specs.items():
        *_, event = trial(spec)
        results[name] = event["result"]
    return results


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> tuple[Any, list[dict[str, Any]]]:
    monkeypatch.setattr(ope_table, "run_trials", run_here)
    monkeypatch.setattr(ope_table, "COVERED", ("taste 0.5",))
    monkeypatch.setattr(ope_table, "QUICK", replace(ope_table.QUICK, num_users=70, num_requests=60))
    shown = Progress(StringIO())
    return ope_table.run_table(num_worlds=2, quick=True, folder=tmp_path, progress=shown, command="x")


def test_table_ranks_every_estimator_and_counts_coverage(table: tuple[Any, list[dict[str, Any]]]):
    record, studies = table
    assert set(record.arms) == set(ope_table.FAST_ESTIMATORS)
    for arm in record.arms.values():
        assert all(len(arm[task].per_seed) == 2 and -1 <= arm[task].value <= 1 for task in TASKS)
    for task in TASKS:
        held = record.metrics[f"coverage/snips/{task}"]
        assert held.n == 4
        assert held.low < held.value + 1e-9
    assert record.metrics["collapsed_and_supported"].value == 0
    assert record.metrics["collapsed_and_supported"].n == 2 * 7 * 3  # worlds, estimators, tasks
    assert {study["policies"][-1]["support"]["verdict"].partition(":")[0] for study in studies} == {
        NOT_SUPPORTED
    }
    panels = truth_figure(studies, "ncis").axes
    assert sum(len(points.get_offsets()) for points in panels[0].collections) == 12  # policies, worlds


def test_a_collapsed_policy_with_support_is_a_missed_bar():
    study = {
        "spearman": {"ncis": dict.fromkeys(TASKS, 0.9)},
        "believed_spearman": {"ncis": dict.fromkeys(TASKS, None)},
        "policies": [
            {"support": {"d2": 80.0}, "estimates": {"ncis": {"depth": {"verdict": SUPPORTED}}}},
            {"support": {"d2": 1.0}, "estimates": {"ncis": {"depth": {"verdict": SUPPORTED}}}},
        ],
    }
    arms = ope_table._spearman_arms([study, study])
    collapsed = ope_table._collapsed_and_supported([study])
    assert collapsed.value == 1
    coverage = [{"policy": "p", "task": "depth", "ncis": 0.95, "snips": 0.5, "num_supported": 200}]
    missed = {m["bar"]: m["value"] for m in ope_table._missed(arms, collapsed, coverage, quick=False)}
    # .9 is enough for depth (.85) and the mixture (.75), not for frequency (.95)
    assert missed == {
        "ncis: Spearman of frequency >= 0.95": 0.9,
        "snips on p, depth: coverage in [0.9, 0.98]": 0.5,
        "no policy of D2 > 50 is SUPPORTED": 1,
    }


def test_bars_that_were_reached_are_not_missed():
    study = {
        "spearman": {"ncis": dict.fromkeys(TASKS, 0.96)},
        "believed_spearman": {"ncis": dict.fromkeys(TASKS, None)},
        "policies": [{"support": {"d2": 80.0}, "estimates": {"ncis": {"depth": {"verdict": NOT_SUPPORTED}}}}],
    }
    arms = ope_table._spearman_arms([study, study])
    coverage = [{"policy": "p", "task": "depth", "ncis": 0.895, "snips": 0.95, "num_supported": 200}]
    (missed,) = ope_table._missed(arms, ope_table._collapsed_and_supported([study]), coverage, quick=False)
    assert missed["bar"].startswith("ncis on p, depth")
    assert missed["reason"] == "of 200 draws, whose chance alone spans [0.844, 0.934]"
