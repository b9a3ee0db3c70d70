from typing import Any

import pytest

from rec_rl.errors import DatasetError
from rec_rl.evaluation.intervals import mean_interval
from rec_rl.experiments.compare_records import compare_records
from rec_rl.experiments.records import RunRecord

NAMES = ("a/record.json", "b/record.json")


def record(values: list[float], **changes: Any) -> dict[str, Any]:
    settings: dict[str, Any] = {"command": "", "seeds": [1, 2, 3], "data_hash": "f" * 64, "config": {}}
    metrics = {"auc": mean_interval(values, seeds=True)}
    return RunRecord(**{**settings, "arms": {"din/ce": metrics}, "metrics": metrics, **changes}).to_dict()


def test_records_of_the_same_seeds_are_paired():
    compared = compare_records(record([0.5, 0.6, 0.7]), record([0.6, 0.7, 0.9]), names=NAMES, command="c")
    row = compared.arms["din/ce: auc"]
    assert row["first"].value == pytest.approx(0.6)
    # differences .1, .1, .2: mean .1333, t(2) 4.3027 * sd .057735 / sqrt(3)
    assert row["difference"].value == pytest.approx(0.4 / 3)
    assert row["difference"].high - row["difference"].value == pytest.approx(4.3027 / 30, rel=1e-3)
    assert list(compared.arms) == ["auc", "din/ce: auc"]


def test_records_of_other_seeds_have_a_bare_difference():
    other = record([0.6, 0.7, 0.8], seeds=[4, 5, 6])
    compared = compare_records(record([0.5, 0.6, 0.7]), other, names=NAMES, command="")
    difference = compared.arms["auc"]["difference"]
    assert difference.value == pytest.approx(0.1)
    assert difference.low != difference.low
    assert "The seeds differ, so that differences have no interval." in compared.notes


def test_what_only_one_has_is_named():
    lacking = record([0.5, 0.6, 0.7], arms={})
    compared = compare_records(record([0.5, 0.6, 0.7]), lacking, names=NAMES, command="")
    assert compared.notes == ["In one of the two only: din/ce: auc."]


@pytest.mark.parametrize("other", ["e" * 64, ""])
def test_other_data_is_refused(other: str):
    with pytest.raises(
        DatasetError, match=r"same data and split, got data hash f{12} in a/.* and (e{12}|none)"
    ):
        compare_records(record([0.5]), record([0.5], data_hash=other), names=NAMES, command="")


def test_records_without_a_common_metric_are_refused():
    empty = record([0.5], arms={}, metrics={})
    with pytest.raises(DatasetError, match="share no metric"):
        compare_records(record([0.5]), empty, names=NAMES, command="")
