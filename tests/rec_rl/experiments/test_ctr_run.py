import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from rec_rl import checkpoint
from rec_rl.commands.ctr import app
from rec_rl.data.interactions import Interactions, RawRows, build_interactions
from rec_rl.data.splits import exposure_split, sampled_negative_split, split_log
from rec_rl.errors import CheckpointError, ConfigError, UnsupportedEstimateError
from rec_rl.experiments.ctr_notes import split_notes
from rec_rl.experiments.ctr_rewards import SAMPLED_NOTE, train_decisions
from rec_rl.experiments.ctr_run import CTRRunSpec, run_ctr
from rec_rl.experiments.ctr_training import CTRConfig, CTRTraining
from tuning.best import BEST, write_best

SMALL = CTRConfig(embedding_size=4, hidden_sizes=(8,), batch_size=128, learning_rate=2e-2, max_epochs=2)


def log_of(users: list[int], items: list[int], actions: list[int], **columns: object) -> Interactions:
    raw = RawRows(
        users=np.array(users),
        items=np.array(items),
        times=np.arange(len(users)),
        actions=np.array(actions, np.int8),
        exposed=np.full(len(users), 0 in actions),
        **columns,
    )
    return build_interactions(raw, None)


@pytest.fixture(scope="module")
def exposures() -> pd.DataFrame:
    """Users click on items of their own parity; a tenth of the clicks is rated."""
    rng = np.random.default_rng(0)
    n = 1500
    users, items = rng.integers(1, 61, n), rng.integers(1, 21, n)
    clicks = (rng.random(n) < np.where(items % 2 == users % 2, 0.9, 0.1)).astype(int)
    rated = (clicks == 1) & (rng.random(n) < 0.1)
    stars = np.where(rated, rng.integers(1, 6, n), np.nan)
    return pd.DataFrame({"uid": users, "iid": items, "ts": np.arange(n), "click": clicks, "stars": stars})


def test_decisions_from_exposures_by_hand():
    # User 1 clicks 5, skips 6 in one session and clicks 7 in the next; user 2's last rows are for the test.
    log = log_of(
        [1, 1, 1, 1, 2, 2, 2, 2, 2, 2],
        [5, 6, 7, 8, 5, 6, 7, 8, 5, 6],
        [1, 0, 1, 0, 1, 0, 1, 0, 1, 0],
        sessions=np.array([1, 1, 2, 2, 3, 3, 3, 3, 3, 3]),
        feedback={"stars": np.array([5, np.nan, 1, *[np.nan] * 6, 3], np.float32)},
    )
    data = exposure_split(log, validation_share=0.2, test_share=0.2, max_history=3)
    rows, order = train_decisions(data, log, feedback="stars")
    codes = dict(zip([5, 6, 7, 8], [1, 2, 3, 4], strict=True))
    a, b, c, d = codes.values()
    assert rows.states.tolist() == [
        [1, a, 0, 0, 0],
        [1, b, 0, 0, a],
        [1, c, 0, 0, a],
        [1, d, 0, a, c],
        [2, a, 0, 0, 0],
        [2, b, 0, 0, a],
    ]
    # After the last row of each user comes the item before it; user 2's rows in the test stay unseen.
    after = [*rows.states[1:4].tolist(), [1, c, 0, a, c], rows.states[5].tolist(), [2, a, 0, 0, a]]
    assert rows.next_states.tolist() == after
    assert rows.terminated.tolist() == [False, True, False, False, False, False]
    assert rows.truncated.tolist() == [False, False, False, True, False, True]
    np.testing.assert_array_equal(rows.feedback, [1, np.nan, 0, np.nan, np.nan, np.nan])
    np.testing.assert_array_equal(data.train.clicks[order], rows.actions)


