"""The hardware's bound: the matrix products that a step cannot do without, timed alone."""

from collections.abc import Iterable, Sequence
from itertools import pairwise

import torch

from benchmarks.contest import Side, Work

Product = tuple[int, int, int]
"""[m, k] times [k, n]."""


def forward(rows: int, sizes: Sequence[int]) -> list[Product]:
    """The products of an MLP of layer widths ``sizes`` on ``rows`` inputs."""
    return [(rows, fan_in, fan_out) for fan_in, fan_out in pairwise(sizes)]


def backward(rows: int, sizes: Sequence[int], *, weights: bool = True, inputs: bool = False) -> list[Product]:
    """The products of its gradient.

    Args:
        rows, sizes: As of `forward`.
        weights: Whether the weights get a gradient.
        inputs: Whether the inputs of the first layer do.
    """
    products = []
    for layer, (fan_in, fan_out) in enumerate(pairwise(sizes)):
        if weights:
            products.append((fan_in, rows, fan_out))
        if layer or inputs:
            products.append((rows, fan_out, fan_in))
    return products


def train(rows: int, sizes: Sequence[int], *, inputs: bool = False) -> list[Product]:
    """Forward and backward."""
    return forward(rows, sizes) + backward(rows, sizes, inputs=inputs)


def bound(products: Iterable[Product], units: float = 1) -> Side:
    """The side that does only these products, which make ``units`` units."""
    return Side(
        name="matrix products alone", setup=multiply, settings={"products": list(products), "units": units}
    )


def multiply(products: Sequence[Product], units: float) -> Work:
    """Every product once, on matrices that are there already."""
    operands = [(torch.randn(m, k), torch.randn(k, n), torch.empty(m, n)) for m, k, n in products]

    def work() -> float:
        for left, right, out in operands:
            torch.mm(left, right, out=out)
        return units

    return work
