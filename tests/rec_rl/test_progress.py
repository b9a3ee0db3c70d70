import io

from rec_rl.progress import format_seconds, progress


def test_progress_without_a_terminal_is_lines_with_time_per_step_and_time_left():
    stream = io.StringIO()
    with progress(stream) as shown:
        shown.update("train", 1, 4)
        shown.update("train", 4, 4, "eCTR 0.5")
    (line,) = stream.getvalue().splitlines()  # the end is always told; what lies between, every ten seconds
    assert line.startswith("train: 4/4  ")
    assert "ms/step  0 s left  eCTR 0.5" in line


def test_seconds_in_words():
    assert [format_seconds(s) for s in (4.4, 200, 7500)] == ["4 s", "3 min 20 s", "2 h 5 min"]
