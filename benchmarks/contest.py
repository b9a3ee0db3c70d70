"""What is compared: one piece of work done by several sides, each in a process of its own.

A side may run in the peers' environment, which has no rec_rl: this module and the top of every module with a
side import nothing that is not in both.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Work = Callable[[], float]
"""Does some of the work and returns how many units it did."""


class Unavailable(Exception):
    """What a side needs is not on this machine; says what."""


@dataclass(frozen=True, kw_only=True)
class Side:
    """One way of doing the work.

    Attributes:
        name: Who does it.
        setup: Function of a module that prepares the work; takes ``settings`` by name.
        settings: Plain values.
        in_peers: Whether it runs in the peers' environment.
    """

    name: str
    setup: Callable[..., Work]
    settings: Mapping[str, Any] = field(default_factory=dict)
    in_peers: bool = False


@dataclass(frozen=True, kw_only=True)
class Opponent:
    """A side that ours is compared with.

    Attributes:
        side: Does the same work.
        bar: Least ratio of its cost to ours; None where the ratio is only told.
        why: What a profile says of a miss, in a sentence.
    """

    side: Side
    bar: float | None = None
    why: str = ""


@dataclass(frozen=True, kw_only=True)
class Contest:
    """A piece of work, our way of doing it and others.

    Attributes:
        name: For the command line and for files.
        work: What is done, in words.
        unit: What is counted, in the singular.
        ours: Our side.
        opponents: Each gives a row of the table.
        least_per_second: Bar on our units per CPU second, which an idle machine has to reach.
    """

    name: str
    work: str
    unit: str
    ours: Side
    opponents: tuple[Opponent, ...]
    least_per_second: float | None = None
