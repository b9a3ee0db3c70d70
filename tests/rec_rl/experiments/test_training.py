from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from envs.reward_shaping import MentalRewardVectorShaping
from envs.virtual_taobao import STATE_DIM, VirtualTaobaoVectorEnv
from envs.virtual_taobao_synthetic import bait
from rec_rl.checkpoint import last_checkpoint
from rec_rl.data.transitions import UserTransitions
from rec_rl.errors import ConfigError
from rec_rl.experiments.experts import ExpertSpec, record_experts
from rec_rl.experiments.records import to_plain
from rec_rl.experiments.training import (
    Shaping,
    TrainingSpec,
    build_env,
    train,
)
from rec_rl.rewards import AnchoredConfig, fit_mental_reward
from rec_rl.rewards.controls import ShuffledReward

pytestmark = pytest.mark.usefixtures("ray_session")

SPEC = TrainingSpec(
    algorithm="sac",
    settings={"hidden_sizes": [8], "batch_size": 8, "rounds_per_iteration": 8, "random_steps": 16},
    steps=300,
    num_envs_per_env_runner=4,
    evaluate_every=100,
    evaluation_episodes=128,
    final_episodes=128,
)


@pytest.fixture(scope="module")
def transitions() -> UserTransitions:
    spec = ExpertSpec(training=replace(SPEC, steps=64), num_trajectories=200, min_ctr=-1.0, num_snapshots=2)
    return record_experts(spec, lambda done, wanted: None)


@pytest.fixture(scope="module")
def reward(transitions: UserTransitions, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reward") / "anchored"
    model = fit_mental_reward(transitions, AnchoredConfig(steps=5, head_steps=5, batch_size=64))
    model.save(folder)
    ShuffledReward.save_sample(folder, model, transitions.states)
    return folder


def test_training_keeps_to_its_steps_and_evaluates_on_the_way():
    events = list(train(SPEC))
    result = events[-1]["result"]
    assert 300 - 2 * 32 < result["steps"] <= 300
    assert [point["step"] // 100 for point in result["curve"]] == [1, 2]
    assert set(result) == {"steps", "curve", "ectr", "ectr_of_totals", "satisfaction"}


def test_a_run_goes_on_from_its_last_checkpoint_to_the_same_result(tmp_path: Path):
    whole = list(train(SPEC, checkpoints=tmp_path / "a"))[-1]["result"]
    interrupted = train(SPEC, checkpoints=tmp_path / "b")
    while last_checkpoint(tmp_path / "b") is None:
        next(interrupted)
    interrupted.close()
    assert list(train(SPEC, checkpoints=tmp_path / "b"))[-1]["result"] == whole
    assert len(list((tmp_path / "b").iterdir())) == 2  # the last and the one before


def test_a_spec_survives_as_plain_values():
    spec = replace(SPEC, shaping=Shaping(reward="x", mode="unit"))
    assert TrainingSpec.from_plain(asdict(spec)) == spec
    assert TrainingSpec.from_plain(to_plain(asdict(SPEC))).shaping is None


def test_unknown_names_and_settings_are_refused():
    with pytest.raises(ConfigError, match="unknown algorithm 'sacc'; did you mean 'sac'"):
        next(train(replace(SPEC, algorithm="sacc")))
    with pytest.raises(ConfigError, match="has no such setting"):
        next(train(replace(SPEC, settings={"learning_rat": 1})))


def test_experts_are_whole_sessions_in_order(transitions: UserTransitions):
    assert transitions.num_features == STATE_DIM
    users = transitions.users
    assert users is not None
    assert users.max() == 199
    assert (np.diff(users) >= 0).all()
    last = np.flatnonzero(np.diff(users, append=-1))
    np.testing.assert_array_equal(np.flatnonzero(transitions.terminated), last)
    inside = np.flatnonzero(~transitions.terminated)
    np.testing.assert_array_equal(transitions.next_states[inside], transitions.states[inside + 1])
    pages = transitions.states[:, 88]
    np.testing.assert_array_equal(transitions.next_states[:, 88], pages + 1)
    assert (pages[np.r_[0, last[:-1] + 1]] == 0).all()


def test_some_users_say_how_glad_they_are_of_what_they_clicked():
    training = replace(SPEC, steps=64)
    spec = ExpertSpec(
        training=training, num_trajectories=200, min_ctr=-1.0, num_snapshots=1, feedback_share=0.5
    )
    rows = record_experts(spec, lambda done, wanted: None)
    assert rows.feedback is not None
    said = ~np.isnan(rows.feedback)
    assert 0.35 < said.sum() / rows.actions.sum() < 0.65
    assert (rows.actions[said] == 1).all()
    # Ten clicks where others click once are no more gladness: what is left is what a bait takes away.
    lure = bait(rows.states[:, -27:])
    assert (rows.feedback[said & (lure == 0)] == 1).all()
    assert np.corrcoef(lure[said], rows.feedback[said])[0, 1] < -0.9


def test_nobody_says_how_glad_they_are_on_the_published_networks(shared_data: Path):
    weights = str(shared_data / "virtual_taobao")
    spec = ExpertSpec(training=replace(SPEC, weights=weights), feedback_share=0.5)
    with pytest.raises(ConfigError, match=r"feedback_share must be 0 on networks.*got 0\.5"):
        record_experts(spec, lambda done, wanted: None)


def test_shaping_enters_the_environment(reward: Path):
    env = build_env(4, weights="synthetic", shaping=Shaping(reward=str(reward), mode="difference"))
    assert isinstance(env, MentalRewardVectorShaping)
    env.reset(seed=1)
    _, rewards, _, _, infos = env.step(np.zeros((4, 27), np.float32))
    np.testing.assert_allclose(rewards, infos["reward_env"] + 0.2 * infos["reward_mental"], rtol=1e-6)
    plain = build_env(4, weights="synthetic", shaping=None)
    assert type(plain) is VirtualTaobaoVectorEnv


def test_shuffled_rewards_keep_their_distribution_and_forget_the_state(
    reward: Path, transitions: UserTransitions
):
    shuffled = ShuffledReward.load(reward)
    states = transitions.states[:500]
    dealt = shuffled(states)
    np.testing.assert_array_equal(dealt, shuffled(states))  # the same state is always paid alike
    known = {tuple(row) for row in np.load(reward / "reward_sample.npy")}
    assert {tuple(row) for row in dealt} <= known
    assert len(np.unique(dealt[:, 0])) > 50
