"""The page docs/scaling.md, written anew by every measurement."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from envs.session_rollouts import record_log
from envs.session_world import SessionWorld
from rec_rl.data.session_files import save_log
from rec_rl.experiments.records import write_text
from rec_rl.experiments.scaling import (
    BATCH_SIZE,
    ENVS_PER_RUNNER,
    NUM_PASSES,
    STEPS_PER_RUNNER,
    Iteration,
    ThroughputModel,
)

MACHINES = (1, 8, 64)
CORES_PER_MACHINE = 16
LEARNING = ((1, BATCH_SIZE), (4, BATCH_SIZE), (1, 32 * BATCH_SIZE), (4, 32 * BATCH_SIZE))
"""Learners and rows of a minibatch."""
USERS = 100_000_000
REQUESTS_PER_USER = 240
"""As many as the session world records of a user."""
SAMPLE_USERS, SAMPLE_REQUESTS = 200, 60


@dataclass(frozen=True, kw_only=True)
class RowSizes:
    """Bytes of one request of a session log: in a Parquet file and in memory."""

    file: float
    memory: float


def row_sizes() -> RowSizes:
    """Of a log of the session world."""
    log = record_log(SessionWorld(SAMPLE_USERS, 0), SAMPLE_REQUESTS).log
    with TemporaryDirectory() as folder:
        path = Path(folder) / "log.parquet"
        save_log(log, path)
        size = path.stat().st_size
    arrays = (log.states, log.actions, log.times)
    return RowSizes(
        file=size / len(log.actions), memory=sum(array.nbytes for array in arrays) / len(log.actions)
    )


def balance_point(model: ThroughputModel, learners: int, batch_size: int) -> int | None:
    """Fewest runners, each on a core of its own, with which learning takes longer than sampling.

    None if it never does: with more runners there is more to learn, too.
    """
    for runners in (1 << doublings for doublings in range(13)):
        phases = model.phases(runners, learners, cores=max(runners, learners), batch_size=batch_size)
        if phases["learning"] + phases["summing gradients"] >= phases["sampling"]:
            return runners
    return None


def write_page(
    path: Path, model: ThroughputModel, measured: Sequence[Iteration], *, cores: int, load: float
) -> None:
    """Writes what was measured, fitted and predicted.

    Args:
        path: Of the page.
        model: Fitted to ``measured``.
        measured: On this machine.
        cores: Of it.
        load: Processes of others that were busy when it began.
    """
    paragraphs = [*_measured(model, measured, cores, load), *_predicted(model), *_logs(model)]
    write_text(path, "\n\n".join(paragraphs) + "\n")


def _measured(
    model: ThroughputModel, measured: Sequence[Iteration], cores: int, load: float
) -> Iterable[str]:
    costs = model.costs
    yield "# Scaling"
    yield (
        "Written by `python -m rec_rl.experiments.scaling`, which measures this machine "
        f"({cores} cores; {load:.1f} processes of others were busy when it began) and fits a model to it; "
        "the record is [results/scaling.json](results/scaling.json). "
        "PPO on the synthetic Virtual Taobao, networks of 64 x 64, "
        f"{ENVS_PER_RUNNER} environments a runner, {STEPS_PER_RUNNER} steps in each before an update, "
        f"{NUM_PASSES} passes in minibatches of {BATCH_SIZE}."
    )
    yield "## What a step costs"
    yield _table(
        ("what", "cost"),
        [
            (
                f"environment step or reset ({1 - costs.steps_per_row:.0%}), with the policy's forward",
                micro(costs.env_step),
            ),
            ("the same on its way to the learner", size(costs.row_bytes)),
            (
                "gradient step",
                f"{micro(costs.gradient_step)} + {micro(costs.gradient_row)} a row "
                f"= {micro(costs.gradient_step + BATCH_SIZE * costs.gradient_row)} at {BATCH_SIZE} rows",
            ),
            ("weights from the learner into one runner", f"{micro(costs.sync)}, {size(costs.sync_bytes)}"),
            (
                "checkpoint, with fsync and checksums",
                f"{costs.checkpoint * 1e3:.1f} ms, {size(costs.checkpoint_bytes)}",
            ),
        ],
    )
    yield "CPU time of one process, but for the checkpoint, which is wall time."
    yield "## The model"
    yield (
        "Sampling and learning follow each other, so an iteration takes the sum of its phases: the costs "
        "above, divided by the processes that share them, and four weights that are fitted to the wall times "
        f"below. They are {model.overhead * 1e3:.1f} ms an iteration, {model.per_runner * 1e3:.1f} ms a "
        f"runner's call and answer, {model.reduce * 1e3:.2f} ms for summing gradients once, and a factor of "
        f"{model.dearer:.2f}, at least 1, by which steps are dearer in the run than alone (other work on the "
        "same cores is in it)."
    )
    rows = []
    for point in measured:
        fitted = model.seconds(point.runners, point.learners, cores=cores)
        rows.append(
            (
                str(point.runners),
                str(point.learners),
                f"{point.seconds * 1e3:.0f} ms",
                f"{fitted * 1e3:.0f} ms",
                f"{fitted / point.seconds - 1:+.0%}",
                f"{point.env_steps / point.seconds:,.0f}",
            )
        )
    header = ("runners", "learners", "measured", "fitted", "error", "env steps/s")
    yield _table(header, rows)
    yield "0 means in the driver's process."


def _predicted(model: ThroughputModel) -> Iterable[str]:
    yield "## More machines"
    yield (
        f"Machines of {CORES_PER_MACHINE} cores like these, a runner on every core, learners on cores of "
        "their own. These are the model's numbers, not measurements: it was fitted on one machine, and a "
        "network slower than loopback adds to calls and to summing gradients."
    )
    rows = []
    for machines in MACHINES:
        runners = machines * CORES_PER_MACHINE
        for learners, batch_size in LEARNING:
            phases = model.phases(runners, learners, cores=runners, batch_size=batch_size)
            throughput = model.env_steps_per_second(runners, learners, cores=runners, batch_size=batch_size)
            longest = max(phases, key=lambda name: phases[name])
            share = phases[longest] / sum(phases.values())
            row = machines, learners, f"{batch_size:,}", f"{throughput:,.0f}", longest, f"{share:.0%}"
            rows.append([str(cell) for cell in row])
    header = ("machines", "learners", "minibatch", "env steps/s", "longest phase", "its share")
    yield _table(header, rows)
    yield (
        f"By the model, {_bottlenecks(model)}. A learner takes {NUM_PASSES} gradient "
        "passes over what a runner samples once: beyond that point more runners bring little, and a "
        "faster learner (a GPU, larger minibatches, fewer passes) does."
    )


def _bottlenecks(model: ThroughputModel) -> str:
    """Where learning overtakes sampling, one sentence for all settings of which it says the same."""
    settings: dict[str, list[str]] = {}
    for learners, batch_size in LEARNING:
        runners = balance_point(model, learners, batch_size)
        if runners is None:
            said = "sampling stays the bottleneck"
        elif runners == 1:
            said = "learning is the bottleneck from the first runner on"
        else:
            said = f"the bottleneck moves from sampling to learning at about {runners} runners"
        settings.setdefault(said, []).append(f"{learners} x {batch_size:,}")
    return "; ".join(f"{said} (learners x minibatch: {', '.join(of)})" for said, of in settings.items())


def _logs(model: ThroughputModel) -> Iterable[str]:
    rows = USERS * REQUESTS_PER_USER
    sizes = row_sizes()
    row_seconds = model.costs.gradient_step / BATCH_SIZE + model.costs.gradient_row
    hours = rows * row_seconds / 3600
    yield "## Logs of 100 million users"
    yield (
        f"{USERS:,} users with {REQUESTS_PER_USER} requests each are {rows:,} rows. A session log has "
        f"{sizes.file:.0f} bytes a row in Parquet and {sizes.memory:.0f} in memory (states as half floats): "
        f"{size(rows * sizes.file)} on disk, {size(rows * sizes.memory)} in memory. One pass over them costs "
        f"{hours:,.0f} core hours of gradient steps at the cost above, {hours / 64:,.1f} hours on 64 "
        "learners that lose nothing to each other."
    )
    yield (
        "A log up to the memory of one machine is read once and kept in flat arrays. One that does not fit "
        "has to be cut by user into Parquet files and streamed, with Ray Data for instance, at a higher cost "
        "a row; rec_rl does not do that by itself. Preferences, mental rewards and off-policy estimates can "
        "be taken from a sample of users: their intervals shrink with the root of its size."
    )


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def micro(seconds: float) -> str:
    """Seconds as microseconds, or milliseconds from one on."""
    return f"{seconds * 1e6:.1f} µs" if seconds < 1e-3 else f"{seconds * 1e3:.2f} ms"


def size(count: float) -> str:
    """Bytes in words."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
