"""Any backbone as the body of a mental reward model (MTRec A.3): states in one matrix, features out.

A state is (user, item shown, history), the input of a click model. As one float32 row it is the user's code,
the item's code and the last ``max_history`` items, oldest first, behind zeros.
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rec_rl.data.splits import ClickDataset, Impressions
from rec_rl.errors import ConfigError
from rec_rl.models import Backbone, BackboneConfig, build_backbone
from rec_rl.models.batches import Batch
from rec_rl.models.ragged import Ragged

MAX_CODE = 2**24  # float32 holds every integer up to here


def encode_states(data: ClickDataset, rows: Impressions, max_history: int) -> NDArray[np.float32]:
    """States of rows as a matrix, shape [n, 2 + max_history].

    Raises:
        ConfigError: If there are more users or items than a float32 can name.
    """
    if max(data.num_users, data.num_items) > MAX_CODE:
        raise ConfigError(
            f"codes must be below {MAX_CODE}, got {data.num_users} users, {data.num_items} items"
        )
    states = np.zeros((len(rows), 2 + max_history), np.float32)
    states[:, 0], states[:, 1] = rows.users, rows.items
    for place in range(1, max_history + 1):
        at = rows.ends - place
        present = at >= rows.starts
        states[present, -place] = data.history[at[present]]
    return states


def decode_states(states: Tensor, item_categories: Tensor) -> Batch:
    """The batch that rows of states stand for; zeros in the history are absent items."""
    codes = states.to(torch.int64)
    items, past = codes[:, 1], codes[:, 2:]
    present = past > 0
    history_items = past[present]
    return Batch(
        users=codes[:, 0],
        items=items,
        categories=item_categories.index_select(0, items),
        history_items=history_items,
        history_categories=item_categories.index_select(0, history_items),
        history=Ragged(present.sum(dim=1)),
    )


class StateBody(nn.Module):
    """A backbone that takes states [B, 2 + max_history] and gives features [B, width]."""

    def __init__(self, backbone: Backbone, item_categories: NDArray[np.int32]) -> None:
        super().__init__()
        self.backbone = backbone
        self.register_buffer("item_categories", torch.from_numpy(item_categories.astype(np.int64)))
        self.item_categories: Tensor

    def forward(self, states: Tensor) -> Tensor:
        features: Tensor = self.backbone(decode_states(states, self.item_categories))
        return features


def backbone_body(
    name: str, config: BackboneConfig, item_categories: NDArray[np.int32]
) -> Callable[[], tuple[nn.Module, int]]:
    """A builder of bodies, as ``rec_rl.rewards.fit_mental_reward(body=...)`` takes it.

    Args:
        name: A name in MODELS.
        config: The backbone's sizes.
        item_categories: Category code of each item code.
    """

    def build() -> tuple[nn.Module, int]:
        backbone = build_backbone(name, config)
        return StateBody(backbone, item_categories), backbone.width

    return build