def test_decisions_from_sampled_negatives_grow_the_history_by_clicks_alone():
    log = log_of([1] * 5 + [2] * 5, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10], [1] * 10)
    data = sampled_negative_split(log, seed=0, validation_share=0.5, max_history=4)
    rows, order = train_decisions(data, log)
    assert rows.actions.tolist() == [0, 1] * 6
    clicked = rows.states[rows.actions == 1]
    assert clicked[:3].tolist() == [[1, 2, 0, 0, 0, 1], [1, 3, 0, 0, 1, 2], [1, 4, 0, 1, 2, 3]]
    inside = ~rows.truncated
    np.testing.assert_array_equal(rows.next_states[inside], rows.states[1:][inside[:-1]])
    last = np.flatnonzero(rows.truncated)
    assert rows.actions[last].tolist() == [1, 1]
    # The negative again, to a history that ends with the click; the held-out item 5 is nowhere.
    np.testing.assert_array_equal(rows.next_states[last, 1], rows.states[last - 1, 1])
    assert rows.next_states[last, -1].tolist() == [4, 9]
    assert sorted(order) == list(range(len(data.train)))
    assert not rows.terminated.any()
    assert rows.feedback is None


def test_split_is_by_exposures_where_there_are_any():
    users = list(np.repeat(np.arange(1, 11), 6))
    items = list(np.tile(np.arange(1, 7), 10))
    assert split_log(log_of(users, items, [1, 0] * 30), seed=0).settings["protocol"] == "exposures"
    more = [user + item for user, item in zip(users, items, strict=True)]
    assert split_log(log_of(users, more, [1] * 60), seed=0).settings["protocol"] == "sampled negatives"


def test_an_aligned_run_leaves_its_record_with_arms_and_controls(exposures: pd.DataFrame, tmp_path: Path):
    exposures.to_csv(tmp_path / "log.csv", index=False)
    spec = CTRRunSpec(
        data=str(tmp_path / "log.csv"),
        mapping="user=uid,item=iid,time=ts,action=click,feedback=stars",
        training=replace(SMALL, kappa=0.1),
        reward="anchored",
        feedback="stars",
    )
    folder = tmp_path / "runs" / "aligned"
    record = run_ctr(spec, folder, resume=False, command="rec-rl ctr train din")
    assert json.loads((folder / "record.json").read_text()) == record
    assert set(record["arms"]) == {"ce", "anchored"}
    assert set(record["controls"]) == {"shuffled", "placebo", "q_difference"}
    assert record["metrics"] == record["arms"]["anchored"]["metrics"]
    assert {"auc", "gauc", "log_loss", "calibration_error"} == set(record["arms"]["ce"]["metrics"])
    auc, plain = (record["arms"][arm]["metrics"]["auc"]["value"] for arm in ("anchored", "ce"))
    assert record["metrics"]["auc_gain"]["value"] == pytest.approx(auc - plain, abs=1e-5)
    assert record["metrics"]["auc"]["low"] < auc < record["metrics"]["auc"]["high"]
    assert any("explicit feedback" in note for note in record["notes"])
    assert SAMPLED_NOTE not in record["notes"]
    left = {path.name for path in folder.iterdir()}
    assert left == {
        "config.json",
        "record.json",
        "metrics.csv",
        "report.html",
        "checkpoints",
        "figures",
        "reward",
    }
    with pytest.raises(ConfigError, match="holds a run already"):
        run_ctr(spec, folder, resume=False, command="again")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.7])
def test_a_run_that_was_killed_goes_on_to_the_same_result(
    exposures: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: float
):
    exposures.to_csv(tmp_path / "log.csv", index=False)
    spec = CTRRunSpec(
        data=str(tmp_path / "log.csv"),
        mapping="user=uid,item=iid,time=ts,action=click",
        training=replace(SMALL, kappa=0.1, max_epochs=2),
        reward="iq_learn",
    )
    step, taken, deaths = CTRTraining.step, [0], []

    def mortal(self: CTRTraining) -> float:
        if deaths and taken[0] >= deaths[0]:
            raise KeyboardInterrupt
        taken[0] += 1
        return step(self)

    monkeypatch.setattr(checkpoint, "SECONDS", 0.0)
    monkeypatch.setattr(CTRTraining, "step", mortal)
    whole = run_ctr(spec, tmp_path / "whole", resume=False, command="")
    num_steps, taken[0] = taken[0], 0
    deaths.append(round(share * num_steps))
    with pytest.raises(KeyboardInterrupt):
        run_ctr(spec, tmp_path / "killed", resume=False, command="")
    deaths.clear()
    resumed = run_ctr(spec, tmp_path / "killed", resume=True, command="")
    assert taken[0] == num_steps  # no step that was kept is taken again
    assert (resumed["arms"], resumed["controls"]) == (whole["arms"], whole["controls"])
    with pytest.raises(ConfigError, match="other settings"):
        run_ctr(replace(spec, seed=1), tmp_path / "killed", resume=True, command="")
    exposures[:-1].to_csv(tmp_path / "log.csv", index=False)
    with pytest.raises(CheckpointError, match="holds a reward of other rows"):
        run_ctr(spec, tmp_path / "killed", resume=True, command="")


