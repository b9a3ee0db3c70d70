"""Gradient steps of learners on a GPU, beside the same learners on one core of the same machine.

    python -m benchmarks.gpu --out docs/results/gpu.md

Every algorithm takes its steps through ``train()`` with three hidden layers of 256: in this process on one
core, and in a learner process that holds a GPU.
"""

import sys
import time
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import torch
import typer

from benchmarks import offline, prefrec
from benchmarks.rows import number
from rec_rl.experiments.records import write_text

ALGORITHMS = ("prefrec", "iql", "td3_bc", "sac")
BATCHES = (256, 4096)
STEPS_ON_A_CORE, STEPS_ON_A_GPU = 4, 200
"""Gradient steps in one ``train()``."""
REPEATS = 3
ON_A_GPU = {"num_learners": 1, "num_gpus_per_learner": 1}


def build(name: str, batch_size: int, steps: int, **learners: float) -> Any:
    """An algorithm that takes ``steps`` gradient steps in one ``train()``."""
    if name == "prefrec":
        return prefrec.build(batch_size, steps, **learners)
    settings = {"hidden_sizes": (256, 256, 256), "steps_per_iteration": steps}
    return offline.build(name, batch_size, settings, **learners)


def seconds_per_step(name: str, batch_size: int, steps: int, **learners: float) -> float:
    """Wall seconds of a gradient step: the median of `REPEATS` calls of ``train()`` after one to warm up."""
    algorithm = build(name, batch_size, steps, **learners)
    algorithm.train()
    costs = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        algorithm.train()
        costs.append((time.perf_counter() - started) / steps)
    algorithm.stop()
    return median(costs)


def main(
    out: Annotated[Path | None, typer.Option(help="Markdown file to write.")] = None,
    algorithms: Annotated[str, typer.Option(help="Which, with commas.")] = ",".join(ALGORITHMS),
) -> None:
    """One line per algorithm and batch size."""
    if not torch.cuda.is_available():
        print("gpu: this machine has no GPU", file=sys.stderr)
        sys.exit(1)
    torch.set_num_threads(1)
    page = f"`python -m benchmarks.gpu` on {torch.cuda.get_device_name()}, torch {torch.__version__}.\n\n"
    page += (
        "| algorithm | batch | one core, ms a step | GPU, ms a step | times faster |\n|---|---|---|---|---|\n"
    )
    for name in algorithms.split(","):
        for batch_size in BATCHES:
            core = seconds_per_step(name, batch_size, STEPS_ON_A_CORE)
            gpu = seconds_per_step(name, batch_size, STEPS_ON_A_GPU, **ON_A_GPU)
            row = f"| {name} | {batch_size:,} | {core * 1e3:.1f} | {gpu * 1e3:.2f} | {number(core / gpu)} |\n"
            print(row, end="", file=sys.stderr, flush=True)
            page += row
    print(page)
    if out is not None:
        write_text(out, page)


if __name__ == "__main__":
    typer.run(main)
