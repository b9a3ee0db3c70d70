"""What holds for every backbone."""

import numpy as np
import pytest
import torch

from rec_rl.errors import ConfigError
from rec_rl.models import MODELS, BackboneConfig, ClickModel, build_backbone
from rec_rl.models.batches import Batch
from rec_rl.models.ragged import Ragged

CONFIG = BackboneConfig(
    num_users=4,
    num_items=9,
    num_categories=3,
    embedding_size=4,
    hidden_sizes=(6, 5),
    user_field=True,
    max_history=12,
)
CATEGORIES = torch.tensor([0, 1, 2, 1, 2, 1, 2, 1, 2])


def batch_of(rows):
    """Rows of (user, item, history)."""
    users, items, histories = zip(*rows, strict=True)
    past = torch.tensor([item for history in histories for item in history], dtype=torch.int64)
    items = torch.tensor(items)
    return Batch(
        users=torch.tensor(users),
        items=items,
        categories=CATEGORIES[items],
        history_items=past,
        history_categories=CATEGORIES[past],
        history=Ragged(torch.tensor([len(history) for history in histories])),
    )


ROWS = [(1, 3, [1, 2, 5]), (2, 4, []), (3, 8, [7]), (1, 1, [6, 3, 6, 2, 8, 1, 4, 5, 7, 2])]


def model_of(name, **changes):
    torch.manual_seed(0)
    config = BackboneConfig(**{**CONFIG.__dict__, **changes})
    backbone = build_backbone(name, config)
    for parameter in backbone.parameters():
        if parameter.abs().max() < 1e-3:  # tiny initial vectors make all rows look alike
            torch.nn.init.normal_(parameter, std=0.5)
    return backbone.eval()


@pytest.mark.parametrize("name", MODELS)
def test_features_have_the_declared_width(name):
    backbone = model_of(name)
    assert backbone(batch_of(ROWS)).shape == (4, backbone.width)


@pytest.mark.parametrize("name", MODELS)
def test_a_row_does_not_depend_on_the_rest_of_its_batch(name):
    backbone = model_of(name)
    together = backbone(batch_of(ROWS))
    alone = torch.cat([backbone(batch_of([row])) for row in ROWS])
    torch.testing.assert_close(together, alone)


@pytest.mark.parametrize("name", MODELS)
def test_rows_that_share_their_history_are_read_as_if_they_did_not(name):
    backbone = model_of(name)
    rows = [ROWS[0], (2, 7, ROWS[0][2]), ROWS[1], ROWS[3], ROWS[0], (3, 3, ROWS[0][2])]
    batch = batch_of(rows)
    shared = batch._replace(history_keys=torch.tensor([5, 5, 3, 4, 5, 5]))
    torch.testing.assert_close(backbone(shared), backbone(batch))


def test_a_shared_history_is_read_once():
    seen = []

    def lengths(batch):
        seen.append(batch.history_items.tolist())
        return batch.history.lengths.unsqueeze(1)

    batch = batch_of([(1, 3, [1, 2]), (2, 4, [1, 2]), (3, 8, []), (1, 1, [1, 2])])
    keyed = batch._replace(history_keys=torch.tensor([7, 7, 0, 7]))
    assert keyed.once_per_history(lengths).flatten().tolist() == [2, 2, 0, 2]
    assert seen == [[1, 2, 1, 2]]  # the last row is no neighbour of the first two


@pytest.mark.parametrize("name", MODELS)
def test_the_history_matters_and_so_does_the_item_shown(name):
    backbone = model_of(name)
    features = backbone(batch_of([(1, 3, [1, 2, 5]), (1, 3, [1, 2, 6]), (1, 5, [1, 2, 5])]))
    assert not torch.allclose(features[0], features[1], atol=1e-5)
    assert not torch.allclose(features[0], features[2], atol=1e-5)


@pytest.mark.parametrize("name", ["sasrec", "dien", "linrec", "sigma"])
def test_sequence_models_read_the_order(name):
    backbone = model_of(name)
    features = backbone(batch_of([(1, 3, [1, 2, 5, 6]), (1, 3, [2, 1, 5, 6])]))
    assert not torch.allclose(features[0], features[1], atol=1e-5)


@pytest.mark.parametrize("name", ["wide_deep", "pnn", "deepfm", "din", "dcn"])
def test_pooling_models_do_not_read_the_order(name):
    backbone = model_of(name)
    features = backbone(batch_of([(1, 3, [1, 2, 5, 6]), (1, 3, [6, 5, 1, 2])]))
    torch.testing.assert_close(features[0], features[1])


@pytest.mark.parametrize("name", MODELS)
def test_a_batch_without_any_history_works(name):
    assert model_of(name)(batch_of([(1, 3, []), (2, 4, [])])).isfinite().all()


