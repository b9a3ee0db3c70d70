from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from envs.click_world import ClickWorld, ClickWorldLog
from rec_rl.data.transitions import UserTransitions
from rec_rl.rewards import MentalRewardModel, fit_mental_reward
from rec_rl.rewards.check import RewardCheck, check_reward
from rec_rl.rewards.controls import ShuffledReward
from rec_rl.rewards.findings import ends_labelled, exits_labelled, session_steps
from rec_rl.rewards.mental_reward import calibrate_mental_reward
from rec_rl.rewards.model_findings import exits_valued

States = np.ndarray
FATIGUE = slice(9, 14)  # of a click-world state, one-hot


def failed(check: RewardCheck) -> set[str]:
    return {finding.name for finding in check.findings if finding.passed is False}


def value(check: RewardCheck, name: str) -> float:
    return next(finding.value for finding in check.findings if finding.name == name)


@pytest.mark.parametrize("method", ["iq_learn", "qr_iql", "anchored"])
def test_honest_rewards_pass(models: dict[str, MentalRewardModel], fresh_log: ClickWorldLog, method: str):
    check = check_reward(models[method], fresh_log.transitions)
    assert check.passed, check.verdict
    assert check.verdict.startswith("PASSES")
    assert all(finding.passed for finding in check.findings)
    names = {finding.name for finding in check.findings}
    assert {"policy explains behaviour", "level", "exits valued at zero", "sensitivity to gamma"} <= names
    assert ("sensitivity to r0" in names) == (method == "anchored")


def fatigue(states: States) -> np.ndarray:
    return (states[:, FATIGUE] @ np.arange(5))[:, None]


CHEATS: dict[str, Callable[[MentalRewardModel, States], Callable[[States], np.ndarray]]] = {
    "sign flipped": lambda model, _: lambda states: -model.reward(states),
    "actions swapped": lambda model, _: lambda states: model.reward(states)[:, ::-1],
    "constant": lambda model, _: lambda states: np.full((len(states), 2), 0.7),
    "shuffled": lambda model, states: ShuffledReward(model.reward(states[:2000])),
    "shuffled rows": lambda model, _: (
        lambda states: np.random.default_rng(0).permutation(model.reward(states))
    ),
    "growing with the session": lambda model, _: lambda states: np.repeat(fatigue(states), 2, axis=1),
    "growing with the session if clicked": lambda model, _: lambda states: fatigue(states) * [[0.0, 1.0]],
    "honest, but paid by the step": lambda model, _: lambda states: model.reward(states) + fatigue(states),
}


@pytest.mark.parametrize("cheat", CHEATS)
def test_cheating_rewards_fail(models: dict[str, MentalRewardModel], fresh_log: ClickWorldLog, cheat: str):
    rows = fresh_log.transitions
    reward = CHEATS[cheat](models["anchored"], rows.states)
    check = check_reward(reward, rows)
    assert check.passed is False
    assert check.verdict.startswith("FAILS")
    assert "reward explains behaviour" in failed(check)
    if "paid by the step" not in cheat:
        assert "click ranking" in failed(check)


def test_a_plain_function_with_the_true_reward_passes(world: ClickWorld, fresh_log: ClickWorldLog):
    keys = {row.tobytes(): reward for row, reward in zip(world.features, world.mean_reward(), strict=True)}
    check = check_reward(
        lambda states: np.array([keys[row.tobytes()] for row in states]), fresh_log.transitions
    )
    assert check.passed
    assert value(check, "reward explains behaviour") > 0.9


def test_a_policy_that_does_not_explain_its_users_fails(
    models: dict[str, MentalRewardModel], fresh_log: ClickWorldLog
):
    model = models["anchored"]
    check = check_reward(
        model.reward, fresh_log.transitions, log_policy=lambda states: model.log_policy(states)[:, ::-1]
    )
    assert failed(check) == {"policy explains behaviour"}


def test_a_clock_is_told_from_a_reward():
    rng = np.random.default_rng(0)
    steps = np.tile(np.arange(10), 300)
    states = np.stack([steps, rng.standard_normal(3000)], axis=1).astype(np.float32)
    rows = UserTransitions(
        states=states,
        actions=(rng.random(3000) < 1 / (1 + np.exp(-states[:, 1]))).astype(np.int64),
        next_states=np.roll(states, -1, axis=0),
        terminated=np.tile(np.arange(10) == 9, 300),
        truncated=np.zeros(3000, bool),
        users=np.repeat(np.arange(300), 10),
    )
    check = check_reward(lambda s: np.stack([s[:, 0], s[:, 0] + s[:, 1]], axis=1), rows, discount=0.0)
    # Every session ends at step 10, as an exit: that is a time limit.
    assert failed(check) == {"exits labelled", "not a clock"}
    assert value(check, "not a clock") > 0.9


