import io

import pytest

from rec_rl import progress as module
from rec_rl.progress import format_seconds, progress


def lines_of(updates: list[tuple[float, int]], total: int, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    clock = iter([second for second, _ in updates])
    monkeypatch.setattr(module.time, "monotonic", lambda: next(clock))
    stream = io.StringIO()
    with progress(stream) as shown:
        for _, step in updates:
            shown.update("train", step, total, "eCTR 0.5")
    return stream.getvalue().splitlines()


def test_progress_without_a_terminal_is_lines_with_time_per_step_and_time_left(monkeypatch):
    lines = lines_of([(0, 1), (8, 2), (12, 4), (13, 6), (14, 7)], 7, monkeypatch)
    # every ten seconds, and the end; after 12 s three steps beside the first, 4 s each
    assert lines == [
        "train: 4/7  4.0 s/step  12 s left  eCTR 0.5",
        "train: 7/7  2.3 s/step  0 s left  eCTR 0.5",
    ]


def test_steps_found_done_do_not_shorten_the_time_left(monkeypatch):
    (line,) = lines_of([(0, 1), (0.1, 79), (60, 80)], 100, monkeypatch)
    assert line.startswith("train: 80/100  59.9 s/step  19 min 58 s left")


def test_seconds_in_words():
    assert [format_seconds(s) for s in (4.4, 200, 7500)] == ["4 s", "3 min 20 s", "2 h 5 min"]
