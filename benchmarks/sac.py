"""SAC's gradient updates: sampling from the replay buffer, critics, actor, temperature, targets."""

import numpy as np

from benchmarks import own_ray
from benchmarks.contest import Contest, Opponent, Side, Work
from benchmarks.gemm import backward, bound, forward, train
from benchmarks.pages import ACTION_DIM, OBS_DIM, Pages, baselines_env, single_env, vector_env

BATCH_SIZE, HIDDEN, ROWS = 256, [256, 256], 50_000
UPDATES = 16
"""Updates in one call of a side."""


def ours() -> Work:
    """rec_rl's SAC: minibatches from its buffer through its learner."""
    from rec_rl.algorithms.sac import SACConfig

    own_ray.start()
    config = SACConfig().simulate(vector_env)
    config.training(hidden_sizes=tuple(HIDDEN), batch_size=BATCH_SIZE, replay_capacity=ROWS)
    algorithm = config.debugging(seed=0).build_algo()
    while algorithm.replay.size < ROWS:
        algorithm.replay.add(algorithm._transitions(algorithm.sample(512, random=True)))

    def work() -> float:
        batch = algorithm.replay.sample(UPDATES, BATCH_SIZE)
        del batch["reward_class"]
        algorithm.update(batch)
        return UPDATES

    return work


def stable_baselines3() -> Work:
    """Its SAC: ``train()`` on a full buffer."""
    from stable_baselines3 import SAC
    from stable_baselines3.common.logger import Logger

    model = SAC(
        "MlpPolicy",
        baselines_env(1),
        buffer_size=ROWS,
        batch_size=BATCH_SIZE,
        policy_kwargs={"net_arch": HIDDEN},
        device="cpu",
    )
    model.set_logger(Logger(folder=None, output_formats=[]))
    pages = Pages(1)
    for _ in range(ROWS):
        actions = pages.rng.uniform(-1, 1, (1, ACTION_DIM)).astype(np.float32)
        clicks, leaves = pages.show(actions)
        model.replay_buffer.add(pages.arrive(), pages.arrive(), actions, clicks, leaves, [{}])

    def work() -> float:
        model.train(UPDATES, BATCH_SIZE)
        return UPDATES

    return work


def stock_rllib() -> Work:
    """RLlib's own SAC through ``train()``: one environment step and one update at a time."""
    from ray.rllib.algorithms.sac import SACConfig
    from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
    from ray.tune.registry import register_env

    own_ray.start()
    register_env("pages", single_env)
    config = (
        SACConfig()
        .environment("pages")
        .env_runners(num_env_runners=0, rollout_fragment_length=1)
        .rl_module(model_config=DefaultModelConfig(fcnet_hiddens=HIDDEN, fcnet_activation="relu"))
        .training(
            train_batch_size_per_learner=BATCH_SIZE,
            num_steps_sampled_before_learning_starts=BATCH_SIZE,
            replay_buffer_config={"type": "EpisodeReplayBuffer", "capacity": ROWS},
        )
        .reporting(min_time_s_per_iteration=0, min_sample_timesteps_per_iteration=UPDATES)
        .debugging(seed=0)
    )
    algorithm = config.build_algo()
    for _ in range(BATCH_SIZE // UPDATES):  # before learning starts
        algorithm.train()

    def work() -> float:
        algorithm.train()
        return UPDATES

    return work


def products() -> Side:
    """Actor at s' and s, twin critics: targets, values, and the gradient into the action alone."""
    actor, critic = [OBS_DIM, *HIDDEN, 2 * ACTION_DIM], [OBS_DIM + ACTION_DIM, *HIDDEN, 1]
    one_critic = [
        *forward(BATCH_SIZE, critic),
        *train(BATCH_SIZE, critic),
        *forward(BATCH_SIZE, critic),
        *backward(BATCH_SIZE, critic, weights=False, inputs=True),
    ]
    return bound([*forward(BATCH_SIZE, actor), *train(BATCH_SIZE, actor), *one_critic, *one_critic])


CONTEST = Contest(
    name="sac",
    work="SAC gradient update, batch 256, two layers of 256",
    unit="update",
    ours=Side(name="rec_rl", setup=ours),
    opponents=(
        Opponent(
            side=Side(name="stable-baselines3", setup=stable_baselines3, in_peers=True),
            bar=1.5,
            why="Four fifths of our update are matrix products that both libraries need, so that 1.85 would "
            "be the most.",
        ),
        Opponent(side=Side(name="stock RLlib", setup=stock_rllib), bar=8.0),
        Opponent(side=products()),
    ),
)
