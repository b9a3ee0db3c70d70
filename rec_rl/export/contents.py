"""What goes into an artefact, before it is written."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rec_rl.export.graphs import PARITY_ROWS, GraphSpec

Feature = Mapping[str, Any]
"""{"type", "required", "meaning"} and "size" of a vector or "most" elements of a list."""


@dataclass(frozen=True, kw_only=True)
class Contents:
    """Graphs, features and words of one run.

    Attributes:
        kind: A name in `rec_rl.runtime.artefact.KINDS`.
        what: The model in words, for the card's first line.
        graphs: By name.
        features: What a user is described by, by name.
        normalisation: What happens to the numbers, and where.
        unknown_ids: What an id means that training did not see.
        intended_use, limits: For the card, in sentences.
        items: Arrays of the items that the artefact recommends; empty where it has none of its own.
        metric: By which an action finds items, a name in `rec_rl.retrieval.index.METRICS`; for a policy.
    """

    kind: str
    what: str
    graphs: Mapping[str, GraphSpec]
    features: Mapping[str, Feature]
    normalisation: str
    unknown_ids: str
    intended_use: tuple[str, ...]
    limits: tuple[str, ...]
    items: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    metric: str | None = None


def rows_around(center: Tensor, spread: Tensor) -> Tensor:
    """PARITY_ROWS rows, twice as wide as the data that a network was standardised on, [S] to [rows, S]."""
    noise = np.random.default_rng(0).standard_normal((PARITY_ROWS, len(center)), dtype=np.float32)
    return center + 2 * spread * torch.from_numpy(noise)


def state_feature(size: int, meaning: str) -> dict[str, Feature]:
    """The schema of a policy: one vector."""
    return {"state": {"type": "vector of numbers", "size": size, "required": True, "meaning": meaning}}
