"""The parts of the sequence models against their definitions, written without any batching."""

import math

import pytest
import torch
from torch.nn import functional

from rec_rl.models.dien import AttentionalGRU, next_item_loss
from rec_rl.models.linrec import linear_attention
from rec_rl.models.mamba import Mamba, selective_scan
from rec_rl.models.ragged import Ragged
from rec_rl.models.sasrec import causal_attention
from rec_rl.models.sequence_backbone import TransformerEncoder
from rec_rl.models.sigma import GatedMamba, partial_flip


def test_causal_attention_by_hand():
    q = torch.tensor([[[1.0], [1.0]]])
    k = torch.tensor([[[5.0], [math.log(3.0) + 5.0]]])
    v = torch.tensor([[[2.0], [6.0]]])
    # the first sees itself; the second weighs 1 : 3
    out = causal_attention(q, k, v, torch.ones(1, 2, dtype=torch.bool))
    torch.testing.assert_close(out, torch.tensor([[[2.0], [5.0]]]))


def test_linear_attention_by_hand():
    # two heads of one dimension; rho_1 makes each query +-1, rho_2 the keys a unit vector over the sequence
    q = torch.tensor([[[2.0, -1.0], [5.0, 3.0]]])
    k = torch.tensor([[[3.0, 1.0], [4.0, 0.0]]])
    v = torch.tensor([[[1.0, 7.0], [2.0, 9.0]]])
    # head 1: .6 * 1 + .8 * 2 = 2.2; head 2: 1 * 7, with the sign of elu(q) = -, +
    out = linear_attention(q, k, v, torch.ones(1, 2, dtype=torch.bool))
    torch.testing.assert_close(out, torch.tensor([[[2.2, -7.0], [2.2, 7.0]]]))


def test_linear_attention_ignores_what_is_absent():
    q, k, v = torch.randn(3, 1, 3, 4).unbind(0)
    present = torch.tensor([[True, True, False]])
    short = linear_attention(q[:, :2], k[:, :2], v[:, :2], present[:, :2])
    torch.testing.assert_close(linear_attention(q, k, v, present)[:, :2], short)


def test_transformer_block_by_its_definition():
    torch.manual_seed(0)
    encoder = TransformerEncoder(4, 5, [causal_attention])
    block = encoder.blocks[0]
    past = torch.randn(3, 4)
    x = past + encoder.positions[[2, 1, 0]]  # the last element has age 0
    q, k, v = (block.attention_norm(x) @ block.project.weight.t()).chunk(3, dim=1)
    scores = (q @ k.t() / 2).masked_fill(torch.ones(3, 3).triu(1).bool(), -torch.inf)
    x = x + scores.softmax(dim=1) @ v
    expected = encoder.norm(x + block.feed_forward(x))
    torch.testing.assert_close(encoder(past, Ragged(torch.tensor([3]))), expected)


def test_attentional_gru_by_hand():
    gru = AttentionalGRU(1)
    gru.inputs.weight.data.copy_(torch.tensor([[0.0], [0.0], [1.0]]))
    gru.inputs.bias.data.zero_()
    gru.state.weight.data.copy_(torch.tensor([[0.0], [0.0], [2.0]]))
    gru.state.bias.data.zero_()
    states = gru(torch.tensor([[1.0], [0.5]]), torch.tensor([0.8, 0.4]), Ragged(torch.tensor([2])))
    # both gates are .5: h_1 = .4 tanh(1); h_2 = .8 h_1 + .2 tanh(.5 + .5 * 2 h_1)
    h1 = 0.4 * math.tanh(1.0)
    h2 = 0.8 * h1 + 0.2 * math.tanh(0.5 + h1)
    torch.testing.assert_close(states, torch.tensor([[h1], [h2]]))


def test_attentional_gru_keeps_its_state_where_attention_is_zero():
    gru = AttentionalGRU(3)
    states = gru(torch.randn(3, 3), torch.tensor([0.7, 0.0, 0.0]), Ragged(torch.tensor([3])))
    torch.testing.assert_close(states[2], states[0])


def test_next_item_loss_by_hand(monkeypatch):
    monkeypatch.setattr(torch, "randint", lambda high, shape: torch.tensor([0]))
    interests = torch.tensor([[2.0], [9.0], [9.0]])
    past = torch.tensor([[-1.0], [1.5], [9.0]])
    # only the first of three elements has a next one: -log s(2 * 1.5) - log(1 - s(2 * -1))
    expected = math.log(1 + math.exp(-3)) + math.log(1 + math.exp(-2))
    loss = next_item_loss(interests, past, Ragged(torch.tensor([2, 1])))
    torch.testing.assert_close(loss, torch.tensor(expected))


