"""What a step costs here, and what more machines would bring: measured costs, a model, its predictions.

``python -m rec_rl.experiments.scaling`` writes docs/scaling.md and docs/results/scaling.json.
"""

import argparse
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from math import ceil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from scipy.optimize import lsq_linear

from envs.virtual_taobao import VirtualTaobaoVectorEnv
from rec_rl.experiments.records import RunRecord
from rec_rl.experiments.runner import start_ray

ENVS_PER_RUNNER = 64
STEPS_PER_RUNNER = 32
"""Steps taken in every environment of a runner before an update: 2,048 rows a runner."""
BATCH_SIZE = 512
NUM_PASSES = 4
GRID = ((0, 0), (1, 0), (2, 0), (4, 0), (1, 1), (2, 1), (2, 2))
"""Measured (runners, learners); 0 is in the driver's process."""
TIMED_ITERATIONS = 20


@dataclass(frozen=True, kw_only=True)
class Costs:
    """Seconds of one core, and bytes.

    Attributes:
        env_step: A row: one step of one environment, the policy's forward included, or a reset.
        steps_per_row: Share of the rows that are steps.
        gradient_step: Fixed part of a gradient step.
        gradient_row: What each row of the minibatch adds.
        sync: The policy's weights, out of the learner and into one runner.
        sync_bytes: Their size.
        checkpoint: Writing the whole state, fsync and checksums included (wall time).
        checkpoint_bytes: Its size.
        row_bytes: A row on its way from a runner to the learner.
    """

    env_step: float
    steps_per_row: float
    gradient_step: float
    gradient_row: float
    sync: float
    sync_bytes: int
    checkpoint: float
    checkpoint_bytes: int
    row_bytes: int


@dataclass(frozen=True, kw_only=True)
class Iteration:
    """A measured iteration: sample, update, synchronise."""

    runners: int
    learners: int
    seconds: float
    env_steps: int


@dataclass(frozen=True, kw_only=True)
class ThroughputModel:
    """Seconds of an iteration of PPO, whose phases follow each other.

    seconds = overhead + per_runner * runners + minibatches * reduce * [learners > 1]
              + dearer * (env_step * rows / parallel_runners
                          + minibatches * (gradient_step + gradient_row * batch_size / learners))

    Attributes:
        costs: Measured alone.
        overhead, per_runner, reduce: Fitted seconds: of an iteration, of each runner's call and answer, and
            of summing gradients over learners once.
        dearer: Fitted factor, >= 1: of a step in the run over one alone.
    """

    costs: Costs
    overhead: float
    per_runner: float
    reduce: float
    dearer: float

    def phases(
        self, runners: int, learners: int, *, cores: int, batch_size: int = BATCH_SIZE
    ) -> dict[str, float]:
        """Seconds of an iteration by what they are spent on.

        Args:
            runners: They share ``cores``; 0 samples in the driver.
            learners: They share ``cores`` too; 0 learns in the driver.
            cores: Of all machines.
            batch_size: Rows of a minibatch, over all learners.
        """
        sampling, learning, sums = _units(self.costs, runners, learners, cores=cores, batch_size=batch_size)
        return {
            "sampling": self.dearer * sampling,
            "learning": self.dearer * learning,
            "summing gradients": self.reduce * sums,
            "calls and overhead": self.overhead + self.per_runner * runners,
        }

    def seconds(self, runners: int, learners: int, *, cores: int, batch_size: int = BATCH_SIZE) -> float:
        """Of an iteration; see `phases`."""
        return sum(self.phases(runners, learners, cores=cores, batch_size=batch_size).values())

    def env_steps_per_second(
        self, runners: int, learners: int, *, cores: int, batch_size: int = BATCH_SIZE
    ) -> float:
        """Throughput of sampling and learning together; see `phases`."""
        seconds = self.seconds(runners, learners, cores=cores, batch_size=batch_size)
        return rows_of(runners) * self.costs.steps_per_row / seconds

    @classmethod
    def fit(cls, costs: Costs, measured: Sequence[Iteration], *, cores: int) -> "ThroughputModel":
        """Least squares of relative errors, within the weights' bounds."""
        terms = []
        for point in measured:
            sampling, learning, sums = _units(
                costs, point.runners, point.learners, cores=cores, batch_size=BATCH_SIZE
            )
            terms.append((1.0, point.runners, sums, sampling + learning))
        seconds = np.array([point.seconds for point in measured])
        bounds = [0, 0, 0, 1], [np.inf] * 4
        weights = lsq_linear(np.array(terms) / seconds[:, None], np.ones(len(seconds)), bounds=bounds).x
        overhead, per_runner, reduce, dearer = weights.tolist()
        return cls(costs=costs, overhead=overhead, per_runner=per_runner, reduce=reduce, dearer=dearer)


def _units(
    costs: Costs, runners: int, learners: int, *, cores: int, batch_size: int
) -> tuple[float, float, int]:
    """Seconds of sampling and of learning if a step costs what it does alone, and sums of gradients."""
    rows = rows_of(runners)
    minibatches = NUM_PASSES * ceil(rows * costs.steps_per_row / batch_size)
    gradient = costs.gradient_step + costs.gradient_row * batch_size / max(1, learners)
    sampling = costs.env_step * rows / min(max(1, runners), cores)
    crowding = max(1.0, learners / cores)
    return sampling, minibatches * gradient * crowding, minibatches if learners > 1 else 0


