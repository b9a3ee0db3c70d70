from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from envs.virtual_taobao_networks import (
    FILE_SIZES,
    VirtualTaobaoNetworks,
    layers_of_state,
    sample_categorical,
    softmax,
)
from rec_rl.data.virtual_taobao_files import SHA256, USER_GROUPS
from rec_rl.errors import DatasetError

PUBLISHED = Path(__file__).parents[2] / ".." / "shared" / "data" / "virtual_taobao"


@pytest.fixture(scope="module")
def published():
    if not PUBLISHED.is_dir():
        pytest.skip("the published networks are not at ../shared/data/virtual_taobao")
    return VirtualTaobaoNetworks.load(PUBLISHED)


def torch_network(name):
    """The published network, run by torch itself."""
    sizes = FILE_SIZES[name]
    layers = []
    for num_in, num_out in pairwise(sizes):
        layers += [nn.Linear(num_in, num_out), nn.LeakyReLU(0.01)]
    network = nn.Sequential(*layers[:-1])
    network.load_state_dict(torch.load(PUBLISHED / name, weights_only=True))
    return network


def batch(networks, size):
    rng = np.random.default_rng(0)
    pages = rng.integers(0, 101, size).astype(np.float32)
    actions = rng.uniform(-1, 1, (size, 27)).astype(np.float32)
    return networks.sample_users(rng, size), pages, actions


def test_softmax_of_huge_logits():
    logits = np.array([[6.6e4, 6.6e4 - np.log(3.0), -6.6e4]], dtype=np.float32)
    # float32 has a step of 0.008 here, so a gap of log 3 is met to within that
    np.testing.assert_allclose(softmax(logits), [[0.75, 0.25, 0.0]], atol=2e-3)


def test_sample_categorical_inverts_the_cumulative_sum():
    logits = np.log(np.array([0.2, 0.5, 0.3], dtype=np.float32))
    uniforms = np.array([0.0, 0.19, 0.21, 0.69, 0.71, 0.9999], dtype=np.float32)
    np.testing.assert_array_equal(sample_categorical(np.tile(logits, (6, 1)), uniforms), [0, 0, 1, 1, 2, 2])


def test_sample_categorical_never_draws_the_impossible():
    logits = np.array([[-np.inf, 0.0, -np.inf]] * 2, dtype=np.float32)
    np.testing.assert_array_equal(sample_categorical(logits, np.array([0.0, 0.99999994], np.float32)), [1, 1])


@pytest.mark.parametrize("weights", ["synthetic", "published"])
def test_users_have_one_category_in_each_group(weights, request):
    networks = (
        VirtualTaobaoNetworks.load(weights) if weights == "synthetic" else request.getfixturevalue(weights)
    )
    users = networks.sample_users(np.random.default_rng(0), 1000)
    assert users.shape == (1000, 88)
    assert users.dtype == np.float32
    groups = np.add.reduceat(users, np.cumsum((0, *USER_GROUPS[:-1])), axis=1)
    np.testing.assert_array_equal(groups, np.ones((1000, 11)))


def test_published_click_probabilities_equal_torchs(published):
    users, pages, actions = batch(published, 2000)
    with torch.no_grad():
        logits = torch_network("action_model.pt")(
            torch.from_numpy(np.concatenate([users, pages[:, None], actions], axis=1))
        )
    expected = torch.softmax(logits[:, :11], dim=1).numpy()
    received = published.click_probabilities(users, pages, actions)
    # logits of up to 6.6e4 leave the last bits of a product open: a few rows in a thousand feel that
    assert np.quantile(np.abs(received - expected).max(axis=1), 0.99) < 1e-4
    assert np.abs(received - expected).max() < 1e-2


def test_published_length_probabilities_equal_torchs(published):
    users, *_ = batch(published, 500)
    with torch.no_grad():
        expected = torch.softmax(torch_network("leave_model.pt")(torch.from_numpy(users)), dim=1).numpy()
    np.testing.assert_allclose(published.length_probabilities(users), expected, atol=1e-4)


def test_published_users_follow_the_generators_softmax(published):
    rng = np.random.default_rng(0)
    with torch.no_grad():
        logits = torch_network("generator_model.pt")(torch.rand(20000, 128, generator=torch.manual_seed(0)))
    expected = torch.cat([group.softmax(1) for group in logits.split(USER_GROUPS, dim=1)], dim=1).mean(0)
    np.testing.assert_allclose(published.sample_users(rng, 20000).mean(axis=0), expected, atol=0.016)


def test_published_reference_statistics(published):
    rng = np.random.default_rng(0)
    users = published.sample_users(rng, 60000)
    lengths = published.sample_lengths(rng, users)
    assert lengths.mean() == pytest.approx(7.78, abs=0.15)
    assert (lengths == 1).mean() == pytest.approx(0.140, abs=0.006)
    np.testing.assert_array_equal(np.quantile(lengths, [0.05, 0.25, 0.5, 0.75]), [1, 2, 4, 8])
    assert lengths.max() <= 100


def test_load_refuses_a_missing_folder(tmp_path):
    with pytest.raises(DatasetError, match=r"generator_model.pt: cannot be read \(No such file"):
        VirtualTaobaoNetworks.load(tmp_path / "nowhere")


def test_load_refuses_other_weights(tmp_path):
    for name in SHA256:
        (tmp_path / name).write_bytes(b"something else")
    expected = SHA256["generator_model.pt"]
    with pytest.raises(DatasetError, match=f"generator_model.pt: expected SHA-256 {expected}, got "):
        VirtualTaobaoNetworks.load(str(tmp_path))


def test_layers_of_state_refuses_other_shapes():
    state = nn.Sequential(nn.Linear(3, 4), nn.LeakyReLU(), nn.Linear(4, 2)).state_dict()
    assert [weight.shape for weight, _ in layers_of_state(state, (3, 4, 2), "small.pt")] == [(3, 4), (4, 2)]
    with pytest.raises(DatasetError, match=r"small.pt: expected tensors .*\(5, 4\).*, got .*\(2, 4\)"):
        layers_of_state(state, (3, 4, 5), "small.pt")


def test_click_probabilities_refuses_sizes_that_would_broadcast():
    networks = VirtualTaobaoNetworks.load("synthetic")
    with pytest.raises(ValueError, match="got 1 users, 3 pages and 3 actions"):
        networks.click_probabilities(np.zeros((1, 88)), np.zeros(3), np.zeros((3, 27)))


def test_content_hash_tells_networks_apart(published):
    synthetic = VirtualTaobaoNetworks.load("synthetic")
    assert synthetic.content_hash != published.content_hash
    assert synthetic.content_hash == VirtualTaobaoNetworks.load("synthetic").content_hash
    assert (synthetic.name, published.satisfaction) == ("synthetic", None)
