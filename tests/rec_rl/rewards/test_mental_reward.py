from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from envs.click_world import ClickWorld, ClickWorldLog
from rec_rl import checkpoint
from rec_rl.data.transitions import UserTransitions
from rec_rl.errors import CheckpointError, ConfigError
from rec_rl.rewards import (
    REWARD_METHODS,
    AnchoredConfig,
    IQLearnConfig,
    MentalRewardModel,
    QRIQLConfig,
    fit_mental_reward,
)
from rec_rl.rewards.mental_reward import calibrate_mental_reward, level_gauge

METHODS = sorted(REWARD_METHODS)


def tiny(method: str, **changes: object) -> object:
    settings = {"steps": 20, "head_steps": 10, "batch_size": 64, "hidden_sizes": (8,), "num_quantiles": 3}
    return REWARD_METHODS[method](**{**settings, **changes})


@pytest.mark.parametrize(("method", "floor"), [("anchored", 0.90), ("iq_learn", 0.88), ("qr_iql", 0.88)])
def test_small_fits_recover_most_of_the_true_differences(
    models: dict[str, MentalRewardModel],
    fresh_log: ClickWorldLog,
    true_difference: np.ndarray,
    method: str,
    floor: float,
):
    reward = models[method].reward(fresh_log.transitions.states)
    assert np.corrcoef(reward[:, 1] - reward[:, 0], true_difference)[0, 1] > floor


def test_anchored_alone_sees_through_bait(
    models: dict[str, MentalRewardModel], world: ClickWorld, fresh_log: ClickWorldLog
):
    """A bait's future cost belongs to the click logit, not to the reward: the truth has a gap of .41."""
    bait = world.bait[fresh_log.states] == 1
    gaps = {}
    for method, model in models.items():
        states = fresh_log.transitions.states
        excess = np.diff(model.reward(states) - model.q(states), axis=1)[:, 0]
        gaps[method] = excess[bait].mean() - excess[~bait].mean()
    assert gaps["anchored"] > 0.25
    assert max(gaps["iq_learn"], gaps["qr_iql"]) < 0.12


