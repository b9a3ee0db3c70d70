"""PPO and SAC on the synthetic Virtual Taobao, in one process and with runners of their own."""

import os
import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from envs.virtual_taobao import VirtualTaobaoVectorEnv
from rec_rl.algorithms.catalogue import ALGORITHMS
from rec_rl.algorithms.online import OnlineAlgorithm, quartic
from rec_rl.algorithms.ppo import PPOConfig
from rec_rl.algorithms.rollouts import FlatEnvRunner, Rollout
from rec_rl.algorithms.sac import SACConfig
from rec_rl.errors import CheckpointError, ConfigError, RecRLError
from rec_rl.losses.policy import gaussian_log_prob
from rec_rl.losses.value import standardized_minibatches

pytestmark = pytest.mark.usefixtures("ray_session")

SMALL = {
    "sac": {
        "hidden_sizes": (16, 16),
        "batch_size": 16,
        "rounds_per_iteration": 6,
        "random_steps": 16,
        "replay_capacity": 200,
        "reward_utility": "quartic",
        "balanced_fraction": 0.25,
    },
    "ppo": {
        "hidden_sizes": (16, 16),
        "steps_per_iteration": 8,
        "num_passes": 2,
        "batch_size": 16,
        "self_imitation_weight": 0.3,
    },
}


def config(name: str, *, runners: int = 0, seed: int = 3) -> PPOConfig | SACConfig:
    made = ALGORITHMS[name]().simulate(partial(VirtualTaobaoVectorEnv, weights="synthetic"))
    made.training(**SMALL[name]).debugging(seed=seed)
    return made.env_runners(num_env_runners=runners, num_envs_per_env_runner=4)


Build = Callable[[PPOConfig | SACConfig], OnlineAlgorithm]


@pytest.fixture
def build() -> Iterator[Build]:
    """Builds algorithms and stops them whatever happens: a leaked runner would keep a core."""
    built: list[OnlineAlgorithm] = []

    def make(config: PPOConfig | SACConfig) -> OnlineAlgorithm:
        built.append(config.build_algo())
        return built[-1]

    yield make
    for algorithm in built:
        algorithm.stop()


def parameters(algorithm: OnlineAlgorithm) -> list[np.ndarray]:
    policy = algorithm.learner_group._learner.policy
    return [p.detach().numpy().copy() for p in policy.state_dict().values()]


