"""Click models as graphs from (user, history, item) to the probability of a click, with their vocabulary."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rec_rl.checkpoint import CHECKPOINTS, last_checkpoint, load_state
from rec_rl.data.catalogue import load_log
from rec_rl.data.interactions import Interactions, Vocabulary
from rec_rl.data.splits import ClickDataset, Impressions, split_log
from rec_rl.data.tables import ColumnMap
from rec_rl.errors import CheckpointError, ConfigError, DatasetError
from rec_rl.experiments.ctr_rewards import states_of
from rec_rl.experiments.ctr_run import REWARD_FOLDER, CTRRunSpec
from rec_rl.experiments.ctr_training import CTRConfig, backbone_config
from rec_rl.experiments.records import read_record
from rec_rl.experiments.single_run import read_config
from rec_rl.export.contents import Contents
from rec_rl.export.graphs import PARITY_ROWS, GraphSpec
from rec_rl.export.padded_history import EXPORTED_MODELS, PaddedClickModel
from rec_rl.export.rewards import backbone_reward
from rec_rl.models import ClickModel, build_backbone
from rec_rl.models.batches import Rows
from rec_rl.models.state_body import backbone_body
from rec_rl.rewards import MentalRewardModel
from rec_rl.runtime.artefact import CLICK_MODEL


def click_model(run: Path) -> Contents:
    """The click model of a run of ``rec-rl ctr train``, and its mental reward if it has one.

    Raises:
        ConfigError: If its backbone does not export.
        DatasetError: If the log is missing or is no longer the one that the run was trained on.
        CheckpointError: If the checkpoint is corrupt.
    """
    spec = _read_spec(run)
    if spec.training.model not in EXPORTED_MODELS:
        raise ConfigError(
            f"the backbone {spec.training.model} does not export; these do: {', '.join(EXPORTED_MODELS)}"
        )
    log = load_log(Path(spec.data), ColumnMap.parse(spec.mapping) if spec.mapping else None)
    data = split_log(log, seed=spec.seed)
    if (trained_on := read_record(run / "record.json")["data_hash"]) != data.content_hash:
        raise DatasetError(
            f"{spec.data} must be the log that {run} was trained on, of hash {trained_on[:12]}..., "
            f"got {data.content_hash[:12]}..."
        )
    rows = data.test.rows(np.arange(PARITY_ROWS) % len(data.test))
    graphs = {"click_model": _click_graph(spec, run, data, rows)}
    if (run / REWARD_FOLDER).is_dir():
        graphs["reward"] = _reward_graph(spec.training, run, data, rows)
    named_user = spec.training.user_field
    most = int(data.settings["max_history"])
    user: dict[str, Any] = {"type": "id", "required": False, "meaning": "who asks; unknown ids are allowed"}
    return Contents(
        kind=CLICK_MODEL,
        what=f"{spec.training.model} click model",
        graphs=graphs,
        features=({"user": user} if named_user else {})
        | {
            "history": {
                "type": "list of item ids",
                "most": most,
                "required": True,
                "meaning": f"what the user acted on, oldest first; the last {most} count; may be empty",
            }
        },
        normalisation="ids become codes 1, 2, ... in the order of items.npz; the graphs take codes",
        unknown_ids="an item that items.npz does not hold is left out of the history and never recommended; "
        + ("an unknown user has code 0" if named_user else "the user's id is no input, and none is stored"),
        intended_use=("Ranking the items of its own catalogue for a user, by the probability of a click.",),
        limits=(
            "Probabilities are of the log's own exposures; with sampled negatives only their order counts.",
            "Every item of the catalogue is scored for every question: cost grows with the catalogue.",
        ),
        items=_items(log, data, named_user),
    )


def _read_spec(run: Path) -> CTRRunSpec:
    values = read_config(run)
    try:
        training = {**values["training"], "hidden_sizes": tuple(values["training"]["hidden_sizes"])}
        return CTRRunSpec(**{**values, "training": CTRConfig(**training)})
    except (KeyError, TypeError) as error:
        raise DatasetError(f"{run} is not the folder of a run of click models: {error}") from error


def _click_graph(spec: CTRRunSpec, run: Path, data: ClickDataset, rows: Impressions) -> GraphSpec:
    model = ClickModel(build_backbone(spec.training.model, backbone_config(data, spec.training)))
    checkpoint = last_checkpoint(run / CHECKPOINTS / spec.main_arm)
    if checkpoint is None:
        raise CheckpointError(f"{run} holds no checkpoint of its click model")
    weights = load_state(checkpoint, "ctr")["best"]
    model.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
    model.eval().requires_grad_(False)
    packed = Rows.of(data, rows).batch(torch.arange(len(rows)))
    padded = PaddedClickModel(model)
    return GraphSpec(
        network=padded,
        function=padded.forward,
        inputs=_padded_inputs(data, rows),
        output="probabilities of a click [rows]",
        free_axes={"history_items": {1: "history"}, "history_categories": {1: "history"}},
        reference=lambda *_: torch.sigmoid(model(packed)[0]),
    )


def _padded_inputs(data: ClickDataset, rows: Impressions) -> dict[str, Tensor]:
    lengths = rows.ends - rows.starts
    column = np.arange(max(2, int(lengths.max())))
    at = np.minimum(rows.starts[:, None] + column, len(data.history) - 1)
    history = np.where(column < lengths[:, None], data.history[at], 0)
    categories = data.item_categories
    arrays = {
        "users": rows.users,
        "items": rows.items,
        "categories": categories[rows.items],
        "history_items": history,
        "history_categories": categories[history],
        "lengths": lengths,
    }
    return {name: torch.from_numpy(array.astype(np.int64)) for name, array in arrays.items()}


def _reward_graph(config: CTRConfig, run: Path, data: ClickDataset, rows: Impressions) -> GraphSpec:
    body = backbone_body(config.model, backbone_config(data, config), data.item_categories)
    model = MentalRewardModel.load(run / REWARD_FOLDER, body=body)
    return backbone_reward(model, torch.from_numpy(states_of(data, rows)))


def _items(log: Interactions, data: ClickDataset, named_user: bool) -> dict[str, NDArray[Any]]:
    """Ids in the order of their codes, and the category of every code, 0 included."""
    items = {"ids": _plain_ids(log.item_ids), "categories": data.item_categories}
    return items | ({"user_ids": _plain_ids(log.user_ids)} if named_user else {})


def _plain_ids(vocabulary: Vocabulary) -> NDArray[Any]:
    """Ids as whole numbers or text, which numpy stores without pickles."""
    ids = vocabulary.decode(np.arange(1, vocabulary.num_codes, dtype=np.int32))
    return ids.astype(np.int64) if ids.dtype.kind in "iu" else ids.astype(np.str_)
