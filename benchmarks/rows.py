"""A row of the table: what was measured, the bar, and whether it was reached."""

from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True, kw_only=True)
class Row:
    """One comparison, or one measure.

    Attributes:
        name: Unique in the table.
        work, against: What is measured and what it is compared with, in words.
        unit: What costs are per, such as "update"; of a measure, what the value is.
        values: The ratio of each pair, theirs to ours, or the measure of each repeat.
        wall_values: The same ratios by the clock.
        bar: What the median has to reach; None where there is nothing to reach.
        at_most: Whether less is better.
        ours, theirs: Median CPU seconds per unit.
        why: What a profile says of a miss.
        skipped: Why there are no values.
    """

    name: str
    work: str
    against: str
    unit: str
    values: tuple[float, ...] = ()
    wall_values: tuple[float, ...] = ()
    bar: float | None = None
    at_most: bool = False
    ours: float | None = None
    theirs: float | None = None
    why: str = ""
    skipped: str = ""

    @property
    def value(self) -> float:
        """Median of the values."""
        return median(self.values)

    @property
    def missed(self) -> bool:
        """Whether there is a bar that the median does not reach."""
        if self.bar is None or not self.values:
            return False
        return self.value > self.bar if self.at_most else self.value < self.bar

    @property
    def verdict(self) -> str:
        """The bar in words, and by how much it is missed."""
        if self.skipped:
            return f"not measured: {self.skipped}"
        if self.bar is None:
            return "no bar"
        bar = f"{'<=' if self.at_most else '>='} {number(self.bar)}"
        if not self.missed:
            return f"{bar}: reached"
        return f"{bar}: missed by {abs(self.value / self.bar - 1):.0%}"


def number(value: float) -> str:
    """Three digits, thousands apart."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def seconds(value: float | None) -> str:
    """A duration with its unit."""
    if value is None:
        return ""
    if value >= 1:
        return f"{value:.3g} s"
    return f"{value * 1e3:.3g} ms" if value >= 1e-3 else f"{value * 1e6:.3g} µs"
