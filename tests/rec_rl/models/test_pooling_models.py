"""One forward of each model that pools the history, by hand: vectors of one number, layers of one unit.

Row: user 1, item 2 of category 1, history of items 1 and 2 of categories 2 and 1.
"""

import pytest
import torch

from rec_rl.models import BackboneConfig, build_backbone
from rec_rl.models.batches import Batch
from rec_rl.models.dcn import CrossLayer
from rec_rl.models.deepfm import pairwise_interactions
from rec_rl.models.pnn import inner_products
from rec_rl.models.ragged import Ragged

BATCH = Batch(
    users=torch.tensor([1]),
    items=torch.tensor([2]),
    categories=torch.tensor([1]),
    history_items=torch.tensor([1, 2]),
    history_categories=torch.tensor([2, 1]),
    history=Ragged(torch.tensor([2])),
)
USER, ITEM, CATEGORY = [[0.0], [2.0]], [[0.0], [1.0], [3.0]], [[0.0], [-1.0], [2.0]]
# fields: user 2, item 3, category -1, mean past item (1 + 3) / 2 = 2, mean past category (2 - 1) / 2 = .5
FIELDS = torch.tensor([2.0, 3.0, -1.0, 2.0, 0.5])


def tiny(name):
    """A backbone with the vectors above, whose other weights are 1 and biases 0."""
    config = BackboneConfig(
        num_users=2, num_items=3, num_categories=3, embedding_size=1, hidden_sizes=(1,), user_field=True
    )
    backbone = build_backbone(name, config)
    for parameter_name, parameter in backbone.named_parameters():
        parameter.data.fill_(0.0 if parameter_name.endswith("bias") else 1.0)
    embeddings = backbone.embeddings if name == "din" else backbone.fields.embeddings
    for table, values in ((embeddings.user, USER), (embeddings.item, ITEM), (embeddings.category, CATEGORY)):
        table.data.copy_(torch.tensor(values))
    return backbone


def test_pooled_fields():
    assert tiny("pnn").fields(BATCH).flatten().tolist() == FIELDS.tolist()


def test_wide_deep_by_hand():
    backbone = tiny("wide_deep")
    backbone.wide.past_item.data.copy_(torch.tensor([[0.0], [5.0], [9.0]]))
    # wide: 1 + 1 + 1 of the item shown, mean past (5 + 1 + 9 + 1) / 2 = 8; deep: 2 + 3 - 1 + 2 + .5
    assert backbone(BATCH).tolist() == [[11.0, 6.5]]


def test_deepfm_by_hand():
    # pairs: (6.5^2 - (4 + 9 + 1 + 4 + .25)) / 2 = 12; linear: 3 + mean past (2 + 2) / 2 = 5
    assert tiny("deepfm")(BATCH).tolist() == [[17.0, 6.5]]


def test_pnn_by_hand():
    # the fields' sum 6.5 and the sum of their pairs 12
    assert tiny("pnn")(BATCH).tolist() == [[18.5]]


def test_dcn_by_hand():
    # a layer gives x0 (x . 1) + x; sums: 6.5, 6.5 * 6.5 + 6.5 = 48.75, and so on: x_l = 7.5^l x0
    expected = torch.cat([FIELDS * 7.5**3, torch.tensor([6.5])])
    torch.testing.assert_close(tiny("dcn")(BATCH)[0], expected)


def test_din_by_hand():
    backbone = tiny("din")
    hidden = backbone.activation_unit.hidden
    hidden.weight.data.zero_()
    # parts of W: v (2 numbers), e, v - e, v * e; v = (3, -1), e_1 = (1, 2), e_2 = (3, -1)
    hidden.weight.data[0] = torch.tensor([0.1, 0.0, 0.0, 1.0, 0.5, 0.0, 0.0, 1.0])
    # u_1 = .3 + 2 + .5 (3 - 1) - 1 * 2 = 1.3;  u_2 = .3 - 1 + 0 + 1 = .3
    backbone.activation_unit.output.weight.data.zero_()[0, 0] = 1.0
    weights = backbone.activation_unit(
        torch.tensor([[3.0, -1.0]]), torch.tensor([[1.0, 2.0], [3.0, -1.0]]), BATCH.history
    )
    torch.testing.assert_close(weights, torch.tensor([[1.3], [0.3]]))
    # interest: 1.3 (1, 2) + .3 (3, -1) = (2.2, 2.3); deep: 2 + 3 - 1 + 2.2 + 2.3
    torch.testing.assert_close(backbone(BATCH), torch.tensor([[8.5]]))


def test_pairwise_interactions_are_the_sum_of_inner_products():
    fields = torch.randn(3, 4, 2)
    torch.testing.assert_close(pairwise_interactions(fields), inner_products(fields).sum(1, keepdim=True))


def test_inner_products_come_in_the_order_of_rows():
    fields = torch.tensor([[[1.0, 0.0], [2.0, 1.0], [0.0, 3.0]]])
    assert inner_products(fields).tolist() == [[2.0, 0.0, 3.0]]  # 12, 13, 23


def test_cross_layer_by_hand():
    layer = CrossLayer(2)
    layer.project.weight.data.copy_(torch.tensor([[0.5, -1.0]]))
    layer.bias.data.copy_(torch.tensor([0.1, 0.2]))
    # x . w = .5 * 4 - 1 = 1; x0 + b + x
    out = layer(torch.tensor([[1.0, 2.0]]), torch.tensor([[4.0, 1.0]]))
    torch.testing.assert_close(out, torch.tensor([[5.1, 3.2]]))


def test_activation_unit_equals_its_definition():
    torch.manual_seed(0)
    unit = build_backbone("din", BackboneConfig(num_users=2, num_items=3, num_categories=3)).activation_unit
    history = Ragged(torch.tensor([2, 1]))
    shown, past = torch.randn(2, 32), torch.randn(3, 32)
    v = shown[history.rows]
    expected = unit.output(unit.activation(unit.hidden(torch.cat([v, past, v - past, v * past], dim=1))))
    torch.testing.assert_close(unit(shown, past, history), expected)


@pytest.mark.parametrize("name", ["wide_deep", "deepfm"])
def test_the_linear_part_of_the_history_is_not_that_of_the_item_shown(name):
    backbone = tiny(name)
    linear = backbone.wide if name == "wide_deep" else backbone.linear
    linear.shown.item.data.fill_(7.0)
    assert linear(BATCH).tolist() == [[1 + 7 + 1 + 2.0]]