@pytest.mark.parametrize("name", MODELS)
def test_an_unknown_id_has_a_row_of_its_own(name):
    backbone = model_of(name)
    known, unknown = backbone(batch_of([(1, 3, [1, 2])])), backbone(batch_of([(0, 0, [1, 0])]))
    assert unknown.isfinite().all()
    assert not torch.allclose(known, unknown)


@pytest.mark.parametrize("name", MODELS)
def test_every_parameter_learns(name):
    torch.manual_seed(1)
    model = ClickModel(model_of(name)).train()
    logits, auxiliary_loss = model(batch_of(ROWS))
    (logits.square().sum() + auxiliary_loss).backward()
    idle = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert idle == []


@pytest.mark.parametrize("name", MODELS)
def test_the_user_field_can_be_left_out(name):
    backbone = model_of(name, user_field=False)
    features = backbone(batch_of([(1, 3, [1, 2]), (2, 3, [1, 2])]))
    torch.testing.assert_close(features[0], features[1])


@pytest.mark.parametrize("name", MODELS)
def test_a_body_takes_heads_of_another_shape(name):
    backbone = model_of(name)
    heads = torch.nn.Sequential(torch.nn.Linear(backbone.width, 2 * 3), torch.nn.Unflatten(1, (2, 3)))
    assert heads(backbone(batch_of(ROWS))).shape == (4, 2, 3)


# Tables: users 4, items 9, categories 3; size 4; fields 5; deep part 20-6-5 unless said otherwise.
TABLES, DEEP = (4 + 9 + 3) * 4, 20 * 6 + 6 + 6 * 5 + 5
LINEAR = (4 + 9 + 3) + (9 + 3)
BLOCKS = 2 * (16 + 8 * 24 + 16 + 2 * (8 * 8 + 8)) + 12 * 8 + 16
SEQUENCE_DEEP = 28 * 6 + 6 + 6 * 5 + 5
GRU = 2 * (8 * 24 + 24)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("wide_deep", TABLES + DEEP + LINEAR),
        ("deepfm", TABLES + DEEP + LINEAR),
        ("pnn", TABLES + DEEP + 10 * 6),  # 10 pairs of fields
        ("dcn", TABLES + DEEP + 3 * (20 + 20)),
        ("din", TABLES + DEEP + (32 * 36 + 36) + 1 + (36 + 1)),
        ("sasrec", TABLES + SEQUENCE_DEEP + BLOCKS),
        ("linrec", TABLES + SEQUENCE_DEEP + BLOCKS),
        ("dien", TABLES + DEEP + 2 * GRU + 8 * 8),
    ],
)
def test_parameter_counts(name, expected):
    assert sum(parameter.numel() for parameter in build_backbone(name, CONFIG).parameters()) == expected


def test_parameter_count_of_sigma():
    # Mamba on 8 dimensions, 16 inside, rank 1, 8 states: in, convolution, parameters, step, decay, skip, out
    mamba = 8 * 32 + (4 * 16 + 16) + 16 * 17 + (16 + 16) + 16 * 8 + 16 + 16 * 8
    gates, convolution = 2 * 3 * (64 + 8), 24 * 8 + 8
    mixing = mamba + gates + convolution + GRU + 3 + (64 + 8)
    norms, feed_forward = 3 * 16, (8 * 32 + 32) + (32 * 8 + 8)
    expected = TABLES + SEQUENCE_DEEP + mixing + norms + feed_forward
    assert sum(parameter.numel() for parameter in build_backbone("sigma", CONFIG).parameters()) == expected


def test_logits_of_a_backbone_enter_the_output_as_they_are():
    model = ClickModel(model_of("deepfm"))
    assert model.output.weight[0, 0] == 1
    assert (model.output.weight[0, 1:] != 1).all()


def test_an_unknown_model_is_refused_with_the_nearest_name():
    with pytest.raises(ConfigError, match="unknown model 'deepmf'; did you mean 'deepfm'"):
        build_backbone("deepmf", CONFIG)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"embedding_size": 0}, "embedding_size must be >= 1, got 0"),
        ({"num_items": 0}, "num_items must be >= 1, got 0"),
        ({"hidden_sizes": ()}, "hidden_sizes must be one or more sizes"),
    ],
)
def test_a_config_refuses_what_cannot_be_built(change, message):
    with pytest.raises(ConfigError, match=message):
        BackboneConfig(**{**CONFIG.__dict__, **change})


def test_initial_vectors_are_tiny():
    table = build_backbone(
        "din", BackboneConfig(num_users=1, num_items=4000, num_categories=1)
    ).embeddings.item
    assert np.isclose(table.detach().std(), 1e-4, rtol=0.05)
