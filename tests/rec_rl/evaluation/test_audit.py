from dataclasses import replace

import numpy as np
import pytest

from envs.session_rollouts import record_log
from envs.session_world import SessionWorld
from rec_rl.data.behaviour import GaussianBehaviour, fit_behaviour
from rec_rl.data.sessions import SessionLog
from rec_rl.errors import DatasetError
from rec_rl.evaluation.audit import audit_log, calibrate


@pytest.fixture(scope="module")
def log() -> SessionLog:
    return record_log(SessionWorld(300, 0), 120).log


def test_recorded_behaviour_is_calibrated(log: SessionLog):
    found = calibrate(log, log.behaviour)
    assert found.verdict == "calibrated"
    assert found.coverage == pytest.approx(0.95, abs=0.005)
    assert found.explained < 0.005
    assert not found.estimated


def test_fitted_behaviour_is_calibrated_where_the_logger_is_linear(log: SessionLog):
    assert calibrate(log, fit_behaviour(log.states, log.actions).on(log.states)).verdict == "calibrated"


@pytest.mark.parametrize(
    ("shift", "stretch", "reason"),
    [(0.2, 1.0, "mean off by 0.5"), (0.0, 1.5, "deviation"), (0.0, 0.5, "within 1.96 sigma")],
)
def test_wrong_behaviour_is_not_calibrated(log: SessionLog, shift: float, stretch: float, reason: str):
    wrong = GaussianBehaviour(
        mean=log.behaviour_mean - np.float32(shift), scale=log.behaviour_scale * np.float32(stretch)
    )
    assert reason in calibrate(log, wrong).verdict


def test_heavy_tails_are_not_calibrated(log: SessionLog):
    rng = np.random.default_rng(0)
    tailed = rng.standard_t(5, log.actions.shape) / np.sqrt(5 / 3)  # of deviation 1
    actions = (log.behaviour_mean + log.behaviour_scale * tailed).astype(np.float32)
    found = calibrate(replace(log, actions=actions), log.behaviour)
    assert 0.93 < found.coverage < 0.97  # the share within 1.96 sigma does not tell
    assert found.verdict.startswith("not calibrated: kurtosis")


def test_behaviour_that_ignores_the_state_is_not_calibrated(log: SessionLog):
    mean = np.tile(log.actions.mean(axis=0), (len(log), 1))
    blind = GaussianBehaviour(mean=mean, scale=log.actions.std(axis=0))
    assert "the state explains" in calibrate(log, blind).verdict


def test_audit_says_what_a_log_can_support(log: SessionLog):
    audit = audit_log(log)
    assert (audit.num_users, audit.num_requests) == (300, 36_000)
    assert audit.num_sessions == len(log.depths)
    assert audit.supported_radius == pytest.approx(1.9, abs=0.3)
    assert audit.usable_radius > audit.supported_radius
    assert sum(audit.level_shares["depth"]) == pytest.approx(1)
    assert audit.statements[0] == "Behaviour recorded by the serving layer: calibrated."
    assert f"up to {audit.supported_radius:.1f} sigma" in audit.statements[1]


def test_audit_counts_one_session_users_and_warns_of_single_request_sessions(log: SessionLog):
    single = replace(log, session_starts=np.arange(len(log)), session_users=log.user_index)
    assert any("single request" in statement for statement in audit_log(single).statements)
    lone = replace(log, session_starts=log.user_starts[:-1], session_users=log.user_ids)
    with pytest.raises(Exception, match="no session has a level"):
        audit_log(lone)


def test_audit_refuses_constant_actions(log: SessionLog):
    constant = replace(log, actions=np.ones_like(log.actions), behaviour_mean=None, behaviour_scale=None)
    with pytest.raises(DatasetError, match="actions must vary"):
        audit_log(constant)
