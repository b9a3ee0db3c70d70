"""A sweep of trials that only count, for tests that kill it.

``python sweep_script.py FOLDER SEARCH SCHEDULER [--resume]``
"""

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rec_rl.checkpoint import load_state, save_state
from rec_rl.experiments.runner import start_ray
from tuning.journal import Journal
from tuning.search_spaces import Choice, Domain, SearchSpace, Uniform
from tuning.tuner import SweepConfig, run_sweep

STEPS = 6
X, SIZES = Uniform(0.0, 1.0), Choice(((8, 8), (16,)))


@dataclass(frozen=True, kw_only=True)
class Space(SearchSpace):
    x: Domain = X
    sizes: Domain = SIZES


def main(folder: Path, search: str, scheduler: str, resume: bool) -> None:
    steps_file = folder.parent / "steps.txt"

    def count(settings: dict[str, Any], work: Path) -> Iterator[dict[str, float]]:
        kept = work / "state"
        step = load_state(kept, "count")["step"] if kept.exists() else 0
        while step < STEPS:
            step += 1
            with steps_file.open("a") as file:
                file.write(f"{settings['x']:.6f} {step}\n")
            time.sleep(0.25)
            save_state(kept, {"step": step}, "count")
            assert settings["sizes"] in ((8, 8), (16,))  # back from the text that the tuner drew
            yield {"step": step, "score": settings["x"] * step}

    config = SweepConfig(
        samples=4,
        metrics=("score",),
        metric="score",
        mode="max",
        max_steps=STEPS,
        search=search,
        scheduler=scheduler,
        mutable=("x",),
        max_concurrent=2 if scheduler != "pbt" else 4,  # which has trials wait for those that wait for a core
    )
    start_ray(num_cpus=4)
    journal = Journal(folder, {"samples": 4}, resume=resume)
    for entry in run_sweep(count, Space(), config, journal, lambda entries: None):
        print("TRIAL", entry.number, entry.state, f"{entry.drawn['x']:.6f}", entry.last("score"), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], "--resume" in sys.argv)
