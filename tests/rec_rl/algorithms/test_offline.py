"""The offline algorithms on a tiny log of the session world."""

from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch

from envs.session_rollouts import record_log
from envs.session_world import SessionWorld
from rec_rl.algorithms import bcq
from rec_rl.algorithms.catalogue import OFFLINE_ALGORITHMS
from rec_rl.algorithms.offline import OfflineAlgorithm, OfflineConfig
from rec_rl.algorithms.offline_data import OfflineData, TransitionTable
from rec_rl.algorithms.offline_policy import OfflinePolicy
from rec_rl.data.levels import session_levels
from rec_rl.data.preferences import locate_pairs, scripted_preferences
from rec_rl.errors import CheckpointError, ConfigError
from rec_rl.rewards.bradley_terry import BradleyTerryConfig, fit_bradley_terry

STEPS = 6
OF_ONE = {
    "prefrec": {"finetune_period": 4, "preference_batch_size": 8},
    "td3": {"policy_delay": 2},
    "bcq": {"num_candidates": 3},
}
OF_NETWORKS = sorted({*OFFLINE_ALGORITHMS} - {"prefrec_supported"})
Build = Callable[..., OfflineAlgorithm]


@lru_cache
def data() -> OfflineData:
    log = record_log(SessionWorld(12, 0), 210).log
    level = session_levels(log).mixture
    pairs = locate_pairs(scripted_preferences(log, level, num_pairs=16, segment_length=20, seed=0), log)
    reward = BradleyTerryConfig(hidden_sizes=(8,), batch_size=8, epochs=1)
    return OfflineData(log=log, reward=fit_bradley_terry(log, pairs, reward), pairs=pairs)


def config(name: str, *, seed: int = 3, **settings: object) -> OfflineConfig:
    small = {"hidden_sizes": [8, 8], "batch_size": 16, "steps_per_iteration": STEPS, "actor_lr": 1e-3}
    made = OFFLINE_ALGORITHMS[name]().learn_from(data)
    return made.training(**small | OF_ONE.get(name, {}) | settings).debugging(seed=seed)


@pytest.fixture
def build() -> Iterator[Build]:
    built: list[OfflineAlgorithm] = []

    def make(name: str, **settings: object) -> OfflineAlgorithm:
        built.append(config(name, **settings).build_algo())
        return built[-1]

    yield make
    for algorithm in built:
        algorithm.stop()


def parameters(algorithm: OfflineAlgorithm) -> dict[str, np.ndarray]:
    policy = algorithm.learner_group._learner.policy
    return {name: value.detach().numpy().copy() for name, value in policy.state_dict().items()}


def check_resume(build: Build, name: str, folder: Path) -> None:
    whole = build(name)
    start = parameters(whole)
    for iteration in range(4):
        if iteration == 2:
            whole.save_checkpoint(str(folder / "c"))
        whole.train()
    resumed = build(name, seed=99)  # whatever the seed gave is replaced
    resumed.load_checkpoint(str(folder / "c"))
    assert resumed.gradient_steps == 2 * STEPS
    for _ in range(2):
        resumed.train()
    end, again = parameters(whole), parameters(resumed)
    assert any((start[key] != end[key]).any() for key in end)
    for key, value in end.items():
        np.testing.assert_array_equal(value, again[key], err_msg=key)


@pytest.mark.parametrize("name", ["prefrec", "iql"])
def test_a_restored_run_equals_the_uninterrupted_one(build: Build, name: str, tmp_path: Path):
    check_resume(build, name, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted({*OF_NETWORKS} - {"prefrec", "iql"}))
def test_every_restored_run_equals_the_uninterrupted_one(build: Build, name: str, tmp_path: Path):
    check_resume(build, name, tmp_path)


@pytest.mark.parametrize("name", sorted({*OF_NETWORKS} - {"prefrec", "iql"}))
def test_training_changes_the_policy_and_a_saved_one_serves_the_same(build: Build, name: str, tmp_path: Path):
    algorithm = build(name)
    before, states = parameters(algorithm), data().log.states[:7]
    algorithm.train()
    after = parameters(algorithm)
    assert all(np.isfinite(value).all() for value in after.values())
    assert any((before[key] != after[key]).any() for key in after)
    policy = OfflinePolicy.of(algorithm)
    served = policy(states)
    assert served.shape == (7, 8)
    policy.save(tmp_path / "policy")
    loaded = OfflinePolicy.load(tmp_path / "policy")
    np.testing.assert_array_equal(loaded(states), served)
    assert loaded.state_dim == 245


def test_a_checkpoint_of_another_algorithm_is_refused(build: Build, tmp_path: Path):
    build("il").save_checkpoint(str(tmp_path / "c"))
    with pytest.raises(CheckpointError, match="must be of 'offline ddpg', got 'offline il'"):
        build("ddpg").load_checkpoint(str(tmp_path / "c"))


def test_targets_follow_at_their_rate_and_period(build: Build):
    algorithm = build("ddpg", tau=0.25, target_period=2, critic_lr=1e-2)
    learner = algorithm.learner_group._learner
    target = [p.detach().clone() for p in learner.policy.target_critics.parameters()]
    learner.train_steps(1)
    for old, new in zip(target, learner.policy.target_critics.parameters(), strict=True):
        assert torch.equal(old, new)
    learner.train_steps(1)
    for old, online, new in zip(
        target, learner.policy.critics.parameters(), learner.policy.target_critics.parameters(), strict=True
    ):
        torch.testing.assert_close(new.detach(), 0.75 * old + 0.25 * online.detach())


