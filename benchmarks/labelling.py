"""Reward labelling: every transition of a log scored by the reward model."""

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.contest import Contest, Opponent, Side, Work

STATE_DIM, ACTION_DIM, HIDDEN = 245, 8, (256, 256, 256)
ROWS = 65_536
"""Scored in one call of a side; the cost of three millions is that of 46 calls."""
CHUNK = 32_768


def ours() -> Work:
    """A fitted reward called on a log's arrays: float16 states in, one number a request out."""
    from rec_rl.rewards.bradley_terry import BradleyTerryConfig, BradleyTerryNetwork, BradleyTerryRecord
    from rec_rl.rewards.bradley_terry import BradleyTerryReward as Reward

    record = BradleyTerryRecord(
        config=BradleyTerryConfig(), seed=0, num_pairs=0, num_missing=0, data_hash="", loss=(), accuracy=()
    )
    reward = Reward(BradleyTerryNetwork(STATE_DIM, ACTION_DIM, HIDDEN), record)
    states, actions = arrays()

    def work() -> float:
        reward(states, actions)
        return ROWS

    return work


def plain_forward() -> Work:
    """The same network, batch by batch, on standardised float32 inputs that are ready."""
    layers: list[torch.nn.Module] = []
    width = STATE_DIM + ACTION_DIM
    for size in HIDDEN:
        layers += [torch.nn.Linear(width, size), torch.nn.ReLU()]
        width = size
    network = torch.nn.Sequential(*layers, torch.nn.Linear(width, 1))
    states, actions = arrays()
    inputs = torch.from_numpy(np.concatenate([states.astype(np.float32), actions], axis=1))

    @torch.inference_mode()
    def work() -> float:
        torch.cat([network(chunk).squeeze(-1) for chunk in torch.split(inputs, CHUNK)])
        return ROWS

    return work


def arrays() -> tuple[NDArray[np.float16], NDArray[np.float32]]:
    """States and actions of a log."""
    rng = np.random.default_rng(0)
    states = rng.standard_normal((ROWS, STATE_DIM), dtype=np.float32).astype(np.float16)
    return states, rng.standard_normal((ROWS, ACTION_DIM), dtype=np.float32)


CONTEST = Contest(
    name="labelling",
    work="reward labelling of a log, three layers of 256",
    unit="transition",
    ours=Side(name="rec_rl", setup=ours),
    opponents=(Opponent(side=Side(name="plain batched forward", setup=plain_forward), bar=0.9),),
)
