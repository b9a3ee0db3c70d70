"""How costs grow with users, catalogue, history and environments: fitted exponents and their figure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from benchmarks.contest import Work
from benchmarks.rows import Row
from benchmarks.side import window

FIGURE = Path("performance-growth.png")
LARGEST = 1.05
"""Exponent that is as good as linear."""
WINDOW_SECONDS = 0.3


@dataclass(frozen=True, kw_only=True)
class Growing:
    """A step whose cost grows with something.

    Attributes:
        name: Of what grows.
        step: What is timed, in words.
        build: The step at a size.
        sizes: Where it is timed.
        bar: Largest exponent; None where the work cannot be linear.
        why: What a profile says of a miss.
    """

    name: str
    step: str
    build: Callable[[int], Work]
    sizes: tuple[int, ...]
    bar: float | None = LARGEST
    why: str = ""


@dataclass(frozen=True, kw_only=True)
class Curve:
    """CPU seconds of one step at growing sizes, one a size."""

    growing: Growing
    seconds: tuple[float, ...]

    @property
    def exponent(self) -> float:
        """Slope of log seconds over log size, by least squares over every size."""
        return float(np.polyfit(np.log(self.growing.sizes), np.log(self.seconds), 1)[0])


def measure(growing: Growing, progress: Callable[[str], None]) -> Curve:
    """The step at every size."""
    seconds = []
    for size in growing.sizes:
        progress(f"growth: {growing.step}, {growing.name} {size:,}")
        work = growing.build(size)
        work()
        spent = window(work, WINDOW_SECONDS)
        seconds.append(spent["cpu"] / spent["units"])
    return Curve(growing=growing, seconds=tuple(seconds))


def growth(progress: Callable[[str], None], folder: Path) -> list[Row]:
    """Measures, draws the figure into ``folder`` and gives a row per curve."""
    torch.set_num_threads(1)
    curves = [measure(growing, progress) for growing in STEPS]
    draw(curves, folder / FIGURE)
    return [_row(curve) for curve in curves]


def _row(curve: Curve) -> Row:
    growing = curve.growing
    return Row(
        name=f"growth/{growing.name}/{growing.step.split()[-1].lower()}",
        work=f"{growing.step} against {growing.name}, {growing.sizes[0]:,} to {growing.sizes[-1]:,}",
        against="exponent",
        unit="exponent",
        values=(curve.exponent,),
        bar=growing.bar,
        at_most=True,
        why=growing.why,
    )


def world(num_users: int) -> Work:
    """The session world with states."""
    from envs.session_world import SessionWorld

    world = SessionWorld(num_users, 0)

    def work() -> float:
        world.observe()
        world.step(world.serve(world.logging_mean()))
        return 1

    return work


def environments(num_envs: int) -> Work:
    """Virtual Taobao with the synthetic networks."""
    from envs.virtual_taobao import VirtualTaobaoVectorEnv

    env = VirtualTaobaoVectorEnv(num_envs)
    env.reset(seed=0)
    actions = np.random.default_rng(0).uniform(-1, 1, (num_envs, 27)).astype(np.float32)

    def work() -> float:
        env.step(actions)
        return 1

    return work


def catalogue(num_items: int) -> Work:
    """Embedding tables of every size, the same minibatch."""
    return click_model("din", num_items=num_items, length=20)


def history(model: str) -> Callable[[int], Work]:
    """Histories of one length, the same catalogue."""
    return lambda length: click_model(model, num_items=2000, length=length)


def click_model(model: str, *, num_items: int, length: int, batch_size: int = 256) -> Work:
    """A gradient step of a click model, every history ``length`` long."""
    from rec_rl.experiments.ctr_training import train_step
    from rec_rl.models import BackboneConfig, ClickModel, build_backbone
    from rec_rl.models.batches import Batch
    from rec_rl.models.ragged import Ragged

    config = BackboneConfig(
        num_users=1,
        num_items=num_items,
        num_categories=50,
        max_history=length,
        embedding_size=16,
        hidden_sizes=(200, 80),
        user_field=False,
    )
    network = ClickModel(build_backbone(model, config))
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, fused=True)
    total = batch_size * length
    batch = Batch(
        users=torch.zeros(batch_size, dtype=torch.int64),
        items=torch.randint(1, num_items, (batch_size,)),
        categories=torch.randint(1, 50, (batch_size,)),
        history_items=torch.randint(1, num_items, (total,)),
        history_categories=torch.randint(1, 50, (total,)),
        history=Ragged(torch.full((batch_size,), length)),
    )
    clicks = torch.randint(0, 2, (batch_size,)).float()

    def work() -> float:
        train_step(network, optimizer, batch, clicks)
        return 1

    return work


LENGTHS = (10, 25, 50, 100, 200)
STEPS = (
    Growing(
        name="users",
        step="one request of every user",
        build=world,
        sizes=(10**3, 10**4, 10**5, 10**6),
        why="The process's own time per user grows by 3 % from 100,000 to a million; the kernel's, which "
        "clears the pages of a gigabyte of new states at every step, more than triples.",
    ),
    Growing(
        name="environments",
        step="one page in every environment",
        build=environments,
        sizes=(16, 64, 256, 1024, 4096),
    ),
    Growing(
        name="catalogue",
        step="a training step of DIN",
        build=catalogue,
        sizes=(10**3, 10**4, 10**5, 10**6),
    ),
    Growing(name="history", step="a training step of DIN", build=history("din"), sizes=LENGTHS),
    Growing(name="history", step="a training step of LinRec", build=history("linrec"), sizes=LENGTHS),
    Growing(
        name="history", step="a training step of SASRec", build=history("sasrec"), sizes=LENGTHS, bar=None
    ),
)
"""What is measured; SASRec's attention looks at every pair of a history."""


def draw(measured: Sequence[Curve], path: Path) -> None:
    """Cost over size, both on log axes, a panel for each quantity that grows."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    names = list(dict.fromkeys(curve.growing.name for curve in measured))
    figure, axes = pyplot.subplots(1, len(names), figsize=(4 * len(names), 3.4), layout="constrained")
    for axis, name in zip(axes, names, strict=True):
        for curve in measured:
            if curve.growing.name == name:
                label = f"{curve.growing.step}: {curve.exponent:.2f}"
                axis.loglog(curve.growing.sizes, np.array(curve.seconds) * 1e3, marker="o", label=label)
        axis.set_xlabel(name)
        axis.set_ylabel("CPU ms a step")
        axis.legend(fontsize=7, title="exponent", title_fontsize=7)
        axis.grid(alpha=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    pyplot.close(figure)