def test_the_reward_is_fine_tuned_at_its_period_and_its_scale_stays(build: Build):
    learner = build("prefrec", finetune_period=3).learner_group._learner
    before = {name: value.clone() for name, value in learner.reward.state_dict().items()}
    learner.train_steps(2)
    assert all(torch.equal(before[name], value) for name, value in learner.reward.state_dict().items())
    learner.train_steps(1)
    moved = {
        name for name, value in learner.reward.state_dict().items() if not torch.equal(before[name], value)
    }
    assert moved == {name for name in before if name.startswith("body")}
    assert torch.equal(before["body.0.weight"], data().reward.network.body[0].weight)  # a copy is trained


def test_a_batch_is_labelled_and_in_the_networks_units(build: Build):
    learner = build("iql").learner_group._learner
    state = learner.rng.get_state()
    batch = learner.next_batch()
    learner.rng.set_state(state)
    rows = learner.transitions.draw(16, learner.rng).numpy()
    log, policy = data().log, learner.policy
    np.testing.assert_allclose(batch.action * policy.action_scale, log.actions[rows], rtol=1e-5)
    np.testing.assert_allclose(
        batch.reward, data().reward(log.states[rows], log.actions[rows]), rtol=1e-3, atol=1e-4
    )
    following = torch.from_numpy(log.states[rows + 1]).float()
    np.testing.assert_allclose(batch.next_obs * policy.spread + policy.center, following, atol=1e-3)


def test_rewards_that_were_paid_are_taken_by_row():
    paid = np.arange(len(data().log), dtype=np.float32)
    made = config("iql").learn_from(lambda: OfflineData(log=data().log, reward=paid))
    algorithm = made.build_algo()
    learner = algorithm.learner_group._learner
    state = learner.rng.get_state()
    batch = learner.next_batch()
    learner.rng.set_state(state)
    rows = learner.transitions.draw(16, learner.rng).numpy()
    np.testing.assert_allclose(batch.reward, (paid[rows] - paid.mean()) / paid.std(), rtol=1e-4)
    algorithm.stop()


def test_an_algorithm_that_needs_a_reward_refuses_data_without():
    made = config("iql").learn_from(lambda: OfflineData(log=data().log))
    with pytest.raises(ConfigError, match="iql needs a Bradley-Terry reward, got none"):
        made.build_algo()


def test_bcqs_target_is_of_the_best_candidate(build: Build, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(bcq, "STATES_IN_CACHE", 5)  # 16 rows in four parts
    learner = build("bcq", perturbation=0.3, min_weight=0.75, gamma=0.9).learner_group._learner
    policy, batch = learner.policy, learner.next_batch()
    with torch.no_grad():
        for network in (policy.target_actor, *policy.target_critics.weights):
            for parameter in network.parameters() if isinstance(network, torch.nn.Module) else (network,):
                parameter.mul_(3)  # apart from those in training
    state = learner.rng.get_state()
    target = learner._target(batch)
    learner.rng.set_state(state)
    latents = learner.normal(3, 2 * policy.action_size).clamp(-0.5, 0.5)
    for row, obs in enumerate(batch.next_obs):
        values = []
        for latent in latents[row]:
            action = policy.decode(obs, latent)
            moved = action + 0.3 * torch.tanh(policy.target_actor(torch.cat([obs, action])))
            q = policy.q(policy.target_critics, obs[None], moved.clamp(-1, 1)[None])[:, 0]
            values.append(0.75 * q.min() + 0.25 * q.max())
        expected = batch.reward[row] + 0.9 * max(values)
        torch.testing.assert_close(target[row], expected, atol=1e-5, rtol=1e-5)


def test_no_transition_crosses_from_one_user_to_another():
    log = data().log
    table = TransitionTable(log, torch.device("cpu"))
    assert not set(table.rows.tolist()) & set((log.user_starts[1:] - 1).tolist())
    assert len(table.rows) == len(log) - 12


@pytest.mark.parametrize(
    ("name", "setting", "message"),
    [
        ("iql", {"expectile": 1.0}, r"expectile must be in \(0, 1\), got 1.0"),
        ("iql", {"bta": 1.0}, "unknown setting of iql 'bta'; did you mean 'beta'"),
        ("ddpg", {"tau": 0.0}, "tau must be .* > 0, got 0.0"),
        ("il", {"hidden_sizes": ()}, "hidden_sizes must be one or more sizes >= 1"),
        ("bcq", {"min_weight": 2}, "min_weight must be >= 0 and <= 1, got 2"),
        ("prefrec", {"finetune_period": -1}, "finetune_period must be >= 0, got -1"),
        ("prefrec_supported", {"gamma": 1.0}, r"gamma must be in \[0, 1\), got 1.0"),
        ("prefrec_supported", {"held_out": 1.0}, r"held_out must be in \(0, 1\), got 1.0"),
    ],
)
def test_settings_out_of_their_bound_are_refused(name: str, setting: dict[str, object], message: str):
    with pytest.raises(ConfigError, match=message):
        config(name, **setting).validate()


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
@pytest.mark.parametrize("name", ["td3_bc", "prefrec"])
def test_two_learners_give_what_one_does(name: str):
    trained = []
    for num_learners in (0, 2):
        algorithm = config(name).learners(num_learners=num_learners).build_algo()
        for _ in range(2):
            algorithm.train()
        trained.append(OfflinePolicy.of(algorithm)(data().log.states[:20]))
        algorithm.stop()
    np.testing.assert_allclose(*trained, atol=1e-5)
