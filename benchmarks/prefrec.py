"""PrefRec's gradient step through RLlib, against the same losses in a plain loop of PyTorch."""

from copy import deepcopy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks import own_ray
from benchmarks.contest import Contest, Opponent, Side, Work
from benchmarks.gemm import backward, bound, forward, train

STATE_DIM, ACTION_DIM, HIDDEN = 245, 8, [256, 256, 256]
NUM_USERS, NUM_REQUESTS = 200, 100
STEPS = 10
"""Gradient steps in one ``train()``."""
GAMMA, EXPECTILE, TAU = 0.9, 0.7, 0.001


def ours(batch_size: int) -> Work:
    """rec_rl's PrefRec through ``train()``, its reward frozen."""
    algorithm = build(batch_size)

    def work() -> float:
        algorithm.train()
        return STEPS

    return work


def build(batch_size: int, steps: int = STEPS, **learners: float) -> Any:
    """PrefRec on a log of the session world, with ``steps`` in one ``train()``; ``learners`` as in RLlib."""
    from envs.session_rollouts import record_log
    from envs.session_world import SessionWorld
    from rec_rl.algorithms.offline_data import OfflineData
    from rec_rl.algorithms.prefrec import PrefRecConfig
    from rec_rl.rewards.bradley_terry import BradleyTerryConfig, BradleyTerryNetwork, BradleyTerryRecord
    from rec_rl.rewards.bradley_terry import BradleyTerryReward as Reward

    own_ray.start()
    log = record_log(SessionWorld(NUM_USERS, 0), NUM_REQUESTS).log
    network = BradleyTerryNetwork(STATE_DIM, ACTION_DIM, tuple(HIDDEN))
    network.fit_inputs(log)
    record = BradleyTerryRecord(
        config=BradleyTerryConfig(), seed=0, num_pairs=0, num_missing=0, data_hash="", loss=(), accuracy=()
    )
    data = OfflineData(log=log, reward=Reward(network, record))
    config = PrefRecConfig().training(batch_size=batch_size, finetune_period=0, steps_per_iteration=steps)
    return config.learn_from(lambda: data).learners(**learners).debugging(seed=0).build_algo()


def plain_loop(batch_size: int) -> Work:
    """nn.Linear, torch's Adam, the losses as printed; states in float32."""
    rng = np.random.default_rng(0)
    rows = NUM_USERS * NUM_REQUESTS
    states = torch.from_numpy(rng.standard_normal((rows + 1, STATE_DIM)).astype(np.float32))
    actions = torch.from_numpy(rng.uniform(-1, 1, (rows, ACTION_DIM)).astype(np.float32))

    def network(fan_in: int, fan_out: int) -> nn.Sequential:
        layers: list[nn.Module] = []
        for size in HIDDEN:
            layers += [nn.Linear(fan_in, size), nn.ReLU()]
            fan_in = size
        return nn.Sequential(*layers, nn.Linear(fan_in, fan_out))

    value, critic = network(STATE_DIM, 1), network(STATE_DIM + ACTION_DIM, 1)
    actor, reward = network(STATE_DIM, ACTION_DIM), network(STATE_DIM + ACTION_DIM, 1)
    target = deepcopy(critic)
    optimizers = {net: torch.optim.Adam(net.parameters(), lr=5e-5) for net in (value, critic, actor)}

    def q(net: nn.Module, state: Tensor, action: Tensor) -> Tensor:
        out: Tensor = net(torch.cat([state, action], dim=-1)).squeeze(-1)
        return out

    def descend(net: nn.Sequential, loss: Tensor) -> None:
        optimizers[net].zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizers[net].step()

    def step() -> None:
        index = torch.randint(rows, (batch_size,))
        state, action, following = states[index], actions[index], states[index + 1]
        with torch.no_grad():
            paid = q(reward, state, action)
            q_logged = q(target, state, action)
        error = q_logged - value(state).squeeze(-1)
        weight = torch.where(error < 0, 1 - EXPECTILE, EXPECTILE)
        descend(value, (weight * error.square()).mean())
        with torch.no_grad():
            wanted = paid + GAMMA * value(following).squeeze(-1)
        descend(critic, (q(critic, state, action) - wanted).square().mean())
        for parameter in critic.parameters():
            parameter.requires_grad_(False)
        descend(actor, -q(critic, state, torch.tanh(actor(state))).mean())
        for parameter in critic.parameters():
            parameter.requires_grad_(True)
        with torch.no_grad():
            for moving, fixed in zip(target.parameters(), critic.parameters(), strict=True):
                moving.lerp_(fixed, TAU)

    def work() -> float:
        step()
        return 1

    return work


def products(rows: int) -> Side:
    """Reward and target Q at (s, a); V at s, trained, and s'; Q, trained; the actor through Q."""
    state, both = [STATE_DIM, *HIDDEN, 1], [STATE_DIM + ACTION_DIM, *HIDDEN, 1]
    through_q = [*forward(rows, both), *backward(rows, both, weights=False, inputs=True)]
    actor = train(rows, [STATE_DIM, *HIDDEN, ACTION_DIM])
    return bound(
        [
            *(forward(rows, both) * 2),
            *train(rows, state),
            *forward(rows, state),
            *train(rows, both),
            *through_q,
            *actor,
        ]
    )


def contest(batch_size: int, bar: float) -> Contest:
    """One batch size."""
    return Contest(
        name=f"prefrec-{batch_size}",
        work=f"PrefRec step through RLlib, batch {batch_size}, three layers of 256",
        unit="step",
        ours=Side(name="rec_rl", setup=ours, settings={"batch_size": batch_size}),
        opponents=(
            Opponent(
                side=Side(name="plain loop", setup=plain_loop, settings={"batch_size": batch_size}), bar=bar
            ),
            Opponent(side=products(batch_size)),
        ),
    )


CONTESTS = (contest(4096, 0.93), contest(256, 0.83))
