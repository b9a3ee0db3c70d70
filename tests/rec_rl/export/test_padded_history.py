import numpy as np
import pytest
import torch

from rec_rl.export.padded_history import (
    EXPORTED_MODELS,
    PaddedClickModel,
    PaddedHistory,
    PaddedStateBody,
)
from rec_rl.models import BackboneConfig, ClickModel, build_backbone
from rec_rl.models.batches import Batch
from rec_rl.models.ragged import Ragged
from rec_rl.models.state_body import StateBody

CATEGORIES = np.array([0, 1, 2, 1, 3, 2, 1], np.int32)


def model_of(name: str) -> ClickModel:
    config = BackboneConfig(
        num_users=4,
        num_items=7,
        num_categories=4,
        embedding_size=4,
        hidden_sizes=(6,),
        user_field=True,
        max_history=5,
    )
    torch.manual_seed(0)
    model = ClickModel(build_backbone(name, config)).eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter.copy_(torch.randn_like(parameter) / 2)
    return model


def test_sums_and_ages_by_hand():
    history = PaddedHistory(torch.tensor([2, 0]), 3)
    elements = torch.tensor([[1.0], [2], [9], [9], [9], [9]])  # 9 is padding
    assert history.sum(elements).tolist() == [[3], [0]]
    assert history.mean(elements).tolist() == [[1.5], [0]]
    assert history.last(elements).tolist() == [[2], [0]]
    assert history.ages.tolist() == [1, 0, 0, 0, 0, 0]
    assert history.expand(torch.tensor([[4.0], [5]])).flatten().tolist() == [4, 4, 4, 5, 5, 5]


@pytest.mark.parametrize("name", EXPORTED_MODELS)
def test_a_backbone_gives_the_same_on_padded_histories(name: str):
    model = model_of(name)
    lengths = torch.tensor([3, 0, 1])
    padded = torch.tensor([[1, 2, 3, 0], [0, 0, 0, 0], [6, 0, 0, 0]])
    packed = torch.tensor([1, 2, 3, 6])
    users, items = torch.tensor([1, 2, 0]), torch.tensor([4, 5, 6])
    of = torch.from_numpy(CATEGORIES).long()
    batch = Batch(users, items, of[items], packed, of[packed], Ragged(lengths))
    found = PaddedClickModel(model)(users, items, of[items], padded, of[padded], lengths)
    expected = torch.sigmoid(model(batch)[0])
    assert expected.std() > 0.01
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", EXPORTED_MODELS)
def test_a_reward_body_gives_the_same_on_padded_histories(name: str):
    body = StateBody(model_of(name).backbone, CATEGORIES)
    states = torch.tensor([[1, 4, 0, 1, 2], [2, 5, 0, 0, 0], [0, 6, 3, 2, 1]], dtype=torch.float32)
    found = PaddedStateBody(body.backbone, body.item_categories)(states)
    torch.testing.assert_close(found, body(states), rtol=1e-5, atol=1e-6)
