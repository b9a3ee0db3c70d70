"""Inverse reinforcement learning: what N quantile heads cost on top of IQ-Learn's one."""

import numpy as np
import torch

from benchmarks.contest import Contest, Opponent, Side, Work

ROWS, STATE_DIM = 50_000, 116
NUM_QUANTILES = 10
STEPS = 10


def ours(method: str) -> Work:
    """Steps of one method's Q network on user transitions of Virtual Taobao's shape."""
    from rec_rl.rewards.descent import Descent
    from rec_rl.rewards.iq_learn import IQLearnConfig
    from rec_rl.rewards.qr_iql import QRIQLConfig
    from rec_rl.rewards.soft_q import Batch, mlp_body

    rng = np.random.default_rng(0)
    states, following = rng.standard_normal((2, ROWS, STATE_DIM)).astype(np.float32)
    batch = Batch(
        torch.from_numpy(states),
        torch.from_numpy(rng.integers(0, 2, ROWS)),
        torch.from_numpy(following),
        torch.from_numpy(rng.random(ROWS) < 0.1),
    )
    config = QRIQLConfig(num_quantiles=NUM_QUANTILES) if method == "qr_iql" else IQLearnConfig()
    network = config.q_network(mlp_body(states, config.hidden_sizes))

    def work() -> float:
        descent = Descent(
            network,
            lambda index: network.loss(batch.rows(index)),
            num_rows=ROWS,
            num_steps=STEPS,
            config=config,
        )
        while not descent.finished:
            descent.step()
        return STEPS

    return work


CONTEST = Contest(
    name="inverse",
    work=f"QR-IQL step, {NUM_QUANTILES} heads, batch 4000 (cost at most 1.3 IQ-Learn steps)",
    unit="step",
    ours=Side(name="rec_rl", setup=ours, settings={"method": "qr_iql"}),
    opponents=(
        Opponent(
            side=Side(name="IQ-Learn of rec_rl", setup=ours, settings={"method": "iq_learn"}), bar=1 / 1.3
        ),
    ),
)
