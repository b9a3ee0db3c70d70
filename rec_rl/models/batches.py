"""Rows of a click data set as tensors, on the device where the model is."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rec_rl.data.splits import ClickDataset, Impressions
from rec_rl.models.ragged import Ragged


class Batch(NamedTuple):
    """What a backbone sees of B rows: the state (history, item shown) of MTRec.

    Attributes:
        users, items, categories: Codes, int64, shape [B].
        history_items, history_categories: Codes of all histories end to end, oldest first, int64, shape [T].
        history: Which of them belong to which row.
    """

    users: Tensor
    items: Tensor
    categories: Tensor
    history_items: Tensor
    history_categories: Tensor
    history: Ragged


@dataclass(frozen=True)
class Rows:
    """Impressions on a device, ready to be cut into batches. Columns as in ``Impressions``, shape [n]."""

    users: Tensor
    items: Tensor
    clicks: Tensor
    starts: Tensor
    ends: Tensor
    history: Tensor
    item_categories: Tensor

    @classmethod
    def of(cls, data: ClickDataset, part: Impressions, device: torch.device | str = "cpu") -> "Rows":
        """The rows of one part of a data set."""

        def tensor(array: NDArray[np.generic], dtype: torch.dtype) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(array)).to(device=device, dtype=dtype)

        return cls(
            users=tensor(part.users, torch.int64),
            items=tensor(part.items, torch.int64),
            clicks=tensor(part.clicks, torch.float32),
            starts=tensor(part.starts, torch.int64),
            ends=tensor(part.ends, torch.int64),
            history=tensor(data.history, torch.int64),
            item_categories=tensor(data.item_categories, torch.int64),
        )

    def __len__(self) -> int:
        return len(self.users)

    def batch(self, index: Tensor) -> Batch:
        """The rows at ``index``, shape [B]."""
        starts = self.starts.index_select(0, index)
        ragged = Ragged(self.ends.index_select(0, index) - starts)
        history_items = self.history.index_select(0, starts.index_select(0, ragged.rows) + ragged.positions)
        items = self.items.index_select(0, index)
        return Batch(
            users=self.users.index_select(0, index),
            items=items,
            categories=self.item_categories.index_select(0, items),
            history_items=history_items,
            history_categories=self.item_categories.index_select(0, history_items),
            history=ragged,
        )