def test_a_plain_run_on_actions_alone_counts_what_it_left_out(exposures: pd.DataFrame, tmp_path: Path):
    clicks = exposures[exposures.click == 1]
    once = pd.DataFrame({"uid": [99], "iid": [1], "ts": [0]})
    pd.concat([clicks, once]).to_csv(tmp_path / "log.csv", index=False)
    spec = CTRRunSpec(
        data=str(tmp_path / "log.csv"),
        mapping="user=uid,item=iid,time=ts",
        training=replace(SMALL, model="deepfm"),
    )
    record = run_ctr(spec, tmp_path / "plain", resume=False, command="")
    assert "users with a single action, history only: 1" in record["notes"]
    assert (record["arms"], record["controls"]) == ({}, {})
    aligned = replace(spec, training=replace(SMALL, kappa=0.2), reward="iq_learn")
    notes = run_ctr(aligned, tmp_path / "aligned", resume=False, command="")["notes"]
    assert SAMPLED_NOTE in notes
    assert not any("declined" in note for note in notes)


def test_users_that_gauc_cannot_judge_are_counted_and_a_test_without_others_is_refused():
    # 30 exposures by time, the last six for the test: user 4 clicks and skips there, user 5 only clicks
    users = [1, 2, 3] * 8 + [4, 4, 5, 5, 5, 5]
    actions = [1, 0] * 12 + [1, 0, 1, 1, 1, 1]
    data = exposure_split(log_of(users, [*range(1, 31)], actions), test_share=0.2)
    assert split_notes(data)[-1] == "GAUC: 1 users with a single class left out"
    actions[25] = 1
    data = exposure_split(log_of(users, [*range(1, 31)], actions), test_share=0.2)
    with pytest.raises(UnsupportedEstimateError, match="GAUC needs a user with both classes, none of 2"):
        split_notes(data)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"training": CTRConfig(model="dinn")}, "did you mean 'din'"),
        ({"reward": "anchord"}, "did you mean 'anchored'"),
        ({"reward": "iq_learn"}, "kappa > 0 go together, got reward iq_learn and kappa 0"),
        ({"training": CTRConfig(kappa=0.1)}, "go together, got reward None and kappa 0.1"),
        ({"feedback": "stars"}, "feedback calibrates the reward anchored, got reward None"),
        ({"reward_epochs": 0}, "reward_epochs must be >= 1, got 0"),
    ],
)
def test_a_spec_refuses_what_does_not_go_together(settings: dict[str, object], message: str):
    with pytest.raises(ConfigError, match=message):
        CTRRunSpec(data="log", **settings)


def test_feedback_of_a_single_value_is_refused():
    log = log_of([1] * 10, [1, 2] * 5, [1, 0] * 5, feedback={"stars": np.full(10, 3, np.float32)})
    data = exposure_split(log, validation_share=0.2, test_share=0.2)
    with pytest.raises(ConfigError, match=r"'stars' must hold two values or more, got \[3.0\]"):
        train_decisions(data, log, feedback="stars")


def test_a_click_model_takes_what_a_sweep_found(exposures: pd.DataFrame, tmp_path: Path):
    exposures.to_csv(tmp_path / "log.csv", index=False)
    write_best(tmp_path / BEST, "wide_deep", {"learning_rate": 0.01, "hidden_sizes": [8]}, "record.json")
    train = [
        "train",
        "wide_deep",
        "--data",
        tmp_path / "log.csv",
        "--map",
        "user=uid,item=iid,time=ts,action=click",
    ]
    options = ["--config", tmp_path / BEST, "--runs", tmp_path / "runs", "--json"]
    done = CliRunner().invoke(app, [str(word) for word in [*train, *options]])
    assert done.exit_code == 0, done.output
    training = json.loads((tmp_path / "runs/ctr-wide_deep-0/record.json").read_text())["config"]["training"]
    assert (training["learning_rate"], training["hidden_sizes"], training["model"]) == (
        0.01,
        [8],
        "wide_deep",
    )