def test_next_item_loss_is_zero_where_nothing_comes_next():
    assert next_item_loss(torch.randn(2, 1), torch.randn(2, 1), Ragged(torch.tensor([1, 1]))) == 0


def test_partial_flip_keeps_the_latest():
    flip = partial_flip(Ragged(torch.tensor([5, 2, 0, 3])), 2)
    assert flip.tolist() == [2, 1, 0, 3, 4, 5, 6, 7, 8, 9]
    assert flip[flip].tolist() == list(range(10))


def test_selective_scan_by_hand():
    # one channel, one state: h_1 = .5 * 2 * 3 = 3, h_2 = exp(-2) 3 + 1 * 4 * 1; y = h c
    out = selective_scan(
        torch.tensor([[2.0], [4.0]]),
        torch.tensor([[0.5], [1.0]]),
        torch.tensor([[-2.0]]),
        torch.tensor([[3.0], [1.0]]),
        torch.tensor([[1.0], [10.0]]),
        Ragged(torch.tensor([2])),
    )
    torch.testing.assert_close(out, torch.tensor([[3.0], [40 + 30 * math.exp(-2)]]))


def _scan_of_one(x, step, decay, b, c):
    """The recurrence as it is written, position by position; its gradient is autograd's."""
    h = torch.zeros_like(decay)
    outputs = []
    for x_t, step_t, b_t, c_t in zip(x, step, b, c, strict=True):
        h = torch.exp(step_t[:, None] * decay) * h + (step_t * x_t)[:, None] * b_t
        outputs.append(h @ c_t)
    return torch.stack(outputs)


@pytest.mark.parametrize("lengths", [[3, 0, 5, 1], [1, 1], [6]])
def test_selective_scan_and_its_gradients_are_those_of_the_recurrence(lengths):
    generator = torch.Generator().manual_seed(0)
    num_elements, width, states = sum(lengths), 3, 2

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_()

    x, b, c = draw(num_elements, width), draw(num_elements, states), draw(num_elements, states)
    step = draw(num_elements, width).detach().exp().requires_grad_()
    decay = (-draw(width, states).detach().exp()).requires_grad_()
    inputs, weights = (x, step, decay, b, c), draw(num_elements, width).detach()
    y = selective_scan(*inputs, Ragged(torch.tensor(lengths)))
    columns = zip(*(column.split(lengths) for column in (x, step, b, c)), strict=True)
    expected = torch.cat([_scan_of_one(u, v, decay, s, t) for u, v, s, t in columns if len(u)])
    torch.testing.assert_close(y, expected)
    for mine, autograds in zip(
        torch.autograd.grad((y * weights).sum(), inputs),
        torch.autograd.grad((expected * weights).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(mine, autograds)


@pytest.mark.parametrize("lengths", [[3, 5, 1], [7]])
def test_mamba_by_its_definition(lengths):
    torch.manual_seed(0)
    mamba = Mamba(4)
    elements = torch.randn(sum(lengths), 4)
    expected = torch.cat([_mamba_of_one(mamba, sequence) for sequence in elements.split(lengths)])
    torch.testing.assert_close(mamba(elements, Ragged(torch.tensor(lengths))), expected)


def _mamba_of_one(mamba, sequence):
    x, z = mamba.project_in(sequence).chunk(2, dim=1)
    padded = functional.pad(x, (0, 0, 3, 0))
    kernel = mamba.convolution.flip(0).t().unsqueeze(1)
    convolved = functional.conv1d(padded.t().unsqueeze(0), kernel, mamba.convolution_bias, groups=x.shape[1])
    x = functional.silu(convolved[0].t())
    h = torch.zeros(x.shape[1], 8)
    outputs = []
    for x_t in x:
        step, b, c = mamba.project_parameters(x_t).split([1, 8, 8])
        step = functional.softplus(mamba.project_step(step))
        h = torch.exp(-step[:, None] * mamba.log_decay.exp()) * h + (step * x_t)[:, None] * b
        outputs.append(h @ c + mamba.skip * x_t)
    return mamba.project_out(torch.stack(outputs) * functional.silu(z))


def test_mamba_starts_with_steps_between_a_thousandth_and_a_tenth():
    steps = functional.softplus(Mamba(16).project_step.bias)
    assert 1e-3 <= steps.min() < steps.max() <= 0.1001


def test_gated_mamba_reads_both_directions():
    torch.manual_seed(0)
    layer = GatedMamba(4)
    elements = torch.randn(8, 4)
    changed = elements.clone()
    changed[1] += 1.0
    difference = layer(elements, Ragged(torch.tensor([8]))) - layer(changed, Ragged(torch.tensor([8])))
    assert (difference.abs().amax(dim=1) > 0).all()  # the first element too, through the flipped copy
