import io
import sys
from pathlib import Path

import pytest

from rec_rl.errors import ConfigError, DatasetError
from tuning.best import read_best, write_best
from tuning.journal import FAILED, FINISHED, STOPPED, Journal, TrialEntry
from tuning.live import live_table, trial_table
from tuning.tuner import SweepConfig, ranked

CONFIG = {"samples": 3, "metrics": ("ectr", "cost"), "metric": "ectr", "mode": "max", "max_steps": 9}


def entry(number: int, state: str, value: float | None, step: int = 9) -> TrialEntry:
    reports = [] if value is None else [{"step": step, "ectr": value}]
    return TrialEntry(number=number, drawn={"lr": 10.0**-number}, state=state, reports=reports)


def test_a_journal_comes_back_as_it_was_written(tmp_path: Path):
    journal = Journal(tmp_path, {"samples": 2}, resume=False)
    written = entry(1, STOPPED, 0.5)
    journal.write(written)
    journal.write(entry(0, FINISHED, 0.25))
    again = Journal(tmp_path, {"samples": 2}, resume=True)
    assert list(again.entries) == [0, 1]
    assert again.entries[1] == written


def test_a_sweep_is_not_begun_over_another_nor_resumed_as_another(tmp_path: Path):
    Journal(tmp_path, {"samples": 4}, resume=False)
    with pytest.raises(ConfigError, match="holds a sweep: give another --storage, or --resume"):
        Journal(tmp_path, {"samples": 4}, resume=False)
    with pytest.raises(ConfigError, match="holds a sweep with samples 4, not 5: it cannot go on"):
        Journal(tmp_path, {"samples": 5}, resume=True)
    with pytest.raises(ConfigError, match="there is no sweep at"):
        Journal(tmp_path / "nothing", {"samples": 4}, resume=True)


def test_a_report_of_a_step_takes_the_place_of_what_came_from_there_on():
    trial = TrialEntry(number=0, drawn={})
    for step, value in [(1, 0.1), (2, 0.2), (3, 0.3), (2, 0.25)]:  # it went back to step 1
        trial.tell({"step": step, "ectr": value})
    assert [(r["step"], r["ectr"]) for r in trial.reports] == [(1, 0.1), (2, 0.25)]
    assert trial.last("ectr") == 0.25
    assert TrialEntry(number=0, drawn={}).last("ectr") is None


def test_the_best_that_finished_comes_first():
    entries = [entry(0, STOPPED, 0.9, 3), entry(1, FINISHED, 0.5), entry(2, FINISHED, 0.7)]
    entries.append(entry(3, FAILED, None))
    assert [e.number for e in ranked(entries, "ectr", "max")] == [2, 1, 0, 3]
    assert [e.number for e in ranked(entries, "ectr", "min")] == [1, 2, 0, 3]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"metric": "ectrr"}, "unknown metric 'ectrr'; did you mean 'ectr'"),
        ({"samples": 0}, "samples must be >= 1, got 0"),
        ({"search": "grid"}, "unknown search 'grid'"),
        ({"scheduler": "ahsa"}, "did you mean 'asha'"),
        ({"scheduler": "pbt"}, "pbt needs settings that can change in mid-trial"),
        ({"scheduler": "pbt", "mutable": ("lr",), "search": "optuna"}, "search must be random, got optuna"),
        ({"max_concurrent": -1}, "max_concurrent must be >= 0, got -1"),
        ({"search": "optuna"}, r"optuna needs the package optuna: pip install rec_rl\[tune\]"),
    ],
)
def test_a_sweep_that_cannot_run_is_refused(
    changes: dict[str, object], message: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)  # as where optuna is not installed
    with pytest.raises(ConfigError, match=message):
        SweepConfig(**(CONFIG | changes))


def test_the_best_settings_come_back_for_their_target_only(tmp_path: Path):
    path = tmp_path / "best.json"
    write_best(path, "sac", {"lr": 0.001, "hidden_sizes": (64, 64)}, "record.json")
    assert read_best(path, "sac") == {"lr": 0.001, "hidden_sizes": (64, 64)}
    with pytest.raises(ConfigError, match="holds settings of sac, got ppo"):
        read_best(path, "ppo")
    path.write_text("{}")
    with pytest.raises(DatasetError, match="is not the configuration that a sweep leaves"):
        read_best(path, "sac")


def test_the_table_shows_running_trials_and_then_the_best(capsys: pytest.CaptureFixture[str]):
    entries = [entry(0, FINISHED, 0.5), entry(1, "running", 0.1, 3), entry(2, FINISHED, 0.75)]
    config = SweepConfig(**CONFIG | {"samples": 4})
    table = trial_table(entries, config)
    assert list(table.columns[0].cells) == ["1", "2", "0"]
    assert list(table.columns[3].cells) == ["0.1000", "0.7500", "0.5000"]
    assert table.title == "2 of 4 trials done"
    with live_table(config) as show:
        show(entries)
        show(entries)  # nothing new to say
    told = capsys.readouterr()
    assert told.err == "sweep: 2 of 4 trials done, best ectr 0.7500 (trial 2)\n"
    assert told.out == ""


def test_the_table_moves_on_a_terminal_and_what_others_print_stays_above_it(monkeypatch: pytest.MonkeyPatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "60")
    screen = Terminal()
    long = TrialEntry(number=7, drawn={f"setting_{i}": i for i in range(9)}, state=FINISHED)
    long.tell({"step": 9, "ectr": 0.5})
    with live_table(SweepConfig(**CONFIG), screen) as show:
        assert "0 of 3 trials done" in screen.getvalue()  # before the first trial starts
        show([long])
        print("a word of Ray's", file=sys.stderr)
    shown = screen.getvalue()
    assert shown.index("a word of Ray's") < shown.rindex("1 of 3 trials done")
    assert "│     7 │ finished │    9 │ 0.5000 │ setting_0 0, setting… │" in shown  # the settings give way
