import json
from pathlib import Path

import numpy as np
import pytest

from rec_rl.errors import DatasetError
from rec_rl.evaluation.intervals import mean_interval
from rec_rl.experiments.records import RunRecord, read_record, to_plain


def record() -> RunRecord:
    return RunRecord(
        command="rec-rl demo",
        seeds=[1, 2],
        data_hash="abc",
        config={"path": Path("x"), "sizes": (1, 2), "lr": np.float32(0.5)},
        metrics={"ectr": mean_interval([0.5, 0.7], seeds=True), "one": mean_interval([1.0])},
        arms={"sac": {"ectr": mean_interval([0.5])}},
    )


def test_a_record_says_what_it_rests_on(tmp_path: Path):
    record().save(tmp_path / "r" / "record.json")
    plain = read_record(tmp_path / "r" / "record.json")
    assert plain["metrics"]["ectr"]["value"] == pytest.approx(0.6)
    assert plain["metrics"]["ectr"]["per_seed"] == [0.5, 0.7]
    assert plain["metrics"]["one"]["low"] is None  # one value has no interval, and NaN is no JSON
    assert plain["arms"]["sac"]["metrics"]["ectr"]["n"] == 1
    assert plain["config"] == {"path": "x", "sizes": [1, 2], "lr": 0.5}
    assert set(plain["versions"]) >= {"python", "ray", "torch"}
    json.dumps(plain, allow_nan=False)


@pytest.mark.parametrize("text", ["{", "[1]", '{"metrics": {}}'])
def test_what_is_no_record_is_refused(tmp_path: Path, text: str):
    (tmp_path / "record.json").write_text(text)
    with pytest.raises(DatasetError, match="not the record of a run"):
        read_record(tmp_path / "record.json")
    with pytest.raises(DatasetError, match="there is no record"):
        read_record(tmp_path / "nothing.json")


def test_plain_values_drop_what_was_not_set():
    assert "ess" not in to_plain(mean_interval([1.0, 2.0]))