@pytest.mark.parametrize("method", METHODS)
def test_model_answers_have_their_shapes_and_meanings(
    models: dict[str, MentalRewardModel], fresh_log: ClickWorldLog, method: str
):
    model, states = models[method], fresh_log.transitions.states[:50]
    reward, quantiles = model.reward(states), model.quantiles(states)
    assert (reward.shape, quantiles.shape) == ((50, 2), (50, 2, 10))
    assert reward.dtype == np.float32
    assert (np.diff(quantiles, axis=2) >= 0).all()
    q, log_policy = model.q(states), model.log_policy(states)
    np.testing.assert_allclose(np.exp(log_policy).sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(np.diff(log_policy, axis=1), np.diff(q, axis=1), atol=1e-4)
    with pytest.raises(ValueError, match=r"states must have shape \[n, 21\], got \(50, 20\)"):
        model.reward(states[:, 1:])


def test_reward_targets_are_the_implied_rewards(
    models: dict[str, MentalRewardModel], fresh_log: ClickWorldLog
):
    model, rows = models["anchored"], fresh_log.transitions.rows(np.arange(40))
    q_next = model.q(rows.next_states)
    v_next = np.where(rows.terminated, 0.0, np.logaddexp(q_next[:, 0], q_next[:, 1]))
    expected = model.q(rows.states)[np.arange(40), rows.actions] - 0.9 * v_next
    np.testing.assert_allclose(model.reward_targets(rows), expected, atol=1e-4)
    assert rows.terminated.any()


def test_record_tells_what_the_fit_reached(models: dict[str, MentalRewardModel], training_log: ClickWorldLog):
    for method, model in models.items():
        record = model.record
        assert record.method == method
        assert record.data_hash == training_log.transitions.content_hash
        assert 0.85 < record.num_rows / len(training_log.transitions) < 0.95
        assert record.base_log_likelihood < record.log_likelihood < -0.5
        assert record.coverage_error < 0.06
        assert record.reward_sd > 0
    assert abs(models["iq_learn"].record.level_gauge) < 0.02
    assert abs(models["qr_iql"].record.level_gauge) < 0.02
    assert (
        "the reward of skipping is known and equals 0 in every state" in models["anchored"].record.assumptions
    )


def test_level_gauge_by_hand():
    rewards = np.array([1.0, -2.0], np.float32)
    # (1 (1 - .5) - 2 (1 - 0)) / 2
    assert level_gauge(rewards, np.array([False, True]), 0.5) == pytest.approx(-0.75)


def test_mislabelled_exits_spoil_the_anchored_reward(
    models: dict[str, MentalRewardModel],
    training_log: ClickWorldLog,
    fresh_log: ClickWorldLog,
    true_difference: np.ndarray,
):
    rows = training_log.transitions
    staying = replace(rows, terminated=np.zeros(len(rows), bool), truncated=rows.terminated | rows.truncated)
    spoiled = fit_mental_reward(staying, models["anchored"].config, seed=0)

    def error(model: MentalRewardModel) -> float:
        reward = model.reward(fresh_log.transitions.states)
        return float(np.sqrt(np.square(reward[:, 1] - reward[:, 0] - true_difference).mean()))

    assert error(spoiled) > 1.3 * error(models["anchored"])


@pytest.mark.parametrize("method", METHODS)
def test_the_same_seed_gives_the_same_model(training_log: ClickWorldLog, method: str):
    rows = training_log.transitions.rows(np.arange(2000))
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, second, other = (fit_mental_reward(rows, tiny(method), seed=seed) for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), before)
    np.testing.assert_array_equal(first.reward(rows.states), second.reward(rows.states))
    assert first.record == second.record
    assert (first.reward(rows.states) != other.reward(rows.states)).any()


@pytest.mark.parametrize("ended_at", [1, 13, 20, 21, 29, 30])
@pytest.mark.parametrize("method", METHODS)
def test_a_fit_that_was_ended_goes_on_to_the_same_model(
    training_log: ClickWorldLog,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    ended_at: int,
    ending_at: Any,
):
    monkeypatch.setattr(checkpoint, "SECONDS", 0.0)
    rows = training_log.transitions.rows(np.arange(2000))
    whole = fit_mental_reward(rows, tiny(method), seed=3)
    steps: list[int] = []
    end = ending_at(ended_at, steps)

    with pytest.raises(KeyboardInterrupt):
        fit_mental_reward(rows, tiny(method), seed=3, on_step=end, checkpoints=tmp_path)
    resumed = fit_mental_reward(
        rows,
        tiny(method),
        seed=3,
        on_step=lambda step, *_: steps.append(step),
        checkpoints=tmp_path,
    )
    assert steps == list(range(1, 31))  # none is taken again
    assert resumed.record == whole.record
    for name in ("reward", "quantiles", "q"):
        np.testing.assert_array_equal(getattr(resumed, name)(rows.states), getattr(whole, name)(rows.states))
    fit_mental_reward(rows, tiny(method), seed=3, on_step=pytest.fail, checkpoints=tmp_path)  # all are taken
    for other, seed, config in ((rows, 4, tiny(method)), (rows, 3, tiny(method, learning_rate=0.1))):
        with pytest.raises(CheckpointError, match=r"no checkpoint in .* is whole: .*must be"):
            fit_mental_reward(other, config, seed=seed, checkpoints=tmp_path)
    with pytest.raises(CheckpointError, match="data hash must be"):
        fit_mental_reward(rows.rows(np.arange(1900)), tiny(method), seed=3, checkpoints=tmp_path)