def test_mislabelled_exits_are_found(models: dict[str, MentalRewardModel], fresh_log: ClickWorldLog):
    rows = fresh_log.transitions
    none = np.zeros(len(rows), bool)
    without = replace(rows, terminated=none, truncated=rows.terminated | rows.truncated)
    assert exits_labelled(without).passed is False
    assert "exits labelled" in failed(check_reward(models["anchored"].reward, without))
    assert ends_labelled(replace(rows, truncated=none)).passed is False
    time_limit = replace(rows, terminated=rows.truncated, truncated=rows.terminated)
    assert exits_labelled(time_limit).passed is False
    assert exits_labelled(rows).passed
    assert ends_labelled(rows).passed


def test_a_model_fitted_without_exits_fails(
    models: dict[str, MentalRewardModel], training_log: ClickWorldLog, fresh_log: ClickWorldLog
):
    rows = training_log.transitions
    staying = replace(rows, terminated=np.zeros(len(rows), bool), truncated=rows.terminated | rows.truncated)
    model = fit_mental_reward(staying, models["anchored"].config, seed=0)
    assert exits_valued(model, fresh_log.transitions).passed is False


def test_feedback_tells_truths_apart_that_clicks_cannot(
    models: dict[str, MentalRewardModel], fresh_log: ClickWorldLog, world: ClickWorld
):
    rows, reward = fresh_log.transitions.rows(np.arange(4000)), models["anchored"].reward
    clicked = np.flatnonzero(rows.actions)[:500]
    feedback = np.full(len(rows), np.nan)
    feedback[clicked] = world.mean_reward("A")[fresh_log.states[clicked], 1]
    check = check_reward(reward, rows, feedback=feedback)
    assert check.passed
    assert value(check, "agreement with feedback") > 0.8
    against = check_reward(reward, rows, feedback=-feedback)
    assert failed(against) == {"agreement with feedback"}
    # In truth B, whose users regret their baits, the same clicks and the same reward agree less.
    feedback[clicked] = world.mean_reward("B")[fresh_log.states[clicked], 1]
    regretted = check_reward(reward, rows, feedback=feedback)
    assert value(regretted, "agreement with feedback") < 0.6


def satisfied_in_truth_b(world: ClickWorld, log: ClickWorldLog, share: float) -> UserTransitions:
    """The log with answers on a share of its clicked rows, by users who regret their baits."""
    rows = log.transitions
    asked = (rows.actions == 1) & (np.random.default_rng(0).random(len(rows)) < share)
    glad = world.mean_reward("B")[log.states, 1] > 0
    return replace(rows, feedback=np.where(asked, glad, np.nan).astype(np.float32))


def test_a_calibrated_reward_is_judged_by_behaviour_and_by_the_feedback_of_others(
    models: dict[str, MentalRewardModel],
    training_log: ClickWorldLog,
    fresh_log: ClickWorldLog,
    world: ClickWorld,
):
    answered = satisfied_in_truth_b(world, training_log, 0.3)
    model = calibrate_mental_reward(models["anchored"], answered)
    check = check_reward(model, satisfied_in_truth_b(world, fresh_log, 0.3))
    assert check.passed, check.verdict
    # What users do still decides about the part that behaviour gave.
    plain = check_reward(models["anchored"], fresh_log.transitions)
    for name in ("click ranking", "reward explains behaviour", "exits valued at zero"):
        assert value(check, name) == value(plain, name)
    agreement = next(f for f in check.findings if f.name == "agreement with feedback")
    before = float(agreement.sentence.rpartition("it was ")[2].rstrip("."))
    assert agreement.value > before + 0.1
    assert "only feedback tells" not in check.verdict


def test_a_reward_is_not_judged_by_the_answers_it_was_calibrated_on(
    models: dict[str, MentalRewardModel], training_log: ClickWorldLog, world: ClickWorld
):
    answered = satisfied_in_truth_b(world, training_log, 0.3)
    model = calibrate_mental_reward(models["anchored"], answered)
    model.record = replace(model.record, data_hash=answered.content_hash)  # as a fit on these rows leaves it
    check = check_reward(model, answered)
    agreement = next(f for f in check.findings if f.name == "agreement with feedback")
    kept = answered.split(model.config.held_out_share, seed=model.record.seed)[1].feedback
    assert agreement.sentence.startswith(f"over {np.isfinite(kept).sum()} rows with feedback")


