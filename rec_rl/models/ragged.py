"""Histories of unequal length, end to end and without padding, and the few operations models need on them."""

from collections.abc import Callable
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional


class TimeMajor(NamedTuple):
    """The elements of all sequences by position, longest sequence first: what a recurrence walks through.

    Attributes:
        order: Index of each element in the ragged order, shape [T].
        inverse: Index of each ragged element in this order, shape [T].
        batch_sizes: Sequences that are at least t + 1 long, for each position t.
    """

    order: Tensor
    inverse: Tensor
    batch_sizes: list[int]


class Ragged:
    """B sequences with T elements in all, kept as one [T, D] array in the order of the sequences.

    There is no padding: an absent element has no row, so that it can neither cost nor change anything.
    Sequences may be empty.
    """

    def __init__(self, lengths: Tensor) -> None:
        """Args: lengths: Elements of each sequence, int64, shape [B]."""
        self.lengths = lengths
        self.ends = lengths.cumsum(0)
        self.starts = self.ends - lengths
        self.num_elements = int(self.ends[-1]) if len(lengths) else 0

    @cached_property
    def rows(self) -> Tensor:
        """The sequence that each element belongs to, shape [T]."""
        index = torch.arange(len(self.lengths), device=self.lengths.device)
        return torch.repeat_interleave(index, self.lengths, output_size=self.num_elements)

    @cached_property
    def positions(self) -> Tensor:
        """Each element's place in its sequence, from 0, shape [T]."""
        index = torch.arange(self.num_elements, device=self.lengths.device)
        return index - self.starts.index_select(0, self.rows)

    @cached_property
    def ages(self) -> Tensor:
        """Each element's distance from the end of its sequence, the last has 0, shape [T]."""
        return self.lengths.index_select(0, self.rows) - 1 - self.positions

    def expand(self, per_sequence: Tensor) -> Tensor:
        """Repeats each sequence's row for its elements, [B, D] to [T, D]."""
        expanded: Tensor = _Expand.apply(per_sequence, self)  # type: ignore[no-untyped-call]
        return expanded

    def sum(self, elements: Tensor) -> Tensor:
        """Sum over each sequence, 0 where it is empty, [T, D] to [B, D]."""
        total: Tensor = _Sum.apply(elements, self)  # type: ignore[no-untyped-call]
        return total

    def mean(self, elements: Tensor) -> Tensor:
        """Mean over each sequence, 0 where it is empty, [T, D] to [B, D]."""
        return self.sum(elements) / self.lengths.clamp(min=1).unsqueeze(1)

    def last(self, elements: Tensor) -> Tensor:
        """The last element of each sequence, 0 where it is empty, [T, D] to [B, D]."""
        return self.sum(elements * (self.ages == 0).unsqueeze(1))

    def softmax(self, scores: Tensor) -> Tensor:
        """Softmax within each sequence, [T] to [T]."""
        with torch.no_grad():
            peaks = torch.segment_reduce(scores.detach(), "max", lengths=self.lengths)
        powers = (scores - peaks.index_select(0, self.rows)).exp().unsqueeze(1)
        return (powers / self.expand(self.sum(powers))).squeeze(1)

    def shift(self, elements: Tensor, offset: int) -> Tensor:
        """The element ``offset`` places earlier in its sequence, or later if < 0; 0 where there is none."""
        places = self.positions - offset
        inside = (places >= 0) & (places < self.lengths.index_select(0, self.rows))
        index = torch.arange(self.num_elements, device=elements.device) - offset
        return elements.index_select(0, index.clamp(0, self.num_elements - 1)) * inside.unsqueeze(1)

    def apply_padded(self, function: Callable[[Tensor, Tensor], Tensor], elements: Tensor) -> Tensor:
        """Applies a function of (padded [b, L, D], present [b, L]) by like lengths, [T, D] to [T, E], T >= 1.

        Groups double in length, so that at most half of a group is padding. Padding repeats an element of the
        same sequence; what the function returns there is dropped.
        """
        outputs, places = [], []
        low, high, longest = 0, 8, int(self.lengths.max())
        while low < longest:
            chosen = ((self.lengths > low) & (self.lengths <= high)).nonzero().squeeze(1)
            low, high = high, high * 2
            if len(chosen) == 0:
                continue
            lengths = self.lengths[chosen].unsqueeze(1)
            column = torch.arange(int(lengths.max()), device=elements.device).unsqueeze(0)
            present = column < lengths
            index = self.starts[chosen].unsqueeze(1) + torch.minimum(column, lengths - 1)
            padded = elements.index_select(0, index.flatten()).view(*index.shape, -1)
            outputs.append(function(padded, present)[present])
            places.append(index[present])
        return torch.cat(outputs).index_select(0, torch.argsort(torch.cat(places)))

    @cached_property
    def time_major(self) -> TimeMajor:
        """The layout of a recurrence."""
        num_sequences = len(self.lengths)
        rank = torch.empty_like(self.lengths)
        rank[torch.argsort(self.lengths, descending=True, stable=True)] = torch.arange(
            num_sequences, device=rank.device
        )
        order = torch.argsort(self.positions * num_sequences + rank.index_select(0, self.rows))
        inverse = torch.empty_like(order)
        inverse[order] = torch.arange(self.num_elements, device=order.device)
        return TimeMajor(order, inverse, torch.bincount(self.positions).tolist())


def lookup(table: Tensor, ids: Tensor) -> Tensor:
    """Rows of a table, [V, D] and [n] to [n, D]; on a CPU its gradient costs a fifth of nn.Embedding's."""
    return table.index_select(0, ids)


def _sum(elements: Tensor, ragged: Ragged) -> Tensor:
    if ragged.num_elements == 0:
        return elements.new_zeros(len(ragged.lengths), elements.shape[1])
    index = torch.arange(ragged.num_elements, device=elements.device)
    return functional.embedding_bag(index, elements, ragged.starts, mode="sum")


class _Sum(torch.autograd.Function):
    """Segment sum by the embedding-bag kernel, far faster than index_add; the adjoint of _Expand."""

    @staticmethod
    def forward(ctx: Any, elements: Tensor, ragged: Ragged) -> Tensor:
        ctx.ragged = ragged
        return _sum(elements, ragged)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0].index_select(0, ctx.ragged.rows), None


class _Expand(torch.autograd.Function):
    """Repetition per element; the adjoint of _Sum."""

    @staticmethod
    def forward(ctx: Any, per_sequence: Tensor, ragged: Ragged) -> Tensor:
        ctx.ragged = ragged
        return per_sequence.index_select(0, ragged.rows)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return _sum(gradients[0], ctx.ragged), None
