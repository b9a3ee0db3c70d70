"""Measures of size: the memory of a replay of session logs, and what the command line costs to start."""

import resource
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.rows import Row

STATE_DIM, ACTION_DIM = 245, 8
TRANSITIONS = 300_000
"""Held while measuring; the row is about three millions, whose bytes are ten times as many."""
STARTS = 7
ROOT = Path(__file__).parents[1]


def replay_memory() -> list[Row]:
    """Bytes of a log ready to be sampled, against (s, a, r, s') in float32."""
    import torch

    from rec_rl.algorithms.offline_data import TransitionTable
    from rec_rl.data.sessions import SessionLog

    rng = np.random.default_rng(0)

    def table() -> TransitionTable:
        states = np.empty((TRANSITIONS, STATE_DIM), np.float16)
        states[:] = rng.standard_normal((1, STATE_DIM))
        starts = np.arange(0, TRANSITIONS, 10)
        log = SessionLog(
            states=states,
            actions=np.zeros((TRANSITIONS, ACTION_DIM), np.float32) + np.float32(1),
            times=np.arange(TRANSITIONS, dtype=np.float64),
            session_starts=starts,
            session_users=np.arange(len(starts)) // 10,
        )
        return TransitionTable(log, torch.device("cpu"))

    def pairs() -> list[np.ndarray]:
        shapes = ((STATE_DIM,), (ACTION_DIM,), (), (STATE_DIM,))
        return [np.ones((TRANSITIONS, *shape), np.float32) for shape in shapes]

    ours, theirs = held_bytes(table), held_bytes(pairs)
    return [
        Row(
            name="memory/replay",
            work=f"memory of a replay, {ours / TRANSITIONS:,.0f} bytes a transition",
            against=f"float32 pairs, {theirs / TRANSITIONS:,.0f} bytes",
            unit="share of their bytes",
            values=(ours / theirs,),
            bar=0.28,
            at_most=True,
        )
    ]


def held_bytes(build: Callable[[], object]) -> int:
    """Bytes that what ``build()`` returns keeps allocated, its temporaries gone."""
    tracemalloc.start()
    try:
        held = build()
        grown, _ = tracemalloc.get_traced_memory()
        del held
    finally:
        tracemalloc.stop()
    return grown


def command_start() -> list[Row]:
    """CPU seconds of ``rec-rl --help``, in a process of its own."""
    command = [sys.executable, "-m", "rec_rl.cli", "--help"]
    spent = []
    for _ in range(STARTS + 1):  # the first one fills the disk's cache
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True, cwd=ROOT)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return [
        Row(
            name="start/help",
            work="start of `rec-rl --help`",
            against="CPU seconds",
            unit="CPU seconds",
            values=tuple(spent[1:]),
            bar=0.3,
            at_most=True,
        )
    ]
