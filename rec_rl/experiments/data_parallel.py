"""One process's part of a training run that several share, row by row (PyTorch's DistributedDataParallel)."""

from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel


@dataclass(frozen=True, kw_only=True)
class Shard:
    """Every ``num_workers``-th row of each batch, from ``rank`` on; one worker has them all.

    With more workers than one, torch's process group must be up.
    """

    rank: int = 0
    num_workers: int = 1

    def share_model(self, model: nn.Module) -> nn.Module:
        """The model with gradients averaged over the workers after each backward pass.

        Its weights start as those of rank 0. A batch without any history leaves an encoder without gradients,
        hence the search for parameters that were not used.
        """
        if self.num_workers == 1:
            return model
        return DistributedDataParallel(model, find_unused_parameters=True)

    def rows(self, index: Tensor) -> tuple[Tensor, float]:
        """This worker's part of a global batch [B], and the weight that its mean loss must have.

        The average over workers of weight * mean loss is the mean loss of the global batch. A worker that has
        no row of a small batch takes the first one, at weight 0.
        """
        if self.num_workers == 1:
            return index, 1.0
        own = index[self.rank :: self.num_workers]
        if len(own) == 0:
            return index[:1], 0.0
        return own, len(own) * self.num_workers / len(index)

    def mean(self, value: float, device: torch.device) -> float:
        """The mean of the workers' values."""
        if self.num_workers == 1:
            return value
        total = torch.tensor([value], dtype=torch.float64, device=device)
        distributed.all_reduce(total)
        return total.item() / self.num_workers

    def gather(self, own: Tensor, num_rows: int) -> Tensor:
        """All rows' values [n] from each worker's ``own``, which are those of its `rows` of arange(n)."""
        if self.num_workers == 1:
            return own
        values = own.new_zeros(num_rows)
        values[self.rank :: self.num_workers] = own
        distributed.all_reduce(values)
        return values
