import json
from collections.abc import Iterator, Mapping
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import ray

from rec_rl import progress
from rec_rl.errors import RecRLError
from rec_rl.experiments.runner import _note, _tell, run_trials, trial_key
from rec_rl.progress import Progress

pytestmark = pytest.mark.usefixtures("ray_session")


def doubling(spec: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for step in range(2):
        yield {"step": step + 1, "total": 2}
    if spec["x"] < 0:
        raise ValueError("x must be >= 0")
    yield {"result": {"double": 2 * spec["x"]}}


def test_trials_run_tell_and_are_not_run_again(tmp_path: Path):
    told = StringIO()
    specs = {f"t{x}": {"x": x} for x in range(3)}
    results = run_trials(doubling, specs, store=tmp_path, progress=Progress(told))
    assert results == {"t0": {"double": 0}, "t1": {"double": 2}, "t2": {"double": 4}}
    assert list(results) == list(specs)
    assert sorted(told.getvalue().split()) == sorted(["t0:", "2/2", "t1:", "2/2", "t2:", "2/2"])
    kept = tmp_path / f"{trial_key({'x': 2})}.json"
    kept.write_text(json.dumps({"double": "kept"}))
    again = run_trials(doubling, specs, store=tmp_path, progress=Progress(told))
    assert again["t2"] == {"double": "kept"}


def test_many_trials_are_shown_as_one_with_where_each_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    kept = tmp_path / f"{trial_key({'x': 2})}.json"
    kept.write_text(json.dumps({"double": "kept"}))
    told = StringIO()
    specs = {f"t{x}": {"x": x} for x in range(3)}
    run_trials(doubling, specs, store=tmp_path, progress=Progress(told), together="runs", max_concurrent=1)
    lines = [(line.split()[1], line.rpartition("  ")[2]) for line in told.getvalue().splitlines()]
    assert lines == [
        ("1/3", "runs: 1/3"),
        ("1/3", "t0 1/2"),
        ("1/3", "t0 2/2"),
        ("2/3", "t0"),
        ("2/3", "t1 1/2"),
        ("2/3", "t1 2/2"),
        ("3/3", "t1"),
    ]


def test_a_trials_click_through_rate_is_shown():
    assert _note({"step": 1, "total": 2, "ectr": 0.25}) == "eCTR 0.250"
    assert _note({"result": {"ectr": 0.25}}, "sac#0") == "sac#0  eCTR 0.250"


def test_a_failing_trial_is_named(tmp_path: Path):
    with pytest.raises(RecRLError, match="trial 'bad' failed: ValueError: x must be >= 0"):
        run_trials(doubling, {"bad": {"x": -1}}, store=tmp_path, progress=Progress(StringIO()))
    assert list(tmp_path.iterdir()) == []


def test_a_key_changes_with_anything():
    assert trial_key({"a": 1, "b": (1, 2)}) == trial_key({"b": [1, 2], "a": 1})
    assert trial_key({"a": 1}) != trial_key({"a": 2})


def test_what_ray_says_stays_off_stdout(capsys: pytest.CaptureFixture[str]):
    assert callable(ray._private.worker.print_to_stdstream)  # what `start_ray` replaces
    _tell({"lines": ["A worker died. To troubleshoot the problem, read on."], "is_err": False}, False)
    told = capsys.readouterr()
    assert (told.out, told.err) == ("", "ray: A worker died\n")
