"""What a policy earns in an environment: eCTR and, where the world knows it, satisfaction."""

from collections.abc import Callable
from dataclasses import dataclass

import gymnasium as gym
import numpy as np
from numpy.typing import ArrayLike, NDArray

from rec_rl.evaluation.intervals import Estimate, mean_interval

ITEMS_PER_PAGE = 10

Policy = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""Observations [N, d] -> actions [N, A]."""


def ectr(clicks_per_episode: ArrayLike, steps_per_episode: ArrayLike) -> Estimate:
    """Episodic click-through rate, clicks / (10 * steps), as the mean over episodes.

    Source: Zhao et al. 2025 (MTRec), Sec. 5.2.

    Args:
        clicks_per_episode: Total clicks of each episode, shape [n].
        steps_per_episode: Pages of each episode, >= 1, shape [n].

    Raises:
        ValueError: If the shapes differ or an episode has no step.
    """
    clicks, steps = np.asarray(clicks_per_episode, float), np.asarray(steps_per_episode, float)
    if clicks.shape != steps.shape:
        raise ValueError(f"clicks {clicks.shape} and steps {steps.shape} must share a shape")
    if (steps < 1).any():
        raise ValueError(f"steps_per_episode must be >= 1, got {steps.min():g}")
    return mean_interval(clicks / (ITEMS_PER_PAGE * steps))


def ectr_of_totals(clicks_per_episode: ArrayLike, steps_per_episode: ArrayLike) -> float:
    """All clicks over ten times all steps; long episodes weigh more than in `ectr`."""
    return float(np.sum(clicks_per_episode) / (ITEMS_PER_PAGE * np.sum(steps_per_episode)))


@dataclass(frozen=True, kw_only=True)
class Episodes:
    """Whole episodes of one policy.

    Attributes:
        clicks, steps: Totals per episode, shape [n].
        satisfaction: Mean true satisfaction per step of each episode, shape [n]; None where unknown.
    """

    clicks: NDArray[np.float64]
    steps: NDArray[np.int64]
    satisfaction: NDArray[np.float64] | None

    @property
    def ectr(self) -> Estimate:
        """Mean over episodes, with the interval over episodes."""
        return ectr(self.clicks, self.steps)


def run_episodes(env: gym.vector.VectorEnv, policy: Policy, num_episodes: int, seed: int) -> Episodes:
    """Runs whole episodes with a batched environment in NEXT_STEP autoreset mode.

    Every environment runs the same number of episodes, fixed beforehand: taking the first ``num_episodes`` to
    finish would favour short ones.

    Args:
        env: Batched environment; its reward, or ``info["reward_env"]``, counts clicks.
        policy: Observations [N, d] to actions [N, A].
        num_episodes: At least this many; rounded up to a multiple of the number of environments.
        seed: Of the environment's episodes.
    """
    if num_episodes < 1:
        raise ValueError(f"num_episodes must be >= 1, got {num_episodes}")
    num_envs = env.num_envs
    quota = -(-num_episodes // num_envs)
    clicks, satisfaction = np.zeros((quota, num_envs)), np.zeros((quota, num_envs))
    steps = np.zeros((quota, num_envs), np.int64)
    episode, resetting = np.zeros(num_envs, np.int64), np.zeros(num_envs, bool)
    knows_satisfaction = False
    obs, _ = env.reset(seed=seed)
    while (counting := episode < quota).any():
        obs, reward, terminated, truncated, info = env.step(policy(obs))
        (rows,) = np.nonzero(counting & ~resetting)
        at = (episode[rows], rows)
        clicks[at] += info.get("reward_env", reward)[rows]
        steps[at] += 1
        if "satisfaction" in info:
            knows_satisfaction = True
            satisfaction[at] += info["satisfaction"][rows]
        resetting = (terminated | truncated) & ~resetting
        episode += resetting
    mean_satisfaction = (satisfaction / steps).ravel() if knows_satisfaction else None
    return Episodes(clicks=clicks.ravel(), steps=steps.ravel(), satisfaction=mean_satisfaction)
