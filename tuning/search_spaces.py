"""What a sweep may draw: one typed space per algorithm, mental reward and click model.

A field is named after the setting it draws; a test holds every space against the settings of its target.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from rec_rl.errors import ConfigError


@dataclass(frozen=True)
class Uniform:
    """A number between two bounds."""

    low: float
    high: float

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ConfigError(f"the bounds of a range must grow, got {self.low} and {self.high}")

    def sample(self, rng: np.random.Generator) -> float:
        """One draw."""
        return float(rng.uniform(self.low, self.high))

    def decode(self, value: Any) -> Any:
        """A draw of the tuner as a setting."""
        return float(value)


@dataclass(frozen=True)
class LogUniform(Uniform):
    """A number whose logarithm is drawn evenly."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.low > 0:
            raise ConfigError(f"the lower bound of a logarithmic range must be > 0, got {self.low}")

    def sample(self, rng: np.random.Generator) -> float:
        """One draw."""
        return float(math.exp(rng.uniform(math.log(self.low), math.log(self.high))))


@dataclass(frozen=True)
class Choice:
    """One of several values; lists of sizes are passed through the tuner as text."""

    values: tuple[Any, ...]

    def sample(self, rng: np.random.Generator) -> Any:
        """One draw."""
        return self.values[int(rng.integers(len(self.values)))]

    @property
    def encoded(self) -> list[Any]:
        """The values as numbers and text."""
        return [json.dumps(list(v)) if isinstance(v, tuple) else v for v in self.values]

    def decode(self, value: Any) -> Any:
        """A draw of the tuner as a setting."""
        return self.values[self.encoded.index(value)]


Domain = Uniform | Choice


@dataclass(frozen=True, kw_only=True)
class SearchSpace:
    """Domains by the setting they draw."""

    def domains(self) -> dict[str, Domain]:
        """Every domain, in the order of the fields."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def sample(self, rng: np.random.Generator) -> dict[str, Any]:
        """One set of settings."""
        return {name: domain.sample(rng) for name, domain in self.domains().items()}

    def decode(self, drawn: Mapping[str, Any]) -> dict[str, Any]:
        """What the tuner drew, as settings."""
        return {name: domain.decode(drawn[name]) for name, domain in self.domains().items()}


SIZES = Choice(((64, 64), (128, 128), (256, 256)))


@dataclass(frozen=True, kw_only=True)
class PPOSpace(SearchSpace):
    """Of `rec_rl.algorithms.ppo.PPOConfig`."""

    lr: Domain = LogUniform(1e-4, 3e-3)
    hidden_sizes: Domain = SIZES
    num_passes: Domain = Choice((3, 6, 10))
    batch_size: Domain = Choice((64, 128, 256))
    clip: Domain = Choice((0.1, 0.2, 0.3))
    initial_log_std: Domain = Uniform(-2.0, 0.0)


@dataclass(frozen=True, kw_only=True)
class SACSpace(SearchSpace):
    """Of `rec_rl.algorithms.sac.SACConfig`."""

    lr: Domain = LogUniform(1e-4, 3e-3)
    hidden_sizes: Domain = SIZES
    batch_size: Domain = Choice((64, 128, 256))
    updates_per_round: Domain = Choice((1, 2, 4))
    target_entropy: Domain = Uniform(-40.0, -5.0)
    initial_alpha: Domain = LogUniform(0.03, 1.0)


@dataclass(frozen=True, kw_only=True)
class MentalRewardSpace(SearchSpace):
    """What the mental rewards have in common."""

    learning_rate: Domain = LogUniform(3e-4, 1e-2)
    hidden_sizes: Domain = SIZES
    batch_size: Domain = Choice((1000, 4000, 16000))
    steps: Domain = Choice((500, 1500, 3000))


@dataclass(frozen=True, kw_only=True)
class IQLearnSpace(MentalRewardSpace):
    """Of `rec_rl.rewards.IQLearnConfig` and QRIQLConfig."""

    iq_alpha: Domain = LogUniform(0.05, 5.0)


@dataclass(frozen=True, kw_only=True)
class AnchoredSpace(MentalRewardSpace):
    """Of `rec_rl.rewards.AnchoredConfig`."""

    tau: Domain = LogUniform(0.005, 0.2)


@dataclass(frozen=True, kw_only=True)
class CTRSpace(SearchSpace):
    """Of `rec_rl.experiments.ctr_training.CTRConfig`; its batch size stays, since the rate goes with it."""

    learning_rate: Domain = LogUniform(2e-4, 5e-3)
    embedding_size: Domain = Choice((8, 16, 32))
    hidden_sizes: Domain = Choice(((64, 32), (200, 80), (400, 160)))


@dataclass(frozen=True, kw_only=True)
class OfflineSpace(SearchSpace):
    """Of `rec_rl.algorithms.offline.OfflineConfig`, which all offline algorithms share."""

    actor_lr: Domain = LogUniform(1e-5, 1e-3)
    batch_size: Domain = Choice((256, 1024, 4096))


@dataclass(frozen=True, kw_only=True)
class CriticSpace(OfflineSpace):
    """Of `rec_rl.algorithms.offline_critic.CriticConfig`."""

    critic_lr: Domain = LogUniform(1e-5, 1e-3)
    tau: Domain = LogUniform(1e-3, 2e-2)


@dataclass(frozen=True, kw_only=True)
class SupportedSpace(OfflineSpace):
    """Of `rec_rl.algorithms.prefrec_supported.PrefRecSupportedConfig`."""

    trace_decay: Domain = Choice((0.8, 0.9, 0.95, 1.0))
    tau: Domain = LogUniform(1e-3, 2e-2)
