"""Trains one FuxiCTR model on rows that `benchmarks.peers_ctr` wrote and predicts the test rows.

Runs in FuxiCTR's own environment and imports nothing of rec_rl:

    python fuxictr_worker.py ROWS.npz PREDICTIONS.npz MODEL SEED

The package ships DIN among its models for long histories. It ships no DeepFM, only its parts: they are put
together here as in its paper. Dice and the attention's size in DIN are FuxiCTR's defaults; embeddings, deep
layers, rate, batch and stopping are those of rec_rl.
"""

import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fuxictr.features import FeatureMap
from fuxictr.pytorch.layers import FactorizationMachine, FeatureEmbedding, MLP_Block
from fuxictr.pytorch.models import BaseModel
from fuxictr.pytorch.torch_utils import seed_everything
from model_zoo.LongCTR.DIN.DIN import DIN

LABEL, PAST = "label", "past_"
FIELDS = ("item", "category")


class DeepFM(BaseModel):
    """Factorisation machine and deep part on shared embeddings (Guo et al. 2017)."""

    def __init__(self, feature_map: FeatureMap, settings: dict[str, Any], **run: Any) -> None:
        super().__init__(feature_map, **run)
        self.embedding_layer = FeatureEmbedding(feature_map, settings["embedding_size"])
        self.fm = FactorizationMachine(feature_map)
        self.mlp = MLP_Block(
            input_dim=feature_map.sum_emb_out_dim(),
            output_dim=1,
            hidden_units=list(settings["hidden_sizes"]),
            hidden_activations="ReLU",
        )
        self.compile("adam", "binary_crossentropy", settings["learning_rate"])
        self.reset_parameters()
        # Fields that share a table in the deep part start the linear part at N(0, 1): a defect.
        for module in self.fm.lr_layer.modules():
            if isinstance(module, torch.nn.Embedding):
                torch.nn.init.normal_(module.weight[1:], std=1e-4)

    def forward(self, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        fields = self.get_inputs(inputs)
        embedded = self.embedding_layer(fields)
        logit = self.fm(fields, embedded) + self.mlp(embedded.flatten(start_dim=1))
        return {"y_pred": self.output_activation(logit)}


class Batches:
    """Rows of one part in batches; histories padded in front to the longest of the batch."""

    def __init__(
        self, rows: dict[str, Any], part: str, model: str, *, batch_size: int, shuffle: bool
    ) -> None:
        names = ("items", "clicks", "starts", "ends")
        self.columns = {n: torch.from_numpy(rows[f"{part}_{n}"].astype(np.int64)) for n in names}
        self.history = torch.from_numpy(rows["history"].astype(np.int64))
        self.item_categories = torch.from_numpy(rows["item_categories"].astype(np.int64))
        self.model, self.batch_size, self.shuffle = model, batch_size, shuffle

    def __len__(self) -> int:
        return -(-len(self.columns["items"]) // self.batch_size)

    def __iter__(self) -> Iterator[Any]:
        num_rows = len(self.columns["items"])
        order = torch.randperm(num_rows) if self.shuffle else torch.arange(num_rows)
        for index in order.split(self.batch_size):
            yield self.batch({name: column[index] for name, column in self.columns.items()})

    def batch(self, rows: dict[str, torch.Tensor]) -> Any:
        """A batch as the model takes it: DIN has its own form."""
        length = int((rows["ends"] - rows["starts"]).max())
        at = rows["ends"][:, None] - length + torch.arange(length)
        present = at >= rows["starts"][:, None]
        past = torch.where(present, self.history[at.clamp(min=0)], 0)
        items = rows["items"]
        if self.model == "din":
            shown = torch.cat([past, items[:, None]], dim=1).flatten()
            return (
                {LABEL: rows["clicks"]},
                {"item": shown, "category": self.item_categories[shown]},
                present.float(),
            )
        return {
            LABEL: rows["clicks"],
            "item": items,
            "category": self.item_categories[items],
            f"{PAST}item": past,
            f"{PAST}category": self.item_categories[past],
        }


def build(model: str, rows: dict[str, Any], settings: dict[str, Any], folder: Path) -> BaseModel:
    """The model, with as many fields as it uses."""
    sizes = {"item": int(rows["num_items"]), "category": int(rows["num_categories"])}
    features = FeatureMap("rows", str(folder))
    features.labels, features.default_emb_dim = [LABEL], settings["embedding_size"]
    for field in FIELDS:
        spec = {"type": "categorical", "source": "item", "vocab_size": sizes[field], "padding_idx": 0}
        features.features[field] = spec
    if model == "deepfm":
        for field in FIELDS:
            features.features[PAST + field] = features.features[field] | {
                "type": "sequence",
                "source": "",
                "share_embedding": field,
                "feature_encoder": "layers.MaskedAveragePooling()",
            }
    features.num_fields = features.get_num_fields()
    (folder / "rows").mkdir()
    run = {
        "gpu": -1,
        "early_stop_patience": 1,
        "reduce_lr_on_plateau": False,
        "verbose": 0,
        "model_root": str(folder),
        "metrics": ["AUC"],
    }
    if model == "deepfm":
        return DeepFM(features, settings, **run)
    return DIN(
        features,
        dnn_hidden_units=list(settings["hidden_sizes"]),
        learning_rate=settings["learning_rate"],
        embedding_dim=settings["embedding_size"],
        optimizer="adam",
        loss="binary_crossentropy",
        **run,
    )


def main(rows_path: str, out_path: str, model: str, seed: str) -> None:
    """Trains, predicts every draw of the test and writes the predictions whole or not at all."""
    torch.set_num_threads(1)
    with np.load(rows_path) as stored:
        rows = dict(stored)
    settings = json.loads(str(rows["settings"]))
    seed_everything(int(seed))
    batch_size = settings["batch_size"]

    def batches(part: str, shuffle: bool = False) -> Batches:
        return Batches(rows, part, model, batch_size=batch_size, shuffle=shuffle)

    with tempfile.TemporaryDirectory() as folder:
        network = build(model, rows, settings, Path(folder))
        started = time.process_time()
        network.fit(
            batches("train", shuffle=True),
            epochs=settings["max_epochs"],
            validation_data=batches("validation"),
        )
        seconds = time.process_time() - started
    draws = range(int(rows["num_draws"]))
    predicted = {f"draw_{i}": network.predict(batches(f"test{i}")) for i in draws}
    temporary = f"{out_path}.tmp.npz"
    np.savez(temporary, cpu_seconds=seconds, epochs=network._epoch_index + 1, **predicted)
    os.replace(temporary, out_path)


if __name__ == "__main__":
    main(*sys.argv[1:])
