"""Training of click models, plain or aligned with a mental reward (MTRec Sec. 4.3, Algorithm 2)."""

import time
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rec_rl.checkpoint import as_tensors, check_same
from rec_rl.data.splits import ClickDataset, Impressions
from rec_rl.errors import ConfigError
from rec_rl.evaluation.ranking import auc
from rec_rl.experiments.data_parallel import Shard
from rec_rl.losses.click import aligned_click_loss, click_loss, normalised_difference
from rec_rl.models import BackboneConfig, ClickModel, build_backbone
from rec_rl.models.batches import Batch, Rows
from rec_rl.progress import OnStep

EVALUATION_BATCH = 4096


@dataclass(frozen=True, kw_only=True)
class CTRConfig:
    """Settings of one training run.

    The defaults are one set for all models, so that tables compare models and not their tuning. A sweep for
    DIN on Beauty (docs/results/sweeps/din) finds .0075 more AUC at a rate of .0027 and layers of 400 and 160.

    Attributes:
        model: A name in MODELS.
        embedding_size, hidden_sizes, user_field: As in ``BackboneConfig``.
        learning_rate: Adam's. It goes with the batch size: four times the batch at the same rate costs .04
            AUC.
        batch_size: Rows a step.
        max_epochs: Training stops earlier, at the first epoch whose validation AUC is below the one before.
        kappa: Weight of the mental reward, >= 0; 0 is plain cross-entropy.
    """

    model: str = "din"
    embedding_size: int = 16
    hidden_sizes: tuple[int, ...] = (200, 80)
    user_field: bool = False
    learning_rate: float = 1e-3
    batch_size: int = 1024
    max_epochs: int = 20
    kappa: float = 0.0

    def __post_init__(self) -> None:
        for name in ("batch_size", "max_epochs"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be >= 1, got {getattr(self, name)}")
        if not self.learning_rate > 0:
            raise ConfigError(f"learning_rate must be > 0, got {self.learning_rate}")
        if not self.kappa >= 0:
            raise ConfigError(f"kappa must be >= 0, got {self.kappa}")


@dataclass(frozen=True, kw_only=True)
class EpochRecord:
    """One pass over the training rows: mean loss, validation AUC after it, seconds it took."""

    epoch: int
    loss: float
    validation_auc: float
    seconds: float


class CTRTraining:
    """One run, step by step; its state can be saved after any step and continued exactly.

    Attributes:
        model: The click model as it stands; ``finish`` puts the best epoch's weights into it.
        epochs: Records of the finished epochs.
    """

    def __init__(
        self,
        data: ClickDataset,
        config: CTRConfig,
        *,
        seed: int,
        difference: NDArray[np.float32] | None = None,
        device: str | torch.device = "cpu",
        shard: Shard = Shard(),
    ) -> None:
        """Sets up weights and optimizer.

        Args:
            data: What to train and validate on.
            config: Settings.
            seed: Of the weights, the order of the rows and what a backbone draws.
            difference: Dn of each training row, shape [len(data.train)]; needed if kappa > 0.
            device: Where to train.
            shard: This process's part of every batch. Losses are of the whole batch whatever it is, and so is
                all but the auxiliary loss of a backbone, which is averaged over the parts.
        """
        if config.kappa > 0 and difference is None:
            raise ConfigError(f"kappa = {config.kappa:g} needs a mental reward")
        if difference is not None and difference.shape != (len(data.train),):
            raise ValueError(f"difference must have shape ({len(data.train)},), got {difference.shape}")
        if torch.device(device).type == "cuda":  # else GRUs round to ten bits: SIGMA learns other weights
            torch.backends.cudnn.allow_tf32 = False
        self.config = config
        self._data, self._seed, self._shard = data, seed, shard
        self._train = Rows.of(data, data.train, device)
        self._validation = Rows.of(data, data.validation, device)
        aligned = config.kappa > 0 and difference is not None
        self._difference = torch.from_numpy(difference).to(device) if aligned else None
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.model = ClickModel(build_backbone(config.model, backbone_config(data, config))).to(device)
            self._rng_state = torch.get_rng_state()
        self._shared_model = shard.share_model(self.model)
        self._optimizer = torch.optim.Adam(self.model.parameters(), lr=config.learning_rate, fused=True)
        self.epochs: list[EpochRecord] = []
        self._best: dict[str, Tensor] = {}
        self._step = 0
        self._loss_sum = 0.0
        self._order = self._permutation()
        self._started = time.perf_counter()

    @property
    def steps(self) -> int:
        """Gradient steps taken so far."""
        return self._step

    @property
    def steps_per_epoch(self) -> int:
        """Batches of one epoch; the last one may be smaller."""
        return -(-len(self._train) // self.config.batch_size)

    @property
    def finished(self) -> bool:
        """Whether the validation AUC fell or the epochs are used up."""
        aucs = [record.validation_auc for record in self.epochs]
        return len(aucs) == self.config.max_epochs or (len(aucs) > 1 and aucs[-1] < aucs[-2])

    def step(self) -> float:
        """One gradient step, and at an epoch's end its evaluation; returns the batch's mean loss."""
        if self.finished:
            raise ValueError("the run is finished")
        start = self._step % self.steps_per_epoch * self.config.batch_size
        index = self._order[start : start + self.config.batch_size]
        own, weight = self._shard.rows(index)
        difference = None if self._difference is None else self._difference.index_select(0, own)
        with torch.random.fork_rng(devices=[]):
            torch.set_rng_state(self._rng_state)
            loss = train_step(
                self._shared_model,
                self._optimizer,
                self._train.batch(own),
                self._train.clicks.index_select(0, own),
                difference=difference,
                kappa=self.config.kappa,
                weight=weight,
            )
            self._rng_state = torch.get_rng_state()
        loss = self._shard.mean(loss, index.device)
        self._loss_sum += loss * len(index)
        self._step += 1
        if self._step % self.steps_per_epoch == 0:
            self._end_epoch()
        return loss

    def finish(self, on_step: OnStep | None = None) -> ClickModel:
        """Trains to the end and returns the model with the weights of its best epoch, in evaluation mode."""
        total = self.steps_per_epoch * self.config.max_epochs
        while not self.finished:
            loss = self.step()
            if on_step is not None:
                metrics = {"loss": loss}
                if self.epochs:
                    metrics["validation_auc"] = self.epochs[-1].validation_auc
                on_step(self._step, total, metrics)
        self.model.load_state_dict(self._best)
        return self.model.eval()

    def state(self) -> dict[str, Any]:
        """Everything that the rest of the run depends on, for `rec_rl.checkpoint.save_state`."""
        return {
            "config": asdict(self.config),
            "seed": self._seed,
            "data_hash": self._data.content_hash,
            "model": self.model.state_dict(),
            "best": self._best,
            "optimizer": self._optimizer.state_dict(),
            "rng": self._rng_state,
            "step": self._step,
            "loss_sum": self._loss_sum,
            "epochs": [asdict(record) for record in self.epochs],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continues where ``state`` was taken.

        Raises:
            CheckpointError: If it belongs to other settings, another seed or other data.
        """
        check_same(state, config=asdict(self.config), seed=self._seed, data_hash=self._data.content_hash)
        self.model.load_state_dict(as_tensors(state["model"]))
        self._best = as_tensors(state["best"])
        self._optimizer.load_state_dict(as_tensors(state["optimizer"]))
        self._rng_state = as_tensors(state["rng"])
        self._step, self._loss_sum = state["step"], state["loss_sum"]
        self.epochs = [EpochRecord(**record) for record in state["epochs"]]
        self._order = self._permutation()

    def _permutation(self) -> Tensor:
        rng = np.random.default_rng([self._seed, len(self.epochs)])
        order = shuffle_histories(self._data.train, rng)
        return torch.from_numpy(order).to(self._train.users.device)

    def _validate(self) -> NDArray[np.float32]:
        """Probabilities of the validation rows, which workers share out and all come to know."""
        num_rows = len(self._validation)
        own, _ = self._shard.rows(torch.arange(num_rows, device=self._validation.users.device))
        probabilities = self._shard.gather(_probabilities(self.model, self._validation, own), num_rows)
        return probabilities.cpu().numpy()

    def _end_epoch(self) -> None:
        now = time.perf_counter()
        record = EpochRecord(
            epoch=len(self.epochs) + 1,
            loss=self._loss_sum / len(self._train),
            validation_auc=auc(self._data.validation.clicks, self._validate()),
            seconds=now - self._started,
        )
        if not self.epochs or record.validation_auc > max(past.validation_auc for past in self.epochs):
            self._best = {name: value.clone() for name, value in self.model.state_dict().items()}
        self.epochs.append(record)
        self._order, self._loss_sum, self._started = self._permutation(), 0.0, time.perf_counter()


def shuffle_histories(rows: Impressions, rng: np.random.Generator) -> NDArray[np.int64]:
    """An order of the rows in which neighbours of the same history stay neighbours, shape [n].

    So an action and the negative drawn for it meet in one batch, and models read their history once.
    """
    first = np.append(True, (np.diff(rows.starts) != 0) | (np.diff(rows.ends) != 0))
    starts = np.flatnonzero(first)
    sizes = np.diff(starts, append=len(rows))
    order = rng.permutation(len(starts))
    sizes, ends = sizes[order], np.cumsum(sizes[order])
    inside = np.arange(len(rows)) - np.repeat(ends - sizes, sizes)
    rows_in_order: NDArray[np.int64] = np.repeat(starts[order], sizes) + inside
    return rows_in_order


def train_step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    clicks: Tensor,
    *,
    difference: Tensor | None = None,
    kappa: float = 0.0,
    weight: float = 1.0,
) -> float:
    """One step on the mean of cross-entropy - kappa Dn F, plus the backbone's own auxiliary loss.

    Args:
        model: A `ClickModel`, shared by workers or not.
        optimizer: Of its parameters.
        batch: B rows.
        clicks: 0 or 1, shape [B].
        difference: Dn, shape [B]; None is plain cross-entropy.
        kappa: Of the mental reward.
        weight: Of this batch's mean loss, where it is a part of a larger one.

    Returns:
        The mean loss of the batch before the step times its weight, without the auxiliary one.
    """
    model.train()
    logits, auxiliary_loss = model(batch)
    if difference is None:
        loss = click_loss(logits, clicks).mean()
    else:
        loss = aligned_click_loss(logits, clicks, difference, kappa).mean()
    loss = weight * loss
    optimizer.zero_grad()
    (loss + auxiliary_loss).backward()
    optimizer.step()
    return loss.item()


def reward_differences(rewards: NDArray[np.float32]) -> NDArray[np.float32]:
    """Dn of each training row, the mental reward patched to the data once (MTRec Algorithm 2).

    Args:
        rewards: r*(s, skip) and r*(s, click) of each training row, shape [n, 2].

    Raises:
        ConfigError: If the rewards do not tell a click from a skip anywhere.
    """
    scale = float(np.std(rewards[:, 1] - rewards[:, 0]))
    if not scale > 0:
        raise ConfigError(
            "the mental reward has the same difference on every row: there is nothing to align to"
        )
    return normalised_difference(torch.from_numpy(rewards), scale).numpy()


def predict(model: ClickModel, rows: Rows) -> NDArray[np.float32]:
    """Click probabilities of all rows, shape [n]."""
    return _probabilities(model, rows, torch.arange(len(rows), device=rows.users.device)).cpu().numpy()


@torch.no_grad()
def _probabilities(model: ClickModel, rows: Rows, index: Tensor) -> Tensor:
    model.eval()
    logits = [model(rows.batch(part))[0] for part in torch.split(index, EVALUATION_BATCH)]
    return torch.sigmoid(torch.cat(logits))


def backbone_config(data: ClickDataset, config: CTRConfig) -> BackboneConfig:
    """The backbone's sizes: tables from the data, the rest from the settings."""
    return BackboneConfig(
        num_users=data.num_users,
        num_items=data.num_items,
        num_categories=data.num_categories,
        max_history=int(data.settings["max_history"]),
        embedding_size=config.embedding_size,
        hidden_sizes=config.hidden_sizes,
        user_field=config.user_field,
    )
