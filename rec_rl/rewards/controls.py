"""Rewards that must not help: the controls of every experiment with a mental reward."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rec_rl.rewards.mental_reward import MentalRewardModel

_SAMPLE = "reward_sample.npy"


class ShuffledReward:
    """A model's own rewards, dealt to states at random: their distribution without what they know.

    Which reward a state gets is a fixed function of the state's bits, so that the same state is always paid
    alike and no random stream is needed.

    Args:
        rewards: r*(s, skip) and r*(s, click) on states of the training data, shape [m, 2].
    """

    def __init__(self, rewards: NDArray[np.float32]) -> None:
        self._rewards = rewards

    def __call__(self, states: NDArray[np.float32], /) -> NDArray[np.float32]:
        """States [B, d] to rewards [B, 2]."""
        bits = np.ascontiguousarray(states, dtype=np.float32).view(np.uint32).astype(np.uint64)
        odd = np.random.default_rng(0).integers(0, 2**63, states.shape[1], dtype=np.uint64) * 2 + 1
        mixed = (bits * odd).sum(1, dtype=np.uint64)
        mixed ^= mixed >> np.uint64(33)
        mixed *= np.uint64(0xFF51AFD7ED558CCD)
        mixed ^= mixed >> np.uint64(33)
        dealt: NDArray[np.float32] = self._rewards[mixed % np.uint64(len(self._rewards))]
        return dealt

    @staticmethod
    def save_sample(folder: Path, model: MentalRewardModel, states: NDArray[np.float32]) -> None:
        """Keeps a model's rewards on training states beside it, for `load`."""
        np.save(folder / _SAMPLE, model.reward(states))

    @classmethod
    def load(cls, folder: str | Path) -> "ShuffledReward":
        """The control of the model in ``folder``."""
        return cls(np.load(Path(folder) / _SAMPLE, allow_pickle=False))