def rows_of(runners: int) -> int:
    """Rows of an iteration: environment steps, and the resets between episodes."""
    return max(1, runners) * ENVS_PER_RUNNER * STEPS_PER_RUNNER


def build(runners: int, learners: int, batch_size: int = BATCH_SIZE) -> Any:
    """PPO on the synthetic Virtual Taobao, as the grid and the costs are measured on it."""
    from rec_rl.algorithms.ppo import PPOConfig

    config = PPOConfig().simulate(partial(VirtualTaobaoVectorEnv, weights="synthetic"))
    config.training(
        steps_per_iteration=STEPS_PER_RUNNER,
        num_passes=NUM_PASSES,
        batch_size=batch_size,
    )
    config.env_runners(num_env_runners=runners, num_envs_per_env_runner=ENVS_PER_RUNNER)
    return config.learners(num_learners=learners).debugging(seed=0).build_algo()


def measure_costs() -> Costs:
    """Every cost alone, in this process."""
    small, large = BATCH_SIZE // 4, BATCH_SIZE
    gradient = {size: gradient_seconds(size) for size in (small, large)}
    per_row = max(0.0, (gradient[large] - gradient[small]) / (large - small))
    algorithm = build(0, 0)
    try:
        rollout = algorithm.sample(STEPS_PER_RUNNER)
        runner, weights = algorithm.env_runner, algorithm._policy_weights()
        with TemporaryDirectory() as folder:
            path = Path(folder) / "checkpoint"
            started = time.perf_counter()
            algorithm.save_checkpoint(str(path))
            checkpoint = time.perf_counter() - started
            checkpoint_bytes = sum(file.stat().st_size for file in path.iterdir())
        return Costs(
            env_step=cpu_seconds(lambda: algorithm.sample(STEPS_PER_RUNNER)) / rows_of(0),
            steps_per_row=rollout.num_steps / rows_of(0),
            gradient_step=max(0.0, gradient[large] - per_row * large),
            gradient_row=per_row,
            sync=cpu_seconds(lambda: runner.set_weights(algorithm._policy_weights())),
            sync_bytes=int(sum(np.asarray(value).nbytes for value in weights.values())),
            checkpoint=checkpoint,
            checkpoint_bytes=checkpoint_bytes,
            row_bytes=round(sum(c.nbytes for c in vars(rollout).values()) / rows_of(0)),
        )
    finally:
        algorithm.stop()


def gradient_seconds(batch_size: int) -> float:
    """CPU time of a gradient step on a minibatch of ``batch_size`` rows."""
    algorithm = build(0, 0, batch_size)
    try:
        rollout = algorithm.sample(STEPS_PER_RUNNER)
        names = ("obs", "actions", "logp", "next_obs", "terminated", "truncated", "valid", "rewards")
        batch = {name: getattr(rollout, name) for name in names}
        learner = algorithm.learner_group._learner
        minibatches = NUM_PASSES * ceil(rollout.num_steps / batch_size)
        return float(cpu_seconds(lambda: learner.train_on(dict(batch))) / minibatches)
    finally:
        algorithm.stop()


def cpu_seconds(work: Callable[[], Any], repeats: int = 5) -> float:
    """Median CPU time of ``work`` in this process, whatever else runs on the machine."""
    times = []
    for _ in range(repeats):
        started = time.process_time()
        work()
        times.append(time.process_time() - started)
    return float(np.median(times))


def measure_iterations(on_done: Callable[[Iteration], None]) -> list[Iteration]:
    """Wall time of an iteration at every point of GRID, the median of TIMED_ITERATIONS."""
    found = []
    for runners, learners in GRID:
        algorithm = build(runners, learners)
        try:
            algorithm.train()
            times, steps = [], []
            for _ in range(TIMED_ITERATIONS):
                before, started = algorithm.env_steps, time.perf_counter()
                algorithm.train()
                times.append(time.perf_counter() - started)
                steps.append(algorithm.env_steps - before)
        finally:
            algorithm.stop()
        seconds, env_steps = float(np.median(times)), int(np.median(steps))
        point = Iteration(runners=runners, learners=learners, seconds=seconds, env_steps=env_steps)
        on_done(point)
        found.append(point)
    return found


def main() -> None:
    """Measures, fits, and writes the page and the record."""
    from rec_rl.experiments.scaling_page import write_page

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--docs", type=Path, default=Path("docs"), help="folder of the page and the record")
    folder: Path = parser.parse_args().docs
    started, load = time.monotonic(), os.getloadavg()[0]
    start_ray(num_cpus=max(6, os.cpu_count() or 1))  # room for every process; the cores are shared
    cores = len(os.sched_getaffinity(0))
    costs = measure_costs()
    measured = measure_iterations(lambda point: print(point, flush=True))
    model = ThroughputModel.fit(costs, measured, cores=cores)
    record = RunRecord(
        command="python -m rec_rl.experiments.scaling",
        seeds=[0],
        data_hash="none: costs of a machine",
        config={"cores": cores, "load": load, "model": asdict(model), "measured": measured},
        seconds=time.monotonic() - started,
        notes=["costs are CPU time of one process, iterations are wall time on shared cores"],
    )
    record.save(folder / "results" / "scaling.json")
    write_page(folder / "scaling.md", model, measured, cores=cores, load=load)


if __name__ == "__main__":
    main()