@pytest.mark.parametrize("name", ["sac", "ppo"])
def test_a_restored_run_equals_the_uninterrupted_one(build: Build, name: str, tmp_path: Path):
    whole = build(config(name))
    for iteration in range(4):
        if iteration == 2:
            whole.save_checkpoint(str(tmp_path / "c"))
        whole.train()
    resumed = build(config(name, seed=99))  # whatever the seed gave is replaced
    resumed.load_checkpoint(str(tmp_path / "c"))
    assert 0 < resumed.env_steps < whole.env_steps
    for _ in range(2):
        resumed.train()
    assert resumed.env_steps == whole.env_steps
    for a, b in zip(parameters(whole), parameters(resumed), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(
        whole.replay.sample(1, 8)["actions"], resumed.replay.sample(1, 8)["actions"]
    )


@pytest.mark.parametrize("replays", [True, False])
def test_ppo_steps_along_the_gradient_of_its_printed_loss(
    build: Build, monkeypatch: pytest.MonkeyPatch, replays: bool
):
    made = config("ppo").training(entropy_weight=0.1)
    learner = build(made).learner_group._learner
    policy, space = learner.policy, made.observation_space
    obs = torch.from_numpy(np.stack([space.sample() for _ in range(21)])).clamp(-3, 3)
    columns = {name: torch.randn(21) for name in ("logp", "advantage", "value_target", "score")}
    columns |= {"obs": obs, "actions": torch.randn(21, *made.action_space.shape)}
    with torch.no_grad():
        columns["logp"] = 0.3 * columns["logp"] + gaussian_log_prob(
            columns["actions"], policy.mean(obs), policy.log_std
        )
    rows = {name: columns[name][:13] for name in ("obs", "actions", "logp", "advantage", "value_target")}
    replayed = {name: columns[name][13:] for name in ("obs", "actions", "score")} if replays else {}

    advantage = (rows["advantage"] - rows["advantage"].mean()) / (rows["advantage"].std() + 1e-8)
    logp = gaussian_log_prob(rows["actions"], policy.mean(rows["obs"]), policy.log_std)
    ratio = torch.exp(logp - rows["logp"])
    loss = -torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage).mean()
    loss = loss + 0.5 * (policy.value(rows["obs"]) - rows["value_target"]).square().mean()
    loss = loss - 0.1 * policy.entropy()
    if replays:
        logp = gaussian_log_prob(replayed["actions"], policy.mean(replayed["obs"]), policy.log_std)
        weight = (replayed["score"] - replayed["score"].mean()).clamp(min=0)
        loss = loss - 0.3 * (weight * logp).sum() / made.self_imitation_batch
    params = learner.optimizer.param_groups[0]["params"]
    expected = torch.autograd.grad(loss, params)

    taken: list[torch.Tensor] = []
    monkeypatch.setattr(learner.optimizer, "fused_step", lambda grads, **_: taken.extend(grads))
    ready = {"obs": policy.scale(rows["obs"]), "advantage": standardized_minibatches(rows["advantage"], 13)}
    learner._update_once(rows | ready, replayed)
    assert len(params) == len(list(policy.parameters()))
    for gradient, wanted in zip(taken, expected, strict=True):
        torch.testing.assert_close(gradient, wanted, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("gamma", [0.0, 0.9])
def test_sac_writes_out_the_gradient_of_its_printed_losses(
    build: Build, monkeypatch: pytest.MonkeyPatch, gamma: float
):
    made = config("sac").training(gamma=gamma, batch_size=19)
    learner = build(made).learner_group._learner
    policy, space = learner.policy, made.observation_space
    obs, next_obs = torch.from_numpy(np.stack([space.sample() for _ in range(38)])).clamp(-3, 3).split(19)
    num_actions = made.action_space.shape[0]
    with torch.no_grad():
        policy.actor[-1].bias[-1] = 5.0  # a spread beyond its bound has no gradient
    batch = {"obs": obs, "next_obs": next_obs, "rewards": torch.randn(19), "terminated": torch.rand(19) < 0.3}
    batch["actions"] = torch.rand(19, num_actions) * 2 - 1
    drawn = iter([torch.randn(19, num_actions) for _ in range(1 + (gamma > 0))])
    noise, *of_target = drawn
    order = iter([*of_target, noise])  # the target draws first
    monkeypatch.setattr(learner, "_noise", lambda _: next(order))
    taken: list[torch.Tensor] = []
    for name in ("critic", "actor", "alpha"):
        optimizer = getattr(learner, f"{name}_optimizer")
        monkeypatch.setattr(
            optimizer, "fused_step", lambda grads, **_: taken.extend(g.clone() for g in grads)
        )

    def q(critics: torch.nn.Module, states: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
        return critics(policy.scale(states), actions).squeeze(-1)

    alpha, target = policy.log_alpha.detach().exp(), batch["rewards"]
    with torch.no_grad():
        if gamma > 0:
            actions, logp = policy.act(next_obs, of_target[0])
            future = q(policy.target_critics, next_obs, actions).amin(0) - alpha * logp
            target = target + gamma * future * ~batch["terminated"]
    critic_loss = 0.5 * (q(policy.critics, obs, batch["actions"]) - target).square().sum() / 19
    actions, logp = policy.act(obs, noise)
    actor_loss = (alpha * logp - q(policy.critics, obs, actions).min(0).values).mean()
    alpha_loss = -(policy.log_alpha.exp() * (logp.detach() - num_actions)).mean()
    groups = [policy.critics.parameters(), policy.actor.parameters(), [policy.log_alpha]]
    losses = (critic_loss, actor_loss, alpha_loss)
    expected = [
        g for loss, group in zip(losses, groups, strict=True) for g in torch.autograd.grad(loss, list(group))
    ]
    learner._update_once(batch)
    for gradient, wanted in zip(taken, expected, strict=True):
        torch.testing.assert_close(gradient, wanted, atol=1e-6, rtol=1e-4)


def test_a_checkpoint_of_another_algorithm_is_refused(build: Build, tmp_path: Path):
    ppo, sac = build(config("ppo")), build(config("sac"))
    ppo.save_checkpoint(str(tmp_path / "c"))
    with pytest.raises(CheckpointError, match="must be of 'sac', got 'ppo'"):
        sac.load_checkpoint(str(tmp_path / "c"))


@pytest.mark.parametrize("name", ["sac", "ppo"])
def test_runners_of_their_own_sample_and_learn_and_survive_a_death(build: Build, name: str):
    algorithm = build(config(name, runners=1))
    before = parameters(algorithm)
    algorithm.train()
    assert algorithm.env_steps > 0
    assert any((a != b).any() for a, b in zip(before, parameters(algorithm), strict=True))
    pid = algorithm.env_runner_group.foreach_env_runner(lambda _: os.getpid(), local_env_runner=False)[0]
    os.kill(pid, signal.SIGKILL)
    steps = algorithm.env_steps
    for _ in range(2):
        algorithm.train()
    assert algorithm.env_steps > steps
    weights = algorithm.env_runner_group.foreach_env_runner(
        lambda runner: runner.module.get_state(), local_env_runner=False
    )[0]
    current = algorithm.learner_group._learner.policy.state_dict()
    for key, value in weights.items():
        np.testing.assert_array_equal(value, current[key].numpy())


def test_sampling_that_brings_no_step_ends_with_an_error(build: Build, monkeypatch: pytest.MonkeyPatch):
    patient = config("ppo", runners=1).fault_tolerance(
        delay_between_env_runner_restarts_s=0.01, env_runner_restore_timeout_s=0.05
    )
    algorithm = build(patient)
    monkeypatch.setattr(algorithm.env_runner_group, "foreach_env_runner", lambda *_, **__: [])
    monkeypatch.setattr(algorithm, "restore_env_runners", lambda _: [])
    with pytest.raises(RecRLError, match=r"no environment step in 0.05 s: \d of 1 env runners are healthy"):
        algorithm.train()


def test_a_restarted_runner_samples_something_else():
    runner = FlatEnvRunner(config=config("ppo"), worker_index=1)
    first = runner.sample(num_steps=3, random=True).actions
    runner.reseed(1)
    assert (first != runner.sample(num_steps=3, random=True).actions).any()


def test_a_rollout_keeps_each_rows_own_next_state():
    runner = FlatEnvRunner(config=config("ppo"), worker_index=1)
    rollout = runner.sample(num_steps=60, random=True)
    ended = rollout.terminated[:-1]
    assert ended.any()
    np.testing.assert_array_equal(rollout.valid[1:], ~ended)
    np.testing.assert_array_equal(rollout.next_obs[:-1], rollout.obs[1:])  # as PPO's values rely on
    users = rollout.obs[:-1][ended][:, :88]  # the last observation is of the same user
    np.testing.assert_array_equal(rollout.next_obs[:-1][ended][:, :88], users)
    returns, lengths = rollout.finished()
    assert len(returns) == (rollout.terminated & rollout.valid).sum()
    assert lengths.sum() <= rollout.num_steps == rollout.valid.sum()


def test_rollouts_join_along_the_environments():
    runner = FlatEnvRunner(config=config("ppo"), worker_index=1)
    parts = [runner.sample(num_steps=3, random=True) for _ in range(2)]
    joined = Rollout.join(parts)
    assert joined.obs.shape == (3, 8, 91)
    np.testing.assert_array_equal(joined.rewards[:, 4:], parts[1].rewards)


def test_quartic_utility_keeps_the_ends():
    np.testing.assert_allclose(quartic(np.array([0.0, 5.0, 10.0]), 10.0), [0, 0.625, 10])


@pytest.mark.parametrize(
    ("name", "setting", "message"),
    [
        ("sac", {"gamma": 1.5}, "gamma must be >= 0 and <= 1, got 1.5"),
        ("sac", {"reward_utility": "quartc"}, "unknown reward_utility 'quartc'; did you mean 'quartic'"),
        ("sac", {"balanced_fraction": 2}, "balanced_fraction must be >= 0 and <= 1, got 2"),
        ("ppo", {"clip": 0}, "clip must be > 0, got 0"),
        ("ppo", {"batch_size": 0}, "batch_size must be >= 1, got 0"),
    ],
)
def test_settings_out_of_their_bound_are_refused(name: str, setting: dict, message: str):
    with pytest.raises(ConfigError, match=message.replace("(", r"\(")):
        config(name).training(**setting).validate()


def test_without_a_future_the_sac_target_is_the_reward(build: Build):
    algorithm = build(config("sac").training(gamma=0.0))
    learner = algorithm.learner_group._learner
    batch = {"rewards": torch.tensor([1.0, 2.0])}
    torch.testing.assert_close(learner._targets(batch, torch.tensor(1.0)), batch["rewards"])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sac", "ppo"])
def test_learning_beats_random_actions(build: Build, name: str, shared_data: Path):
    from rec_rl.evaluation.online import run_episodes
    from rec_rl.experiments.presets import OPTIONS, PLAIN
    from rec_rl.experiments.training import greedy_policy

    weights = str(shared_data / "virtual_taobao")  # what the presets are made for
    made = config(name).simulate(partial(VirtualTaobaoVectorEnv, weights=weights))
    made.training(**PLAIN[name] | OPTIONS[name])
    algorithm = build(made)
    while algorithm.env_steps < 12_000:
        algorithm.train()
    env = VirtualTaobaoVectorEnv(128, weights=weights)
    reached = run_episodes(env, greedy_policy(algorithm.policy_module()), 512, seed=5).ectr.value
    assert reached > 0.5  # random actions earn less than .1
