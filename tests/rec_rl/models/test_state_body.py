from dataclasses import replace

import numpy as np
import pytest
import torch

from rec_rl.data.splits import ClickDataset, Impressions
from rec_rl.data.transitions import UserTransitions
from rec_rl.errors import ConfigError
from rec_rl.models import MODELS, BackboneConfig
from rec_rl.models.batches import Rows
from rec_rl.models.state_body import backbone_body, decode_states, encode_states
from rec_rl.rewards import AnchoredConfig, IQLearnConfig, QRIQLConfig, fit_mental_reward


def dataset(n=60, seed=0):
    rng = np.random.default_rng(seed)
    ends = rng.integers(0, 30, n)
    rows = Impressions(
        users=rng.integers(1, 5, n).astype(np.int32),
        items=rng.integers(1, 8, n).astype(np.int32),
        clicks=rng.integers(0, 2, n).astype(np.int8),
        starts=np.maximum(0, ends - 4),
        ends=ends,
        sources=np.arange(n),
    )
    return ClickDataset(
        train=rows,
        validation=rows,
        test=rows,
        history=rng.integers(1, 8, 30).astype(np.int32),
        item_categories=np.array([0, 1, 2, 1, 2, 1, 2, 1], np.int32),
        num_users=5,
        num_items=8,
        num_categories=3,
        settings={"max_history": 4},
        notes={},
    )


CONFIG = BackboneConfig(
    num_users=5,
    num_items=8,
    num_categories=3,
    embedding_size=4,
    hidden_sizes=(8,),
    user_field=True,
    max_history=4,
)


def test_states_hold_user_item_and_history_behind_zeros():
    data = dataset()
    data = replace(data, history=np.array([3, 1, 2, 5, 6], np.int32))
    rows = replace(
        data.train.rows(np.arange(2)),
        users=np.array([4, 2], np.int32),
        items=np.array([7, 1], np.int32),
        starts=np.array([1, 2]),
        ends=np.array([4, 2]),
    )
    assert encode_states(data, rows, 3).tolist() == [[4, 7, 1, 2, 5], [2, 1, 0, 0, 0]]


def test_decoding_gives_back_the_batch():
    data = dataset()
    expected = Rows.of(data, data.train).batch(torch.arange(len(data.train)))
    states = torch.from_numpy(encode_states(data, data.train, 4))
    batch = decode_states(states, torch.from_numpy(data.item_categories.astype(np.int64)))
    for ours, theirs in zip(batch[:5], expected[:5], strict=True):
        torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(batch.history.lengths, expected.history.lengths)


@pytest.mark.parametrize(
    ("name", "config"),
    [*((name, QRIQLConfig) for name in MODELS), ("din", IQLearnConfig), ("din", AnchoredConfig)],
)
def test_any_backbone_is_the_body_of_a_reward_model(name, config):
    data = dataset()
    states = encode_states(data, data.train, 4)
    last = np.arange(len(states)) % 5 == 4
    transitions = UserTransitions(
        states=states,
        actions=data.train.clicks.astype(np.int64),
        next_states=np.roll(states, -1, axis=0),
        terminated=np.zeros(len(states), np.bool_),
        truncated=last,
    )
    settings = config(steps=1, head_steps=1, batch_size=16, num_quantiles=3)
    body = backbone_body(name, CONFIG, data.item_categories)
    model = fit_mental_reward(transitions, settings, body=body)
    assert model.reward(states).shape == (60, 2)
    assert model.quantiles(states).shape == (60, 2, 3)
    assert np.isfinite(model.quantiles(states)).all()


def test_more_codes_than_a_float_can_name_are_refused():
    with pytest.raises(ConfigError, match="codes must be below 16777216, got 16777217 users"):
        encode_states(replace(dataset(), num_users=2**24 + 1), dataset().train, 4)
