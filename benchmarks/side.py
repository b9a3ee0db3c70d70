"""One side in its own process: ``python -m benchmarks.side MODULE:FUNCTION SETTINGS SECONDS``.

Answers every line on stdin with one JSON object on stdout: the first with "ready" or "unavailable", every
other with the CPU and wall seconds and the units of one window of work.
"""

import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from typing import TextIO


def window(work: Callable[[], float], seconds: float) -> dict[str, float]:
    """Works until ``seconds`` of CPU time have passed; returns what it cost."""
    units, spent = 0.0, 0.0
    wall, cpu = time.perf_counter(), time.process_time()
    while spent < seconds:
        units += work()
        spent = time.process_time() - cpu
    return {"cpu": spent, "wall": time.perf_counter() - wall, "units": units}


def take_stdout() -> TextIO:
    """The stream to answer on; whatever else the process prints goes to stderr."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    return answers


def main(function: str, settings: str, seconds: str) -> None:
    """Prepares, warms up, and works for as long as it is asked to."""
    answers = take_stdout()
    import torch

    from benchmarks.contest import Unavailable

    torch.set_num_threads(1)
    torch.manual_seed(0)
    module, name = function.split(":")
    sys.stdin.readline()
    try:
        work = getattr(importlib.import_module(module), name)(**json.loads(settings))
    except Unavailable as error:
        print(json.dumps({"unavailable": str(error)}), file=answers)
        return
    window(work, float(seconds))
    print(json.dumps({"ready": True}), file=answers)
    for _ in sys.stdin:
        print(json.dumps(window(work, float(seconds))), file=answers)


if __name__ == "__main__":
    main(*sys.argv[1:])
