"""A table of a sweep's trials on stderr: moving on a terminal, lines elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console
from rich.live import Live
from rich.table import Table

from tuning.journal import RUNNING, TrialEntry
from tuning.tuner import SweepConfig, ranked

SECONDS_BETWEEN_LINES = 10.0
MOST_ROWS = 20


def trial_table(entries: list[TrialEntry], config: SweepConfig) -> Table:
    """Running trials first, then the best ones, at most MOST_ROWS in all."""
    running = [entry for entry in entries if entry.state == RUNNING]
    others = ranked([entry for entry in entries if entry.state != RUNNING], config.metric, config.mode)
    rows = [*running, *others][:MOST_ROWS]
    table = Table(title=f"{len(others)} of {config.samples} trials done", title_justify="left", expand=True)
    for column in ("trial", "state", "step", config.metric):
        table.add_column(column, justify="left" if column == "state" else "right", no_wrap=True)
    table.add_column("settings", overflow="ellipsis", no_wrap=True, ratio=1)  # what the others leave
    for entry in rows:
        step = f"{entry.reports[-1]['step']:,.0f}" if entry.reports else "-"
        value = entry.last(config.metric)
        drawn = ", ".join(f"{name} {_text(value)}" for name, value in entry.drawn.items())
        table.add_row(str(entry.number), entry.state, step, "-" if value is None else f"{value:.4f}", drawn)
    return table


def _text(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


@contextmanager
def live_table(
    config: SweepConfig, stream: TextIO | None = None
) -> Iterator[Callable[[list[TrialEntry]], None]]:
    """Yields what `tuning.tuner.run_sweep` calls after each change."""
    stream = stream or sys.stderr
    if stream.isatty():
        with Live(trial_table([], config), console=Console(file=stream), refresh_per_second=2) as shown:
            yield lambda entries: shown.update(trial_table(entries, config))
        return
    printed, num_done = time.monotonic(), -1

    def line(entries: list[TrialEntry]) -> None:
        nonlocal printed, num_done
        now = time.monotonic()
        done = [entry for entry in entries if entry.state != RUNNING]
        if len(done) == num_done and now - printed < SECONDS_BETWEEN_LINES:
            return
        printed, num_done = now, len(done)
        best = next((e for e in ranked(entries, config.metric, config.mode) if e.reports), None)
        text = f", best {config.metric} {best.last(config.metric):.4f} (trial {best.number})" if best else ""
        stream.write(f"sweep: {len(done)} of {config.samples} trials done{text}\n")
        stream.flush()

    yield line
