"""Rows of a click data set as tensors, on the device where the model is."""

from collections.abc import Callable
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
        history_keys: Rows next to each other with the same key have the same history, int64, shape [B]; None
            if no row is known to share its own.
    """

    users: Tensor
    items: Tensor
    categories: Tensor
    history_items: Tensor
    history_categories: Tensor
    history: Ragged
    history_keys: Tensor | None = None

    def once_per_history(self, function: Callable[["Batch"], Tensor]) -> Tensor:
        """``function`` of all rows, [B, D], where it depends on their histories alone.

        Neighbours with the same history share one call of it: an action and the negative drawn for it do.
        """
        if self.history_keys is None:
            return function(self)
        is_first = torch.ones_like(self.history_keys, dtype=torch.bool)
        is_first[1:] = self.history_keys[1:] != self.history_keys[:-1]
        kept = is_first.index_select(0, self.history.rows)
        firsts = Batch(
            users=self.users[is_first],
            items=self.items[is_first],
            categories=self.categories[is_first],
            history_items=self.history_items[kept],
            history_categories=self.history_categories[kept],
            history=Ragged(self.history.lengths[is_first]),
        )
        return function(firsts).index_select(0, is_first.cumsum(0) - 1)


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
        starts, ends = self.starts.index_select(0, index), self.ends.index_select(0, index)
        ragged = Ragged(ends - starts)
        history_items = self.history.index_select(0, starts.index_select(0, ragged.rows) + ragged.positions)
        items = self.items.index_select(0, index)
        return Batch(
            users=self.users.index_select(0, index),
            items=items,
            categories=self.item_categories.index_select(0, items),
            history_items=history_items,
            history_categories=self.item_categories.index_select(0, history_items),
            history=ragged,
            history_keys=starts * (len(self.history) + 1) + ends,
        )
