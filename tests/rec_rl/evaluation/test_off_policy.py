from dataclasses import replace

import numpy as np
import pytest

from envs.session_rollouts import Record, oracle, record_log
from envs.session_world import SessionWorld
from rec_rl.data.levels import mean_level_of_users, session_levels
from rec_rl.errors import ConfigError, UnsupportedEstimateError
from rec_rl.evaluation.off_policy import (
    CAUTION,
    NOT_SUPPORTED,
    SUPPORTED,
    WEIGHTINGS,
    Doubt,
    Support,
    cap_sweep,
    doubly_robust,
    ncis,
    require_support,
    snips,
    with_doubts,
)

# Two users: sessions 0 and 1 are user 5's, session 2 is user 9's; the last request's session has no level.
LOG_RATIO = np.log([2.0, 4.0, 1.0, 20.0, 0.5, 3.0])
SESSION = np.array([0, 0, 1, 2, 2, 3])
USER = np.array([5, 5, 5, 9, 9, 9])
LEVEL = np.array([3.0, 1.0, 2.0, np.nan])


def test_ncis_by_hand():
    # user 5: weights 3 and 1, (3 * 3 + 1 * 1) / 4 = 2.5; user 9: one session, 2
    assert ncis(LOG_RATIO, SESSION, USER, LEVEL).value == pytest.approx(2.25)
    # capped at 3: weights 2.5 and 1, 8.5 / 3.5
    assert ncis(LOG_RATIO, SESSION, USER, LEVEL, cap=3).value == pytest.approx((8.5 / 3.5 + 2) / 2)


def test_ncis_as_printed_multiplies_a_sessions_ratios():
    # user 5: 8 and 1, 25 / 9; capped at 4: 4 and 1, 13 / 5
    products = {"weighting": "session_product"}
    assert ncis(LOG_RATIO, SESSION, USER, LEVEL, **products).value == pytest.approx((25 / 9 + 2) / 2)
    assert ncis(LOG_RATIO, SESSION, USER, LEVEL, cap=4, **products).value == pytest.approx((13 / 5 + 2) / 2)


def test_snips_by_hand():
    # weights 3, 1, 10.25 over all sessions
    assert snips(LOG_RATIO, SESSION, USER, LEVEL).value == pytest.approx((9 + 1 + 20.5) / 14.25)


def test_doubly_robust_by_hand():
    q_logged, q_target = np.array([2.0, 2, 0, 1, 1, 9]), np.array([1.0, 1, 2, 2, 2, 9])
    # session 0: (1 + 2 (3 - 2) + 1 + 4 (3 - 2)) / 2 = 4; 1: 2 + 1 = 3; 2: (2 + 20 + 2 + .5) / 2 = 12.25
    estimate = doubly_robust(LOG_RATIO, SESSION, USER, LEVEL, q_logged, q_target)
    assert estimate.value == pytest.approx((4 + 3 + 12.25) / 3)


def test_a_right_model_makes_the_doubly_robust_estimate_its_own():
    level_of_row = np.nan_to_num(LEVEL)[SESSION]
    estimate = doubly_robust(LOG_RATIO, SESSION, USER, LEVEL, level_of_row, np.full(6, 7.0))
    assert estimate.value == pytest.approx(7)


@pytest.fixture(scope="module")
def record() -> Record:
    shadows = {"taste": oracle("taste", share=0.5), "far": lambda world: 3 + 0 * world.logging_mean()}
    return record_log(SessionWorld(150, 0), 120, shadows=shadows)


def columns(record: Record, name: str) -> tuple[np.ndarray, ...]:
    log = record.log
    assert log.behaviour is not None
    log_ratio = log.behaviour.log_ratio(log.actions, record.policy_means[name])
    return log_ratio, log.session_index, log.user_index, session_levels(log).mixture


