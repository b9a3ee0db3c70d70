import gymnasium as gym
import numpy as np
import pytest

from rec_rl.evaluation.online import ectr, ectr_of_totals, run_episodes


def test_ectr_is_the_mean_over_episodes():
    estimate = ectr([5, 40], [1, 8])
    assert estimate.value == pytest.approx(0.5)  # .5 and .5
    assert ectr([10, 0], [1, 4]).value == pytest.approx(0.5)  # 1 and 0; of totals it is .2
    assert ectr_of_totals([10, 0], [1, 4]) == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("clicks", "steps", "message"),
    [([1], [1, 2], "share a shape"), ([1, 1], [1, 0], "steps_per_episode must be >= 1, got 0")],
)
def test_ectr_refuses(clicks: list[int], steps: list[int], message: str):
    with pytest.raises(ValueError, match=message):
        ectr(clicks, steps)


class Counter(gym.vector.VectorEnv):
    """Episodes of environment i have i + 1 steps and pay the action; NEXT_STEP autoreset."""

    def __init__(self, num_envs: int) -> None:
        self.num_envs = num_envs
        self._lengths = np.arange(num_envs) + 1

    def reset(self, *, seed=None, options=None):
        self._page, self._ended = np.zeros(self.num_envs, int), np.zeros(self.num_envs, bool)
        return self._page[:, None].astype(np.float32), {}

    def step(self, actions):
        reward = np.where(self._ended, 0, actions[:, 0]).astype(np.float32)
        self._page = np.where(self._ended, 0, self._page + 1)
        self._ended = self._page >= self._lengths
        infos = {"satisfaction": reward / 2}
        return self._page[:, None].astype(np.float32), reward, self._ended, np.zeros_like(self._ended), infos


def test_run_episodes_gives_every_environment_the_same_number():
    episodes = run_episodes(Counter(3), lambda obs: np.full((len(obs), 1), 2.0, np.float32), 5, seed=0)
    assert sorted(episodes.steps) == [1, 1, 2, 2, 3, 3]  # 5 rounded up to 2 of each, long ones included
    np.testing.assert_array_equal(episodes.clicks, 2 * episodes.steps)
    np.testing.assert_allclose(episodes.satisfaction, 1.0)
