"""PrefRec's reward model: a network whose sums over segments explain which one is preferred."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rec_rl.checkpoint import Checkpoints, as_tensors, check_same, load_state, save_state
from rec_rl.data.behaviour import column_moments
from rec_rl.data.half import to_single
from rec_rl.data.hashing import content_hash
from rec_rl.data.preference_batches import PreferenceBatch, PreferenceSampler
from rec_rl.data.preferences import LocatedPairs
from rec_rl.data.sessions import SessionLog
from rec_rl.errors import ConfigError
from rec_rl.losses.preference import bradley_terry_loss
from rec_rl.progress import OnStep
from rec_rl.rewards.preference_check import share_right

Floats = NDArray[np.float32]

KIND = "bradley_terry"
ACTION_QUANTILE = 0.995  # of |a|, by which networks divide actions
CHUNK = 1 << 15


@dataclass(frozen=True, kw_only=True)
class BradleyTerryConfig:
    """Settings of pre-training; defaults are PrefRec's Table 1, which gives no rate for the reward model.

    Attributes:
        hidden_sizes: Layers of the network.
        learning_rate: Adam's.
        batch_size: Pairs a step.
        epochs: Passes over the pairs.
    """

    hidden_sizes: tuple[int, ...] = (256, 256, 256)
    learning_rate: float = 3e-4
    batch_size: int = 256
    epochs: int = 3

    def __post_init__(self) -> None:
        if not self.hidden_sizes or min(self.hidden_sizes) < 1:
            raise ConfigError(f"hidden_sizes must be one or more sizes >= 1, got {self.hidden_sizes}")
        if not self.learning_rate > 0:
            raise ConfigError(f"learning_rate must be > 0, got {self.learning_rate}")
        for name in ("batch_size", "epochs"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be >= 1, got {getattr(self, name)}")


class BradleyTerryNetwork(nn.Module):
    """r(s, a) on standardised states and scaled actions; frozen constants standardise r itself."""

    def __init__(self, state_dim: int, action_dim: int, hidden_sizes: tuple[int, ...]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width = state_dim + action_dim
        for size in hidden_sizes:
            layers += [nn.Linear(width, size), nn.ReLU(inplace=True)]
            width = size
        self.body = nn.Sequential(*layers, nn.Linear(width, 1))
        self.center: Tensor
        self.spread: Tensor
        self.action_scale: Tensor
        self.reward_mean: Tensor
        self.reward_sd: Tensor
        self.register_buffer("center", torch.zeros(state_dim))
        self.register_buffer("spread", torch.ones(state_dim))
        self.register_buffer("action_scale", torch.ones(action_dim))
        self.register_buffer("reward_mean", torch.zeros(()))
        self.register_buffer("reward_sd", torch.ones(()))

    def forward(self, states: Tensor, actions: Tensor) -> Tensor:
        """Raw reward, [..., S] and [..., A] to [...]; what preferences are explained with."""
        inputs = torch.cat([(states - self.center) / self.spread, actions / self.action_scale], dim=-1)
        raw: Tensor = self.body(inputs.flatten(0, -2)).view(inputs.shape[:-1])  # rows cost fewer passes
        return raw

    def standardised(self, states: Tensor, actions: Tensor) -> Tensor:
        """(r - mean) / sd with the frozen constants; what policies are trained on."""
        standardised: Tensor = (self(states, actions) - self.reward_mean) / self.reward_sd
        return standardised

    def segment_rewards(self, batch: PreferenceBatch) -> tuple[Tensor, Tensor]:
        """Raw rewards along segments a and b, 0 where a segment has ended, shape [B, T] each."""
        rewards_a, rewards_b = (self(batch.states, batch.actions) * batch.mask).unbind(dim=1)
        return rewards_a, rewards_b

    @torch.no_grad()
    def fit_inputs(self, log: SessionLog) -> None:
        """Takes the constants of the inputs from a log."""
        center, spread = column_moments(log.states)
        self.center.copy_(torch.from_numpy(center))
        self.spread.copy_(torch.from_numpy(spread))
        scale = np.quantile(np.abs(log.actions), ACTION_QUANTILE, axis=0)
        self.action_scale.copy_(torch.from_numpy(np.where(scale > 0, scale, 1)))

    @torch.no_grad()
    def fit_rewards(self, log: SessionLog) -> None:
        """Takes the mean and deviation of the raw reward over a log; fine-tuning leaves them as they are."""
        raw = _evaluate(self, log.states, log.actions)
        self.reward_mean.fill_(float(raw.mean(dtype=np.float64)))
        self.reward_sd.fill_(max(float(raw.std(dtype=np.float64)), 1e-8))


@dataclass(frozen=True, kw_only=True)
class BradleyTerryRecord:
    """What a reward model was fitted on and how it went.

    Attributes:
        config: Settings.
        seed: Of the weights and the order of pairs.
        num_pairs: Pairs trained on.
        num_missing: Pairs left out because the log does not hold them.
        data_hash: Content hash of the log.
        loss, accuracy: Of every step's batch before the step; Fig. 6 and 7.
    """

    config: BradleyTerryConfig
    seed: int
    num_pairs: int
    num_missing: int
    data_hash: str
    loss: tuple[float, ...]
    accuracy: tuple[float, ...]


class BradleyTerryReward:
    """A fitted reward model; a `Reward` callable. Takes and gives numpy arrays, on the CPU.

    Attributes:
        network: The network, for further training by a learner.
        record: Data and curves of the fit.
    """

    def __init__(self, network: BradleyTerryNetwork, record: BradleyTerryRecord) -> None:
        self.network = network
        self.record = record

    def __call__(self, states: NDArray[np.floating], actions: Floats) -> Floats:
        """Standardised reward of each request, [n, S] and [n, A] to [n]."""
        return _evaluate(self.network.standardised, states, actions)

    def save(self, folder: str | Path) -> None:
        """Writes a checkpoint; the folder appears whole or not at all."""
        state = {"weights": self.network.state_dict(), "record": asdict(self.record)}
        save_state(Path(folder), state, KIND)

    @classmethod
    def load(cls, folder: str | Path) -> "BradleyTerryReward":
        """Reads what ``save`` wrote.

        Raises:
            CheckpointError: If the folder is missing, corrupt or of something else.
        """
        state = load_state(Path(folder), KIND)
        record, config = state["record"], state["record"]["config"]
        config = BradleyTerryConfig(**{**config, "hidden_sizes": tuple(config["hidden_sizes"])})
        curves = {name: tuple(record[name]) for name in ("loss", "accuracy")}
        weights = {name: torch.from_numpy(np.asarray(array)) for name, array in state["weights"].items()}
        network = BradleyTerryNetwork(
            len(weights["center"]), len(weights["action_scale"]), config.hidden_sizes
        )
        network.load_state_dict(weights)
        return cls(network, BradleyTerryRecord(**{**record, **curves, "config": config}))


def fit_bradley_terry(
    log: SessionLog,
    pairs: LocatedPairs,
    config: BradleyTerryConfig,
    *,
    seed: int = 0,
    on_step: OnStep | None = None,
    checkpoints: Path | None = None,
) -> BradleyTerryReward:
    """Pre-trains a reward model and freezes its standardisation.

    The same arguments give the same model. torch's global generator is left as it was.
    Source: Xue et al. 2023 (PrefRec), Algorithm 1.

    Args:
        log: The requests of the segments; its statistics standardise the inputs and the reward.
        pairs: Labelled segments.
        config: Settings.
        seed: Of the weights and the order of pairs.
        on_step: Called as on_step(step, total, {"loss", "accuracy"}) after every gradient step.
        checkpoints: Folder in which the fit is kept every few seconds; one that was ended there goes on to
            the same model. None keeps none.

    Raises:
        CheckpointError: If a fit with other settings, another seed or other data lies there.
    """
    batch_size = min(config.batch_size, len(pairs))
    sampler = PreferenceSampler(log, pairs, batch_size=batch_size, seed=seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = BradleyTerryNetwork(log.states.shape[1], log.actions.shape[1], config.hidden_sizes)
    network.fit_inputs(log)
    optimizer = torch.optim.Adam(network.parameters(), lr=config.learning_rate)
    curves: dict[str, list[float]] = {"loss": [], "accuracy": []}
    total = config.epochs * -(-len(pairs) // batch_size)
    identity = {
        "config": asdict(config),
        "seed": seed,
        "data_hash": log.content_hash,
        "pairs_hash": content_hash(pairs.first_rows, pairs.lengths, pairs.label),
    }

    def state() -> dict[str, Any]:
        parts = {"network": network.state_dict(), "optimizer": optimizer.state_dict()}
        return {**identity, **parts, "sampler": sampler.get_state(), "curves": curves}

    def restore(kept: dict[str, Any]) -> None:
        check_same(kept, **identity)
        network.load_state_dict(as_tensors(kept["network"]))
        optimizer.load_state_dict(as_tensors(kept["optimizer"]))
        sampler.set_state(kept["sampler"])
        curves.update(kept["curves"])

    keeper = Checkpoints(checkpoints, f"fit of {KIND}")
    keeper.restore(restore)
    for step in range(len(curves["loss"]) + 1, total + 1):
        batch = sampler.next_batch()
        rewards_a, rewards_b = network.segment_rewards(batch)
        loss = bradley_terry_loss(rewards_a, rewards_b, batch.label).mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        gap = (rewards_a.sum(dim=1) - rewards_b.sum(dim=1)).detach()
        curves["loss"].append(loss.item())
        curves["accuracy"].append(share_right(gap.numpy(), batch.label.numpy()))
        if on_step is not None:
            on_step(step, total, {name: values[-1] for name, values in curves.items()})
        keeper.offer(step, state)
    keeper.keep(total, state)
    network.fit_rewards(log)
    record = BradleyTerryRecord(
        config=config,
        seed=seed,
        num_pairs=len(pairs),
        num_missing=pairs.num_missing,
        data_hash=log.content_hash,
        loss=tuple(curves["loss"]),
        accuracy=tuple(curves["accuracy"]),
    )
    return BradleyTerryReward(network, record)


@torch.inference_mode()
def _evaluate(
    function: Callable[[Tensor, Tensor], Tensor], states: NDArray[np.floating], actions: Floats
) -> Floats:
    parts = []
    for i in range(0, len(states), CHUNK):
        rows = slice(i, i + CHUNK)
        part = function(torch.from_numpy(to_single(states[rows])), torch.from_numpy(actions[rows]))
        parts.append(part.numpy())
    return np.concatenate(parts)