def test_the_behaviour_scores_its_own_mean_in_every_ratio_mode(record: Record):
    _, session, user, level = columns(record, "taste")
    expected = np.nanmean(mean_level_of_users(record.log, level))
    same = np.zeros(len(record.log))
    for weighting in ("request", "session_product"):
        estimate = ncis(same, session, user, level, weighting=weighting)
        assert estimate.value == pytest.approx(expected, abs=1e-12)
        assert estimate.ess == pytest.approx(np.isfinite(level).sum())
        assert estimate.d2 == 0
        assert estimate.verdict == SUPPORTED
    assert snips(same, session, user, level).value == pytest.approx(np.nanmean(level))


def test_ratio_modes_have_no_unit_and_densities_have(record: Record):
    log, means = record.log, record.policy_means["taste"]
    unit = np.float32(1000)
    scaled = type(log.behaviour)(mean=log.behaviour_mean * unit, scale=log.behaviour_scale * unit)
    original, session, user, level = columns(record, "taste")
    rescaled = scaled.log_ratio(log.actions * unit, means * unit)
    for weighting in ("request", "session_product"):
        a, b = (
            ncis(r, session, user, level, weighting=weighting, draws=1).value for r in (original, rescaled)
        )
        assert a == pytest.approx(b, rel=1e-5)
    densities = [
        ncis(
            type(log.behaviour)(mean=means * u, scale=log.behaviour_scale * u).log_density(log.actions * u),
            session, user, level, weighting="density_product",
        )
        for u in (1, unit)
    ]  # fmt: skip
    assert abs(densities[0].value - densities[1].value) > 0.01
    assert all(d.verdict.startswith(NOT_SUPPORTED) and d.d2 is None for d in densities)


def test_d2_is_the_distance_of_the_means(record: Record):
    log = record.log
    step = (record.policy_means["taste"] - log.behaviour_mean) / 0.4
    estimate = ncis(*columns(record, "taste"))
    assert estimate.d2 == pytest.approx((step**2).sum(axis=1).mean(), rel=0.05)


def test_a_collapsed_policy_is_refused(record: Record):
    for estimator in (ncis, snips):
        estimate = estimator(*columns(record, "far"))
        assert estimate.d2 > 50
        assert estimate.verdict.startswith(NOT_SUPPORTED)
        with pytest.raises(UnsupportedEstimateError, match=r"D2 .* above 8"):
            require_support(estimate)
    near = ncis(*columns(record, "taste"))
    assert require_support(near) is near


def test_weights_too_small_for_a_float_still_give_an_estimate():
    estimate = ncis(LOG_RATIO - 5000, SESSION, USER, LEVEL, cap=10)
    # no ratio reaches the cap any more: weights 3, 1 as before, 10.25 alone
    assert estimate.value == pytest.approx(2.25)


@pytest.mark.parametrize(
    ("support", "word", "reason"),
    [
        (Support(d2=1, share=0.5, num_users=500, mean_ratio=1.02), SUPPORTED, ""),
        (Support(d2=4.5, share=0.5, num_users=500, mean_ratio=1), CAUTION, "D2 4.5 above 4"),
        (Support(d2=9, share=0.5, num_users=500, mean_ratio=1), NOT_SUPPORTED, "D2 9.0 above 8"),
        (Support(d2=1, share=0.15, num_users=500, mean_ratio=1), CAUTION, "effective share 15.0% below 0.2"),
        (Support(d2=1, share=0.05, num_users=500, mean_ratio=1), NOT_SUPPORTED, "5.0% below 0.1"),
        (Support(d2=1, share=0.5, num_users=20, mean_ratio=1), CAUTION, "20 users, fewer than 50"),
        (Support(d2=1, share=0.5, num_users=500, mean_ratio=0.8), CAUTION, "mean ratio 0.80"),
        (Support(d2=1, share=0.5, num_users=500, mean_ratio=np.nan), NOT_SUPPORTED, "mean ratio nan"),
    ],
)
def test_verdicts_name_their_reasons(support: Support, word: str, reason: str):
    assert support.verdict.startswith(word)
    assert reason in support.verdict