def test_progress_counts_every_step_once(training_log: ClickWorldLog):
    seen = []
    fit_mental_reward(
        training_log.transitions.rows(np.arange(500)),
        tiny("iq_learn"),
        on_step=lambda step, total, metrics: seen.append((step, total, *metrics)),
    )
    assert [step for step, _, _ in seen] == list(range(1, 31))
    assert {total for _, total, _ in seen} == {30}
    assert [name for _, _, name in seen] == ["q_loss"] * 20 + ["head_loss"] * 10


@pytest.mark.parametrize("method", METHODS)
def test_a_saved_model_comes_back_whole(training_log: ClickWorldLog, tmp_path: Path, method: str):
    rows = training_log.transitions.rows(np.arange(500))
    model = fit_mental_reward(rows, tiny(method), seed=1)
    for _ in range(2):  # the second replaces the first
        model.save(tmp_path / "model")
    loaded = MentalRewardModel.load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.reward(rows.states), model.reward(rows.states))
    np.testing.assert_array_equal(loaded.quantiles(rows.states), model.quantiles(rows.states))
    np.testing.assert_array_equal(loaded.log_policy(rows.states), model.log_policy(rows.states))
    assert loaded.config == model.config
    assert loaded.record == model.record
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_load_and_save_refuse_foreign_and_corrupt_folders(training_log: ClickWorldLog, tmp_path: Path):
    model = fit_mental_reward(training_log.transitions.rows(np.arange(500)), tiny("qr_iql"))
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("years of work")
    for refused in (lambda: MentalRewardModel.load(foreign), lambda: model.save(foreign)):
        with pytest.raises(CheckpointError, match="foreign"):
            refused()
    assert (foreign / "thesis.txt").read_text() == "years of work"
    model.save(tmp_path / "model")
    weights = next((tmp_path / "model").glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-8] + b"\0" * 8)
    with pytest.raises(CheckpointError, match="SHA-256"):
        MentalRewardModel.load(tmp_path / "model")


def rated(world: ClickWorld, log: ClickWorldLog, share: float) -> UserTransitions:
    """Some clicked rows on which users say what they think in truth B."""
    rows = log.transitions
    asked = (rows.actions == 1) & (np.random.default_rng(0).random(len(rows)) < share)
    glad = world.mean_reward("B")[log.states, 1] > 0
    return replace(rows, feedback=np.where(asked, glad, np.nan).astype(np.float32))


def test_a_little_feedback_tells_the_anchored_reward_of_the_lure(
    models: dict[str, MentalRewardModel],
    world: ClickWorld,
    training_log: ClickWorldLog,
    fresh_log: ClickWorldLog,
):
    before = models["anchored"]
    rows = rated(world, training_log, 0.1)
    after = calibrate_mental_reward(before, rows)
    states = fresh_log.transitions.states
    truth = np.diff(world.mean_reward("B")[fresh_log.states], axis=1)[:, 0]

    def correlation(model: MentalRewardModel) -> float:
        return float(np.corrcoef(np.diff(model.reward(states), axis=1)[:, 0], truth)[0, 1])

    assert correlation(before) < 0.5
    assert correlation(after) > 0.57
    np.testing.assert_array_equal(after.q(states), before.q(states))
    assert after.record.num_feedback == np.isfinite(rows.feedback).sum()
    assert "explicit feedback on" in after.record.assumptions[-1]
    assert (before.record.num_feedback, before.record.difference_sd) != (
        after.record.num_feedback,
        after.record.difference_sd,
    )


