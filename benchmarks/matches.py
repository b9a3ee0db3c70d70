"""Runs a contest: all sides in step, window after window, ours before each round's others."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.contest import Contest, Opponent, Side, Unavailable
from benchmarks.rows import Row
from rec_rl.errors import RecRLError

ROOT = Path(__file__).parents[1]
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")

WINDOW_SECONDS = 1.0

Window = dict[str, float]
Progress = Callable[[str], None]


class SideFailedError(RecRLError):
    """A side ended with an error."""


class Process:
    """A side at work.

    Args:
        side: What to run.
        python: Its interpreter.
        log: File of what it prints.
        seconds: CPU time that a window takes at least.
    """

    def __init__(self, side: Side, python: Path, log: Path, seconds: float) -> None:
        self._name, self._log = side.name, log
        function = f"{side.setup.__module__}:{side.setup.__name__}"
        arguments = [function, json.dumps(dict(side.settings)), str(seconds)]
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("w") as stderr:
            self._process = subprocess.Popen(
                [str(python), "-m", "benchmarks.side", *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                cwd=ROOT,
                env=os.environ | ONE_THREAD | {"PYTHONPATH": str(ROOT)},
            )

    def ask(self) -> dict[str, Any]:
        """The answer to one line.

        Raises:
            Unavailable: If the side lacks something.
            SideFailedError: If the process has ended.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write("\n")
            self._process.stdin.flush()
            answer: dict[str, Any] = json.loads(self._process.stdout.readline() or "null")
        except BrokenPipeError:
            answer = {}
        if not answer:
            last = self._log.read_text().strip().splitlines()[-1:] or ["no message"]
            raise SideFailedError(f"{self._name} failed: {last[0]} (see {self._log})")
        if "unavailable" in answer:
            raise Unavailable(answer["unavailable"])
        return answer

    def end(self) -> None:
        """Ends the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def hold(
    contest: Contest,
    *,
    peers: Path | None,
    pairs: int,
    logs: Path,
    progress: Progress,
    seconds: float = WINDOW_SECONDS,
) -> list[Row]:
    """Windows of every side in turn, ``pairs`` times; a row per opponent.

    Args:
        contest: What to run.
        peers: Python of the peers' environment; without it their rows are skipped.
        pairs: Rounds after the warm-up, >= 1.
        logs: Folder of what the sides print.
        progress: Called with a line now and then.
        seconds: CPU time that a window takes at least.
    """
    sides = {contest.ours.name: contest.ours} | {o.side.name: o.side for o in contest.opponents}
    processes: dict[str, Process] = {}
    skipped: dict[str, str] = {}
    windows: dict[str, list[Window]] = {name: [] for name in sides}
    try:
        for name, side in sides.items():
            progress(f"{contest.name}: {name} warms up")
            try:
                if side.in_peers and peers is None:
                    raise Unavailable("needs --peers")
                python = peers if side.in_peers and peers else Path(sys.executable)
                processes[name] = Process(side, python, logs / f"{contest.name}-{name}.log", seconds)
                processes[name].ask()
            except Unavailable as error:
                skipped[name] = str(error)
        for round_ in range(pairs):
            for name, process in processes.items():
                if name not in skipped:
                    windows[name].append(process.ask())
            progress(f"{contest.name}: round {round_ + 1} of {pairs}")
    finally:
        for process in processes.values():
            process.end()
    return rows_of(contest, windows, skipped)


def rows_of(contest: Contest, windows: Mapping[str, list[Window]], skipped: Mapping[str, str]) -> list[Row]:
    """A row per opponent, and one for the bar on our speed alone."""
    ours = windows[contest.ours.name]
    missing = skipped.get(contest.ours.name, "")
    rows = [
        _row(contest, opponent, ours, windows[opponent.side.name], missing or skipped.get(opponent.side.name))
        for opponent in contest.opponents
    ]
    if contest.least_per_second is not None:
        rows.append(
            Row(
                name=f"{contest.name}/per second",
                work=contest.work,
                against=f"{contest.unit}s per CPU second",
                unit=contest.unit,
                values=tuple(1 / cost for cost in _costs(ours, "cpu")),
                wall_values=tuple(1 / cost for cost in _costs(ours, "wall")),
                bar=contest.least_per_second,
                ours=median(_costs(ours, "cpu")) if ours else None,
                skipped=missing,
            )
        )
    return rows


def _row(
    contest: Contest, opponent: Opponent, ours: list[Window], theirs: list[Window], skipped: str | None
) -> Row:
    row = Row(
        name=f"{contest.name}/{opponent.side.name}",
        work=contest.work,
        against=opponent.side.name,
        unit=contest.unit,
        bar=opponent.bar,
        why=opponent.why,
        skipped=skipped or "",
    )
    if skipped:
        return row
    clocks = {
        clock: [b / a for a, b in zip(_costs(ours, clock), _costs(theirs, clock), strict=True)]
        for clock in ("cpu", "wall")
    }
    return replace(
        row,
        values=tuple(clocks["cpu"]),
        wall_values=tuple(clocks["wall"]),
        ours=median(_costs(ours, "cpu")),
        theirs=median(_costs(theirs, "cpu")),
    )


def _costs(windows: list[Window], clock: str) -> list[float]:
    return [window[clock] / window["units"] for window in windows]