def test_doubts_only_worsen_a_verdict():
    estimate = ncis(LOG_RATIO, SESSION, USER, LEVEL)
    few = "2 users, fewer than 10"
    assert estimate.verdict.startswith(NOT_SUPPORTED)
    assert few in estimate.verdict
    assert with_doubts(estimate, [Doubt(CAUTION, "off")]) == estimate
    assert with_doubts(estimate, [Doubt(NOT_SUPPORTED, "off")]).verdict == f"{estimate.verdict}; off"
    good = replace(estimate, verdict=SUPPORTED)
    assert with_doubts(good, []) is good
    assert with_doubts(good, [Doubt(CAUTION, "a"), Doubt(CAUTION, "b")]).verdict == f"{CAUTION}: a; b"
    assert with_doubts(replace(good, verdict=f"{CAUTION}: a"), [Doubt(NOT_SUPPORTED, "b")]).verdict == (
        f"{NOT_SUPPORTED}: b"
    )


def test_products_are_judged_by_the_distance_of_a_session(record: Record):
    arguments = columns(record, "taste")
    assert ncis(*arguments).verdict == SUPPORTED
    product = ncis(*arguments, weighting="session_product")
    assert product.verdict.startswith((CAUTION, NOT_SUPPORTED))
    assert product.d2 == ncis(*arguments).d2


def test_cap_sweep_is_ncis_at_each_cap(record: Record):
    arguments = columns(record, "taste")
    sweep = cap_sweep(*arguments, caps=(1, 10), draws=50)
    assert sweep[1].value == ncis(*arguments, cap=1).value
    assert sweep[10].value == ncis(*arguments, cap=10).value


def test_intervals_are_a_bootstrap_of_users(record: Record):
    arguments = columns(record, "taste")
    first, again, other = (ncis(*arguments, seed=seed) for seed in (0, 0, 1))
    assert (first.low, first.high) == (again.low, again.high) != (other.low, other.high)
    log_ratio, session, _, level = arguments
    weight = np.minimum(np.exp(log_ratio), 10)
    length = np.bincount(session)
    weights = np.bincount(session, weight) / length
    of_user = [
        np.average(level[mine], weights=weights[mine])
        for u in range(150)
        if (mine := (record.log.session_user_index == u) & ~np.isnan(level)).any()
    ]
    half = 1.96 * np.std(of_user, ddof=1) / np.sqrt(len(of_user))
    assert first.value == pytest.approx(np.mean(of_user))
    assert (first.high - first.low) / 2 == pytest.approx(half, rel=0.1)


def test_estimators_refuse_what_they_cannot_use():
    with pytest.raises(ValueError, match="must share a shape"):
        ncis(LOG_RATIO[1:], SESSION, USER, LEVEL)
    with pytest.raises(ValueError, match="cap must be > 0"):
        ncis(LOG_RATIO, SESSION, USER, LEVEL, cap=0)
    with pytest.raises(ValueError, match="log_ratio must be finite, row 2"):
        ncis(np.where(np.arange(6) == 2, np.nan, LOG_RATIO), SESSION, USER, LEVEL)
    with pytest.raises(UnsupportedEstimateError, match="no session has a level"):
        ncis(LOG_RATIO, SESSION, USER, np.full(4, np.nan))
    with pytest.raises(ValueError, match="q_logged"):
        doubly_robust(LOG_RATIO, SESSION, USER, LEVEL, np.zeros(3), np.zeros(6))
    with pytest.raises(ConfigError, match="unknown weighting"):
        ncis(LOG_RATIO, SESSION, USER, LEVEL, weighting="requests")  # type: ignore[arg-type]
    assert WEIGHTINGS == ("request", "session_product", "density_product")
