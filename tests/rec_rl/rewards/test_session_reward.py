import numpy as np
import pytest

from envs.session_rollouts import record_log
from envs.session_world import SessionWorld
from rec_rl.data.levels import session_levels
from rec_rl.data.preferences import LocatedPairs, locate_pairs, scripted_preferences
from rec_rl.data.sessions import SessionLog
from rec_rl.errors import DatasetError
from rec_rl.rewards.session_reward import SessionReward, fit_session_reward, session_outcomes


def log_of(depths: list[int], gaps: list[float], users: list[int]) -> SessionLog:
    """Requests without a duration; sessions ``gaps`` hours apart."""
    times, now = [], 0.0
    for depth, gap in zip(depths, gaps, strict=True):
        times += [now] * depth
        now += gap
    n = len(times)
    return SessionLog(
        states=np.zeros((n, 1), np.float16),
        actions=np.zeros((n, 1), np.float32),
        times=np.array(times),
        session_starts=np.append(0, np.cumsum(depths)[:-1]),
        session_users=np.array(users),
    )


# User 1: sessions of 2 and 6 requests (mean 4), gaps of 10 and 30 hours (mean 20), and a last one of 1.
LOG = log_of([2, 6, 1, 3, 5], [10.0, 30.0, 50.0, 40.0, 0.0], [1, 1, 1, 2, 2])


def test_outcomes_are_of_a_users_own_averages():
    # user 2 has one counted session, which is its own average
    expected = [[0.5, np.log(2)], [1.5, np.log(2 / 3)], [np.nan] * 2, [1, 0], [np.nan] * 2]
    np.testing.assert_allclose(session_outcomes(LOG), expected, atol=1e-12)


def test_outcomes_are_clipped_where_levels_are():
    depths, gaps = [1] * 11 + [100, 1], [10.0] * 11 + [1000.0, 0.0]
    outcomes = session_outcomes(log_of(depths, gaps, [1] * 13))
    assert outcomes[11, 0] == 5  # 100 requests are 10.8 times the mean of 9.25
    assert outcomes[11, 1] == -np.log(5)
    assert outcomes[0, 1] == np.log(5)


def test_reward_is_paid_with_the_last_request_and_the_mean_session_brings_nothing():
    reward = SessionReward(depth_weight=2.0, return_weight=0.0)
    # 1, 3 and 2 less their mean
    np.testing.assert_allclose(reward.of_sessions(LOG), [-1, 1, np.nan, 0, np.nan])
    paid = np.zeros(17)
    paid[[1, 7]] = -1, 1
    np.testing.assert_allclose(reward.of_requests(LOG), paid)


def test_fit_weighs_the_means_of_segments_by_hand():
    # a is session 0, b session 1: outcomes differ by (-1, log 3); a better three times of four
    pairs = LocatedPairs(
        first_rows=np.tile([[0, 2]], (4, 1)),
        lengths=np.tile([[2, 6]], (4, 1)),
        label=np.array([1, 1, 1, 0], np.float32),
        num_missing=0,
    )
    reward = fit_session_reward(LOG, pairs, ridge=1e-9)
    gap = -reward.depth_weight + np.log(3) * reward.return_weight
    assert gap == pytest.approx(np.log(3), rel=1e-3)  # odds of 3 : 1
    # of all that explain it, the shortest: along the difference itself
    assert reward.return_weight == pytest.approx(-np.log(3) * reward.depth_weight, rel=1e-3)


def test_segments_without_a_level_are_left_out_and_none_left_is_refused():
    def pairs(starts: list[list[int]]) -> LocatedPairs:
        n = len(starts)
        return LocatedPairs(
            first_rows=np.array(starts),
            lengths=np.ones((n, 2), int),
            label=np.ones(n, np.float32),
            num_missing=0,
        )

    with_censored = fit_session_reward(LOG, pairs([[2, 0], [2, 8]]), ridge=0.1)
    assert with_censored == fit_session_reward(LOG, pairs([[2, 0]]), ridge=0.1)
    with pytest.raises(DatasetError, match="of 1 none"):
        fit_session_reward(LOG, pairs([[2, 8]]))


def test_a_task_finds_its_own_weight():
    log = record_log(SessionWorld(150, 0), 240).log
    levels = session_levels(log)
    found = {}
    for task in ("depth", "frequency"):
        labelled = scripted_preferences(log, levels.of(task), teacher="mean", num_pairs=1500, seed=0)
        found[task] = fit_session_reward(log, locate_pairs(labelled, log))
        worth = found[task].of_sessions(log)
        counted = ~np.isnan(worth)
        assert np.corrcoef(worth[counted], levels.of(task)[counted])[0, 1] > 0.8
    assert abs(found["depth"].return_weight) < 0.2 * found["depth"].depth_weight
    assert abs(found["frequency"].depth_weight) < 0.2 * found["frequency"].return_weight