def test_an_anchored_reward_without_feedback_says_what_it_rests_on(
    models: dict[str, MentalRewardModel], fresh_log: ClickWorldLog
):
    verdict = check_reward(models["anchored"], fresh_log.transitions).verdict
    assert "only feedback tells" in verdict
    assert "No log can test that every skip" in verdict
    assert "the reward of skipping is known and equals 0 in every state" in verdict


def test_little_feedback_is_not_judged(models: dict[str, MentalRewardModel], fresh_log: ClickWorldLog):
    feedback = np.full(len(fresh_log.transitions), np.nan)
    feedback[:10] = np.arange(10)
    check = check_reward(models["anchored"].reward, fresh_log.transitions, feedback=feedback)
    assert np.isnan(value(check, "agreement with feedback"))
    assert check.passed


@pytest.mark.parametrize("click_rate", [0.4, 0.0])
def test_users_who_act_at_random_cannot_judge_a_reward(click_rate: float):
    rng = np.random.default_rng(1)
    states = rng.standard_normal((3000, 5)).astype(np.float32)
    rows = UserTransitions(
        states=states,
        actions=(rng.random(3000) < click_rate).astype(np.int64),
        next_states=rng.standard_normal((3000, 5)).astype(np.float32),
        terminated=rng.random(3000) < 0.2,
        truncated=np.zeros(3000, bool),
    )
    check = check_reward(lambda s: s[:, :2], rows, log_policy=lambda s: np.full((len(s), 2), -0.7))
    assert check.passed is None
    assert check.verdict.startswith("CANNOT BE JUDGED")


def test_the_gate_judges_wide_states_without_user_ids():
    """States of a recommender's page: 88 binary features, a page number and a weight vector of 27."""
    rng = np.random.default_rng(0)
    num_rows = 4000

    def draw() -> np.ndarray:
        user = rng.random((num_rows, 88)) < 0.12
        page = rng.integers(1, 100, (num_rows, 1))
        return np.concatenate([user, page, rng.uniform(-1, 1, (num_rows, 27))], axis=1).astype(np.float32)

    states = draw()
    worth = 1.5 + 2 * states[:, 89] + (states[:, 0] - 0.12) * 4 * states[:, 90]
    rows = UserTransitions(
        states=states,
        actions=(rng.random(num_rows) < 1 / (1 + np.exp(-worth))).astype(np.int64),
        next_states=draw(),
        terminated=rng.random(num_rows) < 0.15,
        truncated=np.zeros(num_rows, bool),
    )

    def honest(s: States) -> np.ndarray:
        return np.stack([0 * s[:, 0], 1.5 + 2 * s[:, 89] + (s[:, 0] - 0.12) * 4 * s[:, 90]], axis=1)

    assert check_reward(honest, rows).passed
    assert check_reward(lambda s: -honest(s), rows).passed is False
    assert check_reward(lambda s: np.repeat(s[:, 88:89], 2, axis=1) / 10, rows).passed is False


def test_check_refuses_rewards_that_are_no_numbers(fresh_log: ClickWorldLog):
    rows = fresh_log.transitions
    with pytest.raises(ValueError, match="must have shape"):
        check_reward(lambda states: states[:, 0], rows)
    with pytest.raises(ValueError, match="must be finite"):
        check_reward(lambda states: np.full((len(states), 2), np.nan), rows)
    with pytest.raises(ValueError, match="feedback must have shape"):
        check_reward(lambda states: states[:, :2], rows, feedback=np.zeros(3))


def test_session_steps_restart_with_the_user_and_after_an_end():
    rows = UserTransitions(
        states=np.zeros((6, 1), np.float32),
        actions=np.zeros(6, np.int64),
        next_states=np.zeros((6, 1), np.float32),
        terminated=np.array([0, 1, 0, 0, 0, 0], bool),
        truncated=np.zeros(6, bool),
        users=np.array([4, 4, 4, 4, 5, 5]),
    )
    np.testing.assert_array_equal(session_steps(rows), [0, 1, 0, 1, 0, 1])
    assert session_steps(replace(rows, users=None)) is None
