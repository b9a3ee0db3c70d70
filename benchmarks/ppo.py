"""PPO end to end: sampling, advantages, passes over minibatches."""

from typing import Any

from benchmarks import own_ray
from benchmarks.contest import Contest, Opponent, Side, Work
from benchmarks.gemm import bound, forward, train
from benchmarks.pages import ACTION_DIM, OBS_DIM, baselines_env, vector_env

NUM_ENVS = 64
SHAPE: dict[str, Any] = {"hidden": [256, 256], "steps": 64, "passes": 4, "batch_size": 64}


def ours(hidden: list[int], steps: int, passes: int, batch_size: int) -> Work:
    """rec_rl's PPO through ``train()``."""
    from rec_rl.algorithms.ppo import PPOConfig

    own_ray.start()
    config = PPOConfig().simulate(vector_env)
    config.training(
        hidden_sizes=tuple(hidden), steps_per_iteration=steps, num_passes=passes, batch_size=batch_size
    )
    algorithm = config.env_runners(num_envs_per_env_runner=NUM_ENVS).debugging(seed=0).build_algo()

    def work() -> float:
        before = algorithm.env_steps
        algorithm.train()
        return float(algorithm.env_steps - before)

    return work


def stable_baselines3(hidden: list[int], steps: int, passes: int, batch_size: int) -> Work:
    """Its PPO through ``learn()``."""
    from stable_baselines3 import PPO

    model = PPO(
        "MlpPolicy",
        baselines_env(NUM_ENVS),
        n_steps=steps,
        batch_size=batch_size,
        n_epochs=passes,
        policy_kwargs={"net_arch": {"pi": hidden, "vf": hidden}},
        device="cpu",
    )

    def work() -> float:
        model.learn(steps * NUM_ENVS, reset_num_timesteps=False)
        return float(steps * NUM_ENVS)

    return work


def products(hidden: list[int], steps: int, passes: int, batch_size: int) -> Side:
    """Policy and value on every step when it is sampled, and both in every pass."""
    nets = [OBS_DIM, *hidden, ACTION_DIM], [OBS_DIM, *hidden, 1]
    minibatches = steps * NUM_ENVS // batch_size * passes
    sampled = [product for net in nets for product in forward(NUM_ENVS, net)] * steps
    trained = [product for net in nets for product in train(batch_size, net)] * minibatches
    return bound([*sampled, *trained], units=steps * NUM_ENVS)


CONTEST = Contest(
    name="ppo",
    work="PPO end to end, 64 environments, two layers of 256, 4 passes in minibatches of 64",
    unit="environment step",
    ours=Side(name="rec_rl", setup=ours, settings=SHAPE),
    opponents=(
        Opponent(
            side=Side(name="stable-baselines3", setup=stable_baselines3, settings=SHAPE, in_peers=True),
            bar=2.0,
            why="Three fifths of our step are products, which the other library has too; the rest is Adam, "
            "tanh and about fifty small operations on 64 rows a minibatch, and sampling.",
        ),
        Opponent(side=products(**SHAPE)),
    ),
)
