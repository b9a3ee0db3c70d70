import numpy as np
import pytest

from envs.click_world import ClickWorld, ClickWorldLog
from rec_rl.rewards import AnchoredConfig, IQLearnConfig, MentalRewardModel, QRIQLConfig, fit_mental_reward

SMALL = {"steps": 300, "head_steps": 150, "batch_size": 500, "hidden_sizes": (64, 32)}
SMALL_CONFIGS = {
    "iq_learn": IQLearnConfig(**SMALL),
    "qr_iql": QRIQLConfig(**SMALL),
    "anchored": AnchoredConfig(**SMALL, tau=0.1),
}


@pytest.fixture(scope="session")
def world() -> ClickWorld:
    return ClickWorld()


@pytest.fixture(scope="session")
def training_log(world: ClickWorld) -> ClickWorldLog:
    return world.simulate(1500, seed=1)


@pytest.fixture(scope="session")
def fresh_log(world: ClickWorld) -> ClickWorldLog:
    """Users whom no reward was fitted on."""
    return world.simulate(700, seed=2)


@pytest.fixture(scope="session")
def models(training_log: ClickWorldLog) -> dict[str, MentalRewardModel]:
    return {
        method: fit_mental_reward(training_log.transitions, config, seed=0)
        for method, config in SMALL_CONFIGS.items()
    }


@pytest.fixture(scope="session")
def true_difference(world: ClickWorld, fresh_log: ClickWorldLog) -> np.ndarray:
    reward = world.mean_reward()[fresh_log.states]
    return reward[:, 1] - reward[:, 0]
