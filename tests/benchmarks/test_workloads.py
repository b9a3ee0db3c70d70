"""What the sides work on."""

import numpy as np
import pytest
import torch

from benchmarks import ctr, footprint, growth, pages, virtual_taobao
from envs.virtual_taobao import VirtualTaobaoVectorEnv


def test_vector_pages_reset_in_the_step_after_an_episode_ends():
    env = pages.vector_env(64)
    obs, _ = env.reset()
    ended = np.zeros(64, bool)
    for _ in range(30):
        following, rewards, terminated, truncated, _ = env.step(np.zeros((64, 27), np.float32))
        assert (rewards[ended] == 0).all()
        assert (rewards[~ended] > 0).all()
        assert not (terminated & ended).any()
        assert not truncated.any()
        np.testing.assert_array_equal(following[~ended], obs[~ended])  # the same user stays
        obs, ended = following, terminated
    assert ended.any()


def test_a_page_is_clicked_most_near_the_wanted_vector():
    world = pages.Pages(1)
    best, _ = world.show(world._wanted[None])
    other, _ = world.show(-world._wanted[None])
    assert best[0] == pytest.approx(pages.MAX_CLICKS)
    assert other[0] < best[0] / 2


def test_the_scalar_environment_clicks_as_ours_does():
    scalar, ours = virtual_taobao.ScalarVirtualTaobao("synthetic"), VirtualTaobaoVectorEnv(512)
    torch.manual_seed(0)
    scalar.reset()
    action = np.full(27, 0.2, np.float32)
    clicks = [scalar.step(action)[1] for _ in range(600)]
    ours.reset(seed=0)
    paid = [ours.step(np.tile(action, (512, 1))) for _ in range(20)]
    expected = np.concatenate([rewards[infos["_clicks"]] for _, rewards, _, _, infos in paid])
    error = expected.std() / np.sqrt(len(clicks) / 8)  # pages of a session are alike
    assert np.mean(clicks) == pytest.approx(expected.mean(), abs=4 * error)


def test_click_rows_are_slices_of_their_users_history():
    rows = ctr.click_rows()
    lengths = rows["train_ends"] - rows["train_starts"]
    assert lengths.min() == 1
    assert lengths.max() == ctr.MAX_HISTORY
    assert 5 < lengths.mean() < 40
    clicked = rows["train_clicks"] == 1
    np.testing.assert_array_equal(rows["train_items"][clicked], rows["history"][rows["train_ends"][clicked]])
    assert rows["train_items"].min() > 0


def test_exponent_of_a_quadratic_cost_is_two():
    sizes = (10, 100, 1000)
    growing = growth.Growing(name="n", step="s", build=growth.environments, sizes=sizes)
    curve = growth.Curve(growing=growing, seconds=tuple(1e-6 * n**2 for n in sizes))
    assert curve.exponent == pytest.approx(2.0)


def test_held_bytes_are_those_of_what_is_kept():
    def build() -> np.ndarray:
        np.ones(10_000_000, np.uint8)  # gone at the end
        return np.ones(5_000_000, np.uint8)

    assert footprint.held_bytes(build) == pytest.approx(5e6, rel=0.01)