def test_a_fit_uses_feedback_of_its_training_users_and_only_where_there_is_some(
    world: ClickWorld, training_log: ClickWorldLog, tmp_path: Path
):
    rows = rated(world, training_log, 0.2).rows(np.arange(2000))
    silent = replace(rows, feedback=np.full(2000, np.nan, np.float32))
    behaviour, unused = (
        fit_mental_reward(r, tiny("anchored")) for r in (replace(rows, feedback=None), silent)
    )
    np.testing.assert_array_equal(behaviour.reward(rows.states), unused.reward(rows.states))
    assert unused.record.num_feedback == 0
    model = fit_mental_reward(rows, tiny("anchored"))
    assert 0 < model.record.num_feedback < np.isfinite(rows.feedback).sum()
    training = rows.split(model.config.held_out_share, seed=0)[0]
    again = calibrate_mental_reward(behaviour, training)
    np.testing.assert_array_equal(again.reward(rows.states), model.reward(rows.states))
    model.save(tmp_path / "model")
    loaded = MentalRewardModel.load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.reward(rows.states), model.reward(rows.states))
    assert loaded.record == model.record
    assert fit_mental_reward(rows, tiny("iq_learn")).record.num_feedback == 0


def test_calibration_refuses_other_methods_and_silent_rows(
    models: dict[str, MentalRewardModel], world: ClickWorld, training_log: ClickWorldLog
):
    rows = rated(world, training_log, 0.1)
    with pytest.raises(ConfigError, match="calibrates the reward anchored, got qr_iql"):
        calibrate_mental_reward(models["qr_iql"], rows)
    with pytest.raises(ConfigError, match="no explicit feedback"):
        calibrate_mental_reward(models["anchored"], training_log.transitions)
    with pytest.raises(ConfigError, match="rows already"):
        calibrate_mental_reward(calibrate_mental_reward(models["anchored"], rows), rows)


class Squares(nn.Module):
    def forward(self, states: torch.Tensor) -> torch.Tensor:
        return states.square()


def test_any_body_can_carry_the_heads(training_log: ClickWorldLog, tmp_path: Path):
    rows = training_log.transitions.rows(np.arange(500))

    def body() -> tuple[nn.Module, int]:
        return Squares(), 21

    model = fit_mental_reward(rows, tiny("anchored"), body=body)
    # Squares hide the sign of a state.
    np.testing.assert_array_equal(model.reward(-rows.states), model.reward(rows.states))
    model.save(tmp_path / "model")
    loaded = MentalRewardModel.load(tmp_path / "model", body=body)
    np.testing.assert_array_equal(loaded.reward(rows.states), model.reward(rows.states))
    with pytest.raises(CheckpointError, match="custom body"):
        MentalRewardModel.load(tmp_path / "model")


def test_features_that_never_change_are_no_harm():
    rng = np.random.default_rng(0)
    states = np.concatenate([rng.random((400, 2)), np.full((400, 1), 7.0)], axis=1).astype(np.float32)
    rows = UserTransitions(
        states=states,
        actions=rng.integers(0, 2, 400),
        next_states=states[::-1].copy(),
        terminated=rng.random(400) < 0.1,
        truncated=np.zeros(400, bool),
    )
    assert np.isfinite(fit_mental_reward(rows, tiny("iq_learn")).reward(states)).all()


@pytest.mark.parametrize(
    ("config", "settings", "message"),
    [
        (IQLearnConfig, {"discount": 1.0}, r"discount must be in \[0, 1\), got 1.0"),
        (IQLearnConfig, {"iq_alpha": 0.0}, "iq_alpha must be > 0, got 0.0"),
        (QRIQLConfig, {"num_quantiles": 0}, "num_quantiles must be >= 1, got 0"),
        (QRIQLConfig, {"held_out_share": 0.0}, r"held_out_share must be in \(0, 1\), got 0.0"),
        (AnchoredConfig, {"tau": 0.0}, r"tau must be in \(0, 1\], got 0.0"),
        (AnchoredConfig, {"feedback_prior_sd": 0.0}, "feedback_prior_sd must be > 0, got 0.0"),
        (AnchoredConfig, {"hidden_sizes": ()}, "hidden_sizes must be one or more"),
        (AnchoredConfig, {"learning_rate": -1.0}, "learning_rate must be > 0, got -1.0"),
    ],
)
def test_configs_refuse_what_is_out_of_bounds(config: type, settings: dict[str, object], message: str):
    with pytest.raises(ConfigError, match=message):
        config(**settings)
