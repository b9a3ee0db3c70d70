"""Training speed of click models against FuxiCTR as shipped; their quality is in `benchmarks.peers_ctr`."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.contest import Contest, Opponent, Side, Work

NUM_USERS, NUM_ITEMS, NUM_CATEGORIES = 5000, 12_000, 240
MAX_HISTORY = 100
SETTINGS: dict[str, Any] = {
    "embedding_size": 16,
    "hidden_sizes": [200, 80],
    "learning_rate": 1e-3,
    "batch_size": 1024,
}
BATCHES = 4
"""Minibatches in one call of a side."""


def click_rows() -> dict[str, Any]:
    """Clicks as in a log of reviews: five actions and up, nine in the mean, each with a sampled negative.

    Columns are those that `benchmarks.peers_ctr` writes for the peer's training part.
    """
    rng = np.random.default_rng(0)
    lengths = 5 + np.minimum(rng.lognormal(0.7, 1.2, NUM_USERS).astype(np.int64), 195)
    ends = lengths.cumsum()
    rows = np.concatenate([np.arange(end - n + 1, end) for n, end in zip(lengths, ends, strict=True)])
    starts = np.repeat(ends - lengths, lengths - 1)
    history = rng.integers(1, NUM_ITEMS, ends[-1])
    negatives = rng.integers(1, NUM_ITEMS, len(rows))
    return {
        "train_items": np.stack([history[rows], negatives], axis=1).ravel(),
        "train_clicks": np.tile([1, 0], len(rows)),
        "train_starts": np.repeat(np.maximum(starts, rows - MAX_HISTORY), 2),
        "train_ends": np.repeat(rows, 2),
        "history": history,
        "item_categories": np.append(0, rng.integers(1, NUM_CATEGORIES, NUM_ITEMS - 1)),
        "num_items": NUM_ITEMS,
        "num_categories": NUM_CATEGORIES,
    }


def ours(model: str) -> Work:
    """rec_rl's training step on minibatches of its rows."""
    from rec_rl.data.splits import ClickDataset, Impressions
    from rec_rl.experiments.ctr_training import CTRConfig, backbone_config, shuffle_histories, train_step
    from rec_rl.models import ClickModel, build_backbone
    from rec_rl.models.batches import Rows

    rows = click_rows()
    count = len(rows["train_items"])
    part = Impressions(
        users=np.zeros(count, np.int32),
        items=rows["train_items"].astype(np.int32),
        clicks=rows["train_clicks"].astype(np.int8),
        starts=rows["train_starts"],
        ends=rows["train_ends"],
        sources=np.zeros(count, np.int64),
    )
    data = ClickDataset(
        train=part,
        validation=part,
        test=part,
        history=rows["history"].astype(np.int32),
        item_categories=rows["item_categories"].astype(np.int32),
        num_users=1,
        num_items=NUM_ITEMS,
        num_categories=NUM_CATEGORIES,
        settings={"max_history": MAX_HISTORY},
        notes={},
    )
    config = CTRConfig(model=model)
    network = ClickModel(build_backbone(model, backbone_config(data, config)))
    optimizer = torch.optim.Adam(network.parameters(), lr=config.learning_rate, fused=True)
    table = Rows.of(data, part)
    order = torch.from_numpy(shuffle_histories(part, np.random.default_rng(0)))
    return over_batches(
        count,
        lambda index: train_step(network, optimizer, table.batch(order[index]), table.clicks[order[index]]),
    )


def fuxictr(model: str) -> Work:
    """FuxiCTR's training step on the same rows, padded to the longest history of the minibatch."""
    from benchmarks.fuxictr_worker import Batches, build

    rows = click_rows()
    folder = tempfile.mkdtemp()
    network = build(model, rows, SETTINGS, Path(folder))
    network.train()
    network._batch_index, network._max_gradient_norm = 0, 10.0  # as its own loop sets them
    batches = Batches(rows, "train", model, batch_size=SETTINGS["batch_size"], shuffle=True)
    order = torch.randperm(len(rows["train_items"]))

    def step(index: torch.Tensor) -> None:
        chosen = {name: column[order[index]] for name, column in batches.columns.items()}
        network.train_step(batches.batch(chosen)).item()

    return over_batches(len(order), step)


def over_batches(count: int, step: Callable[[torch.Tensor], object]) -> Work:
    """Steps over minibatches of row numbers, from the first again after the last full one."""
    parts = torch.split(torch.arange(count), SETTINGS["batch_size"])[:-1]
    position = 0

    def work() -> float:
        nonlocal position
        for _ in range(BATCHES):
            step(parts[position % len(parts)])
            position += 1
        return float(BATCHES * SETTINGS["batch_size"])

    return work


def contest(model: str, words: str, bar: float) -> Contest:
    """One model."""
    return Contest(
        name=model,
        work=f"{words} training, batch 1024, histories of nine in the mean",
        unit="row",
        ours=Side(name="rec_rl", setup=ours, settings={"model": model}),
        opponents=(
            Opponent(
                side=Side(name="FuxiCTR", setup=fuxictr, settings={"model": model}, in_peers=True), bar=bar
            ),
        ),
    )


CONTESTS = (contest("din", "DIN", 4.0), contest("deepfm", "DeepFM", 1.3))
