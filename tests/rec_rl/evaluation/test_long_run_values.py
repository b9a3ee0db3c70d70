from dataclasses import replace

import numpy as np
import pytest

from envs.session_rollouts import Record, logging_policy, oracle, record_log
from envs.session_world import SessionWorld
from rec_rl.data.levels import session_levels
from rec_rl.evaluation.advantage_value import advantage_value, session_advantages
from rec_rl.evaluation.fitted_q import fitted_q_evaluation
from rec_rl.evaluation.off_policy import SUPPORTED, doubly_robust, snips
from rec_rl.evaluation.session_model import fit_level_model

SHADOWS = {
    "logging": logging_policy,
    "taste": oracle("taste", share=0.25),
    "anti": oracle("anti", share=0.5),
    "calm": oracle("calm", share=0.25),
    "click": oracle("click", share=0.5),
}


@pytest.fixture(scope="module")
def record() -> Record:
    return record_log(SessionWorld(250, 0), 160, shadows=SHADOWS)


def columns(record: Record, name: str, task: str) -> tuple[np.ndarray, ...]:
    log = record.log
    assert log.behaviour is not None
    log_ratio = log.behaviour.log_ratio(log.actions, record.policy_means[name])
    return log_ratio, log.session_index, log.user_index, session_levels(log).of(task)


def test_advantage_value_by_hand():
    log_ratio, session, user = np.log([2.0, 1.0, 1.0, 4.0]), np.array([0, 0, 1, 2]), np.array([0, 0, 0, 1])
    level, advantage = np.array([3.0, np.nan, 1.0]), np.array([1.0, -1.0, 50.0, 2.0])
    # the mean of the counted ratios 2, 1, 4 is 7/3: (3 + 1 + (6/7 - 1) 1 + (3/7 - 1) -1 + (12/7 - 1) 2) / 2
    estimate = advantage_value(log_ratio, session, user, level, advantage)
    assert estimate.value == pytest.approx((4 - 1 / 7 + 4 / 7 + 10 / 7) / 2)
    with pytest.raises(ValueError, match="advantage must have shape"):
        advantage_value(log_ratio, session, user, level, advantage[1:])


def test_the_behaviour_is_worth_its_mean_level(record: Record):
    log_ratio, session, user, level = columns(record, "logging", "mixture")
    advantage = session_advantages(record.log, level)
    expected = np.nanmean(level)
    assert advantage_value(log_ratio, session, user, level, advantage).value == pytest.approx(expected)
    found = fitted_q_evaluation(record.log, level, record.log.behaviour, record.policy_means["logging"])
    assert found.value == pytest.approx(expected, abs=0.02)
    assert found.low < expected < found.high
    assert found.verdict == SUPPORTED


@pytest.mark.parametrize(
    ("name", "task", "rises"),
    [
        ("taste", "depth", True),
        ("anti", "depth", False),
        ("calm", "frequency", True),
        ("click", "frequency", False),
    ],
)
def test_long_run_values_know_what_helps_and_what_harms(record: Record, name: str, task: str, rises: bool):
    log_ratio, session, user, level = columns(record, name, task)
    behaviour = np.nanmean(level)
    weighted = advantage_value(log_ratio, session, user, level, session_advantages(record.log, level))
    fitted = fitted_q_evaluation(record.log, level, record.log.behaviour, record.policy_means[name])
    for estimate in (weighted, fitted):
        assert (estimate.value > behaviour) == rises


def test_fitted_q_recovers_a_bandits_value():
    """Sessions of one request whose level is linear in the action: Q is known whatever gamma is."""
    rng = np.random.default_rng(0)
    log = record_log(SessionWorld(300, 0), 60).log
    single = replace(log, session_starts=np.arange(len(log)), session_users=np.repeat(np.arange(300), 60))
    noise = single.behaviour.noise(log.actions)
    level = 1 + 0.5 * noise[:, 0] + 0.1 * rng.standard_normal(len(log))
    level[59::60] = np.nan
    target = single.behaviour_mean.copy()
    target[:, 0] += 0.4 * 0.8
    estimate = fitted_q_evaluation(single, level, single.behaviour, target, gamma=0.5)
    assert estimate.value == pytest.approx(1.4, abs=0.02)
    assert estimate.low < 1.4 < estimate.high
    with pytest.raises(ValueError, match="gamma"):
        fitted_q_evaluation(single, level, single.behaviour, target, gamma=1.0)


def test_predicted_levels_know_the_effect_of_the_action_and_sharpen_the_estimate(record: Record):
    arguments = columns(record, "taste", "depth")
    _, session, user, level = arguments
    model = fit_level_model(record.log, level, record.log.behaviour)
    logged, target = model.at(record.log.actions), model.at(record.policy_means["taste"])
    assert target.mean() > logged.mean() + 0.003
    robust = doubly_robust(*arguments, logged, target)
    plain = snips(*arguments)
    assert robust.low < plain.value < robust.high
    unweighted, same = np.zeros(len(record.log)), model.at(record.policy_means["logging"])
    behaviour = doubly_robust(unweighted, session, user, level, logged, same)
    assert behaviour.value == pytest.approx(np.nanmean(level), abs=0.02)


def test_predictions_come_from_the_other_half_of_users(record: Record):
    log = record.log
    level = session_levels(log).depth
    spiked = level.copy()
    mine = np.flatnonzero((log.session_user_index == 0) & ~np.isnan(level))
    spiked[mine] = 500.0
    half = np.random.default_rng(0).integers(0, 2, 250)
    rows = log.user_index
    a, b = (fit_level_model(log, target, log.behaviour).at(log.actions) for target in (level, spiked))
    same_half = half[rows] == half[0]
    np.testing.assert_array_equal(a[same_half], b[same_half])
    assert np.abs(a[~same_half] - b[~same_half]).max() > 0.01
