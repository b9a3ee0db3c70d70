import pytest
import torch

from rec_rl.models.ragged import Ragged, lookup


@pytest.fixture
def ragged():
    return Ragged(torch.tensor([2, 0, 3]))


def test_ragged_places_its_elements(ragged):
    assert ragged.rows.tolist() == [0, 0, 2, 2, 2]
    assert ragged.positions.tolist() == [0, 1, 0, 1, 2]
    assert ragged.ages.tolist() == [1, 0, 2, 1, 0]


def test_sum_mean_and_last_give_zero_for_an_empty_sequence(ragged):
    elements = torch.tensor([[1.0], [2.0], [3.0], [4.0], [8.0]])
    assert ragged.sum(elements).tolist() == [[3.0], [0.0], [15.0]]
    assert ragged.mean(elements).tolist() == [[1.5], [0.0], [5.0]]
    assert ragged.last(elements).tolist() == [[2.0], [0.0], [8.0]]


def test_sum_and_expand_are_each_others_gradient(ragged):
    elements = torch.randn(5, 2, dtype=torch.float64, requires_grad=True)
    per_sequence = torch.randn(3, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(ragged.sum, elements)
    assert torch.autograd.gradcheck(ragged.expand, per_sequence)


def test_softmax_sums_to_one_within_each_sequence_at_any_scale(ragged):
    shares = ragged.softmax(torch.tensor([0.0, 3.0**0.5, 500.0, 500.0, -500.0]))
    # 1 / (1 + e^1.732) = .1503
    torch.testing.assert_close(shares, torch.tensor([0.1503, 0.8497, 0.5, 0.5, 0.0]), atol=1e-4, rtol=0)


def test_shift_stays_within_the_sequence(ragged):
    elements = torch.tensor([[1.0], [2.0], [3.0], [4.0], [5.0]])
    assert ragged.shift(elements, 1).flatten().tolist() == [0, 1, 0, 3, 4]
    assert ragged.shift(elements, -1).flatten().tolist() == [2, 0, 4, 5, 0]


def test_apply_padded_returns_elements_to_their_places():
    ragged = Ragged(torch.tensor([1, 20, 0, 3, 9]))
    elements = torch.arange(33.0).unsqueeze(1)
    seen = []

    def add_row_sum(padded, present):
        seen.append(tuple(padded.shape[:2]))
        return padded + (padded * present.unsqueeze(2)).sum(dim=1, keepdim=True)

    out = ragged.apply_padded(add_row_sum, elements)
    torch.testing.assert_close(out, elements + ragged.expand(ragged.sum(elements)))
    assert seen == [(2, 3), (1, 9), (1, 20)]


def test_time_major_walks_all_sequences_side_by_side(ragged):
    order, inverse, batch_sizes = ragged.time_major
    assert batch_sizes == [2, 2, 1]
    assert order.tolist() == [2, 0, 3, 1, 4]  # the longer sequence first
    assert order[inverse].tolist() == [0, 1, 2, 3, 4]


def test_lookup_has_the_gradient_of_an_embedding():
    table = torch.randn(5, 3, requires_grad=True)
    ids = torch.tensor([1, 4, 1])
    weights = torch.randn(3, 3)
    (ours,) = torch.autograd.grad((lookup(table, ids) * weights).sum(), table)
    (theirs,) = torch.autograd.grad((torch.nn.functional.embedding(ids, table) * weights).sum(), table)
    torch.testing.assert_close(ours, theirs)
