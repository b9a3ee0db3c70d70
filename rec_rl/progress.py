"""Progress on stderr: step, time per step and time left; a moving bar on a terminal, lines elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TextIO

OnStep = Callable[[int, int, dict[str, float]], None]
"""Called as on_step(step, total, metrics) after every gradient step."""

SECONDS_BETWEEN_LINES = 10.0
WARM_UP_SECONDS = 1.0
"""What the first second brings was found done, as by a resumed run, or says little: no rate counts it."""


@dataclass
class _Task:
    opened: float
    printed: float
    total: int = 0
    step: int = 0
    timed_from: float = 0.0
    untimed_steps: int = 0

    def go_to(self, step: int, total: int, now: float) -> None:
        self.step, self.total = step, total
        if now - self.opened < WARM_UP_SECONDS:
            self.timed_from, self.untimed_steps = now, step


class Progress:
    """Several named tasks at a time. Made by `progress`."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._tasks: dict[str, _Task] = {}

    def update(self, name: str, step: int, total: int, note: str = "") -> None:
        """Says that ``name`` has done ``step`` of ``total`` steps."""
        now = time.monotonic()
        task = self._tasks.setdefault(name, _Task(opened=now, printed=now))
        task.go_to(step, total, now)
        if step >= total or now - task.printed >= SECONDS_BETWEEN_LINES:
            task.printed = now
            self._stream.write(f"{name}: {self.describe(task, now)}{'  ' + note if note else ''}\n")
            self._stream.flush()

    @staticmethod
    def describe(task: _Task, now: float) -> str:
        """Steps done, time per step and time left, in words."""
        text = f"{task.step:,}/{task.total:,}"
        timed = task.step - task.untimed_steps
        if timed <= 0:
            return text
        per_step = (now - task.timed_from) / timed
        left = per_step * (task.total - task.step)
        rate = f"{per_step * 1e3:.2f} ms/step" if per_step < 1 else f"{per_step:.1f} s/step"
        return f"{text}  {rate}  {format_seconds(left)} left"


class _LiveProgress(Progress):
    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as Bars

        super().__init__(stream)
        columns = TextColumn("{task.description}"), BarColumn(bar_width=24), TextColumn("{task.fields[text]}")
        self.bars = Bars(*columns, console=Console(file=stream), transient=False)
        self._ids: dict[str, int] = {}

    def update(self, name: str, step: int, total: int, note: str = "") -> None:
        now = time.monotonic()
        task = self._tasks.setdefault(name, _Task(opened=now, printed=now))
        task.go_to(step, total, now)
        if name not in self._ids:
            self._ids[name] = self.bars.add_task(name, total=total, text="")
        text = f"{self.describe(task, now)}  {note}"
        self.bars.update(self._ids[name], completed=step, total=total, text=text)  # type: ignore[arg-type]


@contextmanager
def progress(stream: TextIO | None = None) -> Iterator[Progress]:
    """Shows progress while the block runs."""
    stream = stream or sys.stderr
    if not stream.isatty():
        yield Progress(stream)
        return
    live = _LiveProgress(stream)
    with live.bars:
        yield live


def say(sentence: str) -> None:
    """Prints what a user should know of a run that goes on, above any bars."""
    print(f"rec-rl: {sentence}", file=sys.stderr)


def format_seconds(seconds: float) -> str:
    """45 s, 3 min 20 s, 2 h 5 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
