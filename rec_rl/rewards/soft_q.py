"""What the three inverse methods share: settings, batches and the network."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rec_rl.data.transitions import UserTransitions
from rec_rl.errors import ConfigError

CHUNK = 1 << 16  # rows that pass a network at once, so that memory stays bounded


class BodyBuilder(Protocol):
    """Builds the part of a network below its output layer.

    The module maps states [B, d] to features [B, width]; ``width`` is the second thing returned. Each call
    builds a new one. Any CTR model without its output layer will do (MTRec A.3).
    """

    def __call__(self) -> tuple[nn.Module, int]: ...


@dataclass(frozen=True, kw_only=True)
class SoftQConfig:
    """Settings of all three methods.

    Attributes:
        discount: The user's gamma, in [0, 1).
        num_quantiles: N, the number of quantile heads.
        hidden_sizes: Layers of the default body, an MLP on standardised states.
        learning_rate: Adam's rate; it falls linearly to a tenth over the last 40 % of the steps.
        batch_size: Rows a step.
        steps: Gradient steps of the Q network.
        head_steps: Gradient steps of the reward head.
        held_out_share: Share of users kept from training, on which the record's figures are taken.
    """

    discount: float = 0.9
    num_quantiles: int = 10
    hidden_sizes: tuple[int, ...] = (64, 64)
    learning_rate: float = 2e-3
    batch_size: int = 4000
    steps: int = 1500
    head_steps: int = 500
    held_out_share: float = 0.1

    def __post_init__(self) -> None:
        if not 0 <= self.discount < 1:
            raise ConfigError(f"discount must be in [0, 1), got {self.discount}")
        if not 0 < self.held_out_share < 1:
            raise ConfigError(f"held_out_share must be in (0, 1), got {self.held_out_share}")
        if not self.learning_rate > 0:
            raise ConfigError(f"learning_rate must be > 0, got {self.learning_rate}")
        for name in ("num_quantiles", "batch_size", "steps", "head_steps"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be >= 1, got {getattr(self, name)}")
        if not self.hidden_sizes or min(self.hidden_sizes) < 1:
            raise ConfigError(f"hidden_sizes must be one or more sizes >= 1, got {self.hidden_sizes}")


class Batch(NamedTuple):
    """Rows of user transitions as tensors; shapes as in ``UserTransitions``."""

    states: Tensor
    actions: Tensor
    next_states: Tensor
    terminated: Tensor

    @classmethod
    def of(cls, transitions: UserTransitions) -> "Batch":
        """The rows of ``transitions``, without a copy where the arrays allow it."""
        names = cls._fields
        return cls(*(torch.from_numpy(np.ascontiguousarray(getattr(transitions, name))) for name in names))

    def rows(self, index: Tensor) -> "Batch":
        """The rows at ``index``."""
        return Batch(*(column[index] for column in self))


class SoftQNetwork(nn.Module, ABC):
    """Q(s, skip) and Q(s, click) on a body, and the loss that fits them."""

    @abstractmethod
    def forward(self, states: Tensor) -> Tensor:
        """Q, [B, d] to [B, 2]."""

    @abstractmethod
    def loss(self, batch: Batch) -> Tensor:
        """The loss to minimise, scalar."""

    def after_step(self) -> None:
        """Called after each gradient step; most methods have no target network to move."""


class Standardise(nn.Module):
    """(x - mean) / sd per feature, frozen; a constant feature keeps its unit."""

    def __init__(self, states: NDArray[np.float32]) -> None:
        super().__init__()
        sd = states.std(axis=0, dtype=np.float64)
        mean = states.mean(axis=0, dtype=np.float64)
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32))
        self.register_buffer("sd", torch.tensor(np.where(sd > 1e-6, sd, 1.0), dtype=torch.float32))
        self.mean: Tensor
        self.sd: Tensor

    def forward(self, states: Tensor) -> Tensor:
        return (states - self.mean) / self.sd


class MLPBody(nn.Sequential):
    """Linear layers and ReLUs on standardised states."""

    def __init__(self, standardise: Standardise, hidden_sizes: tuple[int, ...]) -> None:
        sizes = (len(standardise.mean), *hidden_sizes)
        layers = [layer for pair in pairwise(sizes) for layer in (nn.Linear(*pair), nn.ReLU())]
        super().__init__(standardise, *layers)
        self.num_features = sizes[0]

    def standardised(self, states: Tensor) -> Tensor:
        """What the first linear layer sees, [B, d] to [B, d]."""
        z: Tensor = self[0](states)
        return z


def mlp_body(states: NDArray[np.float32], hidden_sizes: tuple[int, ...]) -> BodyBuilder:
    """The default body: an MLP on states standardised by their mean and deviation on the training rows."""

    def build() -> tuple[nn.Module, int]:
        return MLPBody(Standardise(states), hidden_sizes), (states.shape[1], *hidden_sizes)[-1]

    return build


@torch.inference_mode()
def evaluate(function: Callable[[Tensor], Tensor], states: NDArray[np.float32]) -> NDArray[np.float32]:
    """``function`` over states [n, d], in chunks."""
    x = torch.as_tensor(states, dtype=torch.float32)
    if len(x) <= CHUNK:
        return function(x).numpy()
    return torch.cat([function(x[i : i + CHUNK]) for i in range(0, len(x), CHUNK)]).numpy()
