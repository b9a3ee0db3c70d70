import json
from pathlib import Path

import numpy as np
import pytest

from envs.session_rollouts import record_log
from envs.session_world import SessionWorld
from rec_rl.algorithms.noise_advantage import NoiseAdvantagePolicy
from rec_rl.algorithms.session_policy import load_session_policy, policy_means
from rec_rl.checkpoint import save_state
from rec_rl.data.behaviour import LinearBehaviour
from rec_rl.data.sessions import SessionLog
from rec_rl.errors import CheckpointError, ConfigError, DatasetError


@pytest.fixture(scope="module")
def log() -> SessionLog:
    return record_log(SessionWorld(5, 0), 8).log


def policy_of(state_dim: int) -> NoiseAdvantagePolicy:
    """Serves the first numbers of the state and one step of .4 along the first dimension."""
    weights = np.zeros((state_dim + 1, 8), np.float32)
    weights[:8] = np.eye(8)
    step = np.zeros_like(weights)
    step[-1, 0] = 5
    behaviour = LinearBehaviour(
        center=np.zeros(state_dim, np.float32),
        spread=np.ones(state_dim, np.float32),
        weights=weights,
        scale=np.full(8, 0.4, np.float32),
    )
    return NoiseAdvantagePolicy(
        behaviour=behaviour, weights=step, size=5.0, radius=1.0, penalty=0.1, effective_share=0.5
    )


def test_policies_come_from_a_checkpoint_and_from_a_run_that_holds_one(log: SessionLog, tmp_path: Path):
    expected = log.states[:, :8].astype(np.float32)
    expected[:, 0] += 0.4
    policy_of(245).save(tmp_path / "run" / "policy")
    for path in (tmp_path / "run", tmp_path / "run" / "policy"):
        assert load_session_policy(path).state_dim == 245
        np.testing.assert_allclose(policy_means(path, log), expected, atol=1e-5)


def test_means_of_a_policy_from_elsewhere_come_as_an_array(log: SessionLog, tmp_path: Path):
    np.save(tmp_path / "means.npy", log.actions.astype(np.float64))
    found = policy_means(tmp_path / "means.npy", log)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, log.actions)


def test_what_does_not_fit_the_log_is_refused(log: SessionLog, tmp_path: Path):
    policy_of(9).save(tmp_path / "narrow")
    with pytest.raises(DatasetError, match="takes states of 9 numbers, the log's have 245"):
        policy_means(tmp_path / "narrow", log)
    np.save(tmp_path / "short.npy", log.actions[:3])
    with pytest.raises(DatasetError, match=r"shape \(40, 8\).*got \(3, 8\)"):
        policy_means(tmp_path / "short.npy", log)
    holed = log.actions.copy()
    holed[7, 2] = np.nan
    np.save(tmp_path / "holed.npy", holed)
    with pytest.raises(DatasetError, match="request 7"):
        policy_means(tmp_path / "holed.npy", log)


def test_what_is_no_policy_is_refused(log: SessionLog, tmp_path: Path):
    with pytest.raises(ConfigError, match=r"a folder or a \.npy file"):
        policy_means(tmp_path / "nothing", log)
    with pytest.raises(CheckpointError, match="no manifest"):
        load_session_policy(tmp_path)
    save_state(tmp_path / "reward", {}, "bradley_terry")
    with pytest.raises(ConfigError, match="bradley_terry"):
        load_session_policy(tmp_path / "reward")
    (tmp_path / "text.npy").write_text(json.dumps([1]))
    with pytest.raises(ConfigError, match="cannot be read as an array"):
        policy_means(tmp_path / "text.npy", log)
