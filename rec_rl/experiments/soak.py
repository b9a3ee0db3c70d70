"""Trains PPO for a long time while env runners are killed: is memory flat, and is all gone at the end?

``python -m rec_rl.experiments.soak --minutes 30`` prints one JSON object and exits 1 if a bar is missed.
"""

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from envs.virtual_taobao import VirtualTaobaoVectorEnv
from rec_rl.experiments.runner import start_ray

LARGEST_GROWTH = 0.05
SECONDS_BETWEEN_SAMPLES = 2.0
SECONDS_TO_LEAVE = 30.0
SHARED_MEMORY = Path("/dev/shm")


@dataclass(frozen=True, kw_only=True)
class Soak:
    """What was seen.

    Attributes:
        seconds, env_steps: Of training.
        kills: Env runners killed.
        memory: Megabytes of the driver and the living runners over time, a value per sampling.
        growth: Of memory from the second quarter of the time to the last, as medians; the first warms up.
        left_processes: Processes of this run that were alive after its end.
        left_shared_memory: Files in /dev/shm that this run left.
    """

    seconds: float
    env_steps: int
    kills: int
    memory: list[float]
    growth: float
    left_processes: list[str]
    left_shared_memory: list[str]

    @property
    def passed(self) -> bool:
        """Whether memory stayed flat and nothing was left."""
        return self.growth <= LARGEST_GROWTH and not (self.left_processes or self.left_shared_memory)


def soak(
    seconds: float, seconds_between_kills: float, num_runners: int, on_step: Callable[[float, int], None]
) -> Soak:
    """Trains for ``seconds``, killing one runner after the other; Ray starts and ends with it."""
    before = set(SHARED_MEMORY.iterdir())
    import ray

    start_ray(num_cpus=num_runners + 1)
    algorithm = _build(num_runners)
    started = time.monotonic()
    next_kill, next_sample, kills = seconds_between_kills, 0.0, 0
    memory: list[float] = []
    while (now := time.monotonic() - started) < seconds:
        algorithm.train()
        if now >= next_kill:
            pids = _runner_pids(algorithm)
            if pids:
                os.kill(pids[kills % len(pids)], signal.SIGKILL)
                kills += 1
            next_kill += seconds_between_kills
        elif now >= next_sample:
            pids = _runner_pids(algorithm)
            if len(pids) == num_runners:  # a runner that is restarting would look like less memory
                memory.append(sum(resident(pid) for pid in (os.getpid(), *pids)) / 2**20)
            next_sample = now + SECONDS_BETWEEN_SAMPLES
        on_step(now, algorithm.env_steps)
    steps = algorithm.env_steps
    family = descendants(os.getpid())
    algorithm.stop()
    ray.shutdown()
    left = _wait_for_end(family)
    shared = [str(path) for path in set(SHARED_MEMORY.iterdir()) - before if _is_rays(path)]
    return Soak(
        seconds=time.monotonic() - started,
        env_steps=steps,
        kills=kills,
        memory=memory,
        growth=growth(memory),
        left_processes=left,
        left_shared_memory=shared,
    )


def growth(memory: list[float]) -> float:
    """From the second quarter of ``memory`` to its last, as a share of the former; NaN below four values."""
    if len(memory) < 4:
        return float("nan")
    quarter = len(memory) // 4
    settled, last = np.median(memory[quarter : 2 * quarter]), np.median(memory[-quarter:])
    return float(last / settled - 1)


def _build(num_runners: int) -> Any:
    from rec_rl.algorithms.ppo import PPOConfig

    config = PPOConfig().simulate(partial(VirtualTaobaoVectorEnv, weights="synthetic"))
    config.training(steps_per_iteration=32, num_passes=2, batch_size=256)
    config.env_runners(num_env_runners=num_runners, num_envs_per_env_runner=8)
    return config.debugging(seed=0).build_algo()


def _runner_pids(algorithm: Any) -> list[int]:
    found: list[int] = algorithm.env_runner_group.foreach_env_runner(
        lambda _: os.getpid(), local_env_runner=False, timeout_seconds=10
    )
    return found


def resident(pid: int) -> int:
    """Bytes of a process that are in memory and its own (shared pages are not counted)."""
    try:
        pages = Path(f"/proc/{pid}/statm").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return (int(pages[1]) - int(pages[2])) * os.sysconf("SC_PAGE_SIZE")


def descendants(pid: int) -> dict[int, str]:
    """Every process below ``pid``, with its start time: a later one may have the same number."""
    parents: dict[int, int] = {}
    starts: dict[int, str] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rsplit(")", 1)[1].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        child = int(path.parent.name)
        parents[child], starts[child] = int(fields[1]), fields[19]
    family = {pid}
    while more := {child for child, parent in parents.items() if parent in family} - family:
        family |= more
    return {child: starts[child] for child in family if child in starts and child != pid}


def _wait_for_end(family: dict[int, str]) -> list[str]:
    """Those of ``family`` that live on after SECONDS_TO_LEAVE."""
    deadline = time.monotonic() + SECONDS_TO_LEAVE
    while True:
        alive = [pid for pid, start in family.items() if _lives(pid, start)]
        if not alive or time.monotonic() > deadline:
            return [f"{pid} {Path(f'/proc/{pid}/comm').read_text().strip()}" for pid in alive]
        time.sleep(0.5)


def _lives(pid: int, start: str) -> bool:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return fields[19] == start and fields[0] != "Z"


def _is_rays(path: Path) -> bool:
    """Files of an object store whose user is gone; other clusters of this machine keep theirs open."""
    if not path.name.startswith(("plasma", "ray")):
        return False
    return not any(str(path) in link for link in _open_files())


def _open_files() -> list[str]:
    links = []
    for path in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            links.append(os.readlink(path))
        except OSError:
            continue
    return links


def main() -> None:
    """The command line."""
    from rec_rl.progress import progress

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seconds-between-kills", type=float, default=60)
    parser.add_argument("--runners", type=int, default=2)
    given = parser.parse_args()
    seconds = 60 * given.minutes
    with progress() as shown:
        found = soak(
            seconds,
            given.seconds_between_kills,
            given.runners,
            lambda now, steps: shown.update("soak, seconds", int(now), int(seconds), f"{steps:,} steps"),
        )
    print(json.dumps({**asdict(found), "memory": found.memory[:: max(1, len(found.memory) // 60)]}, indent=1))
    sys.exit(0 if found.passed else 1)


if __name__ == "__main__":
    main()
