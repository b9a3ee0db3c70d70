import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from rec_rl.checkpoint import load_state, save_state
from rec_rl.data.catalogue import load_log
from rec_rl.data.interactions import RawRows, build_interactions
from rec_rl.data.splits import Impressions, exposure_split, sampled_negative_split
from rec_rl.errors import CheckpointError, ConfigError
from rec_rl.evaluation.ranking import auc
from rec_rl.experiments.ctr_training import (
    CTRConfig,
    CTRTraining,
    predict,
    reward_differences,
    shuffle_histories,
)
from rec_rl.models import MODELS
from rec_rl.models.batches import Rows

BEAUTY = Path(__file__).parents[3] / ".." / "shared" / "data" / "amazon_beauty_2014"


@pytest.fixture(scope="module")
def data():
    """Exposures in which users click on items of the categories that they clicked on before."""
    rng = np.random.default_rng(0)
    n, num_users = 2500, 100
    users, items = rng.integers(1, num_users + 1, n), rng.integers(1, 41, n)
    likes = items % 2 == users % 2
    clicks = rng.random(n) < np.where(likes, 0.9, 0.1)
    raw = RawRows(
        users=users,
        items=items,
        times=np.arange(n),
        actions=clicks.astype(np.int8),
        exposed=np.ones(n, np.bool_),
    )
    log = build_interactions(raw, (np.arange(1, 41), np.arange(1, 41) % 2))
    return exposure_split(log, test_share=0.2, max_history=8)


SMALL = CTRConfig(embedding_size=4, hidden_sizes=(16,), batch_size=64, learning_rate=2e-2, max_epochs=4)


@pytest.mark.parametrize("name", MODELS)
def test_every_model_learns(data, name):
    training = CTRTraining(data, replace(SMALL, model=name), seed=1)
    model = training.finish()
    # the best possible, which knows the users' tastes, reaches .90
    assert auc(data.test.clicks, predict(model, Rows.of(data, data.test))) > 0.8


@pytest.mark.gpu
@pytest.mark.parametrize("name", MODELS)
def test_a_gpu_gives_the_run_of_the_cpu(data, name):
    config = replace(SMALL, model=name, max_epochs=1, kappa=0.2, learning_rate=1e-3)
    difference = np.random.default_rng(0).normal(size=len(data.train)).astype(np.float32)
    rows, predicted = Rows.of(data, data.test), []
    for device in ("cpu", "cuda"):
        training = CTRTraining(data, config, seed=3, difference=difference, device=device)
        predicted.append(predict(training.finish().cpu(), rows))
    np.testing.assert_allclose(predicted[1], predicted[0], atol=1e-3)


def weights(training):
    return torch.cat([value.flatten() for value in training.model.state_dict().values()])


@pytest.mark.parametrize("name", ["din", "dien"])
def test_the_same_seed_gives_the_same_weights_and_leaves_torchs_generator_alone(data, name):
    config = replace(SMALL, model=name, max_epochs=1)
    before = torch.get_rng_state()
    first = CTRTraining(data, config, seed=3)
    first.finish()
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(7)
    second, other = CTRTraining(data, config, seed=3), CTRTraining(data, config, seed=4)
    second.finish()
    other.finish()
    assert torch.equal(weights(first), weights(second))
    assert not torch.equal(weights(first), weights(other))


def test_kappa_zero_is_plain_cross_entropy_bit_for_bit(data):
    difference = np.random.default_rng(0).normal(size=len(data.train)).astype(np.float32)
    plain, zero = CTRTraining(data, SMALL, seed=0), CTRTraining(data, SMALL, seed=0, difference=difference)
    for _ in range(20):
        assert plain.step() == zero.step()
    assert torch.equal(weights(plain), weights(zero))


def test_alignment_moves_clicks_to_where_the_mental_reward_is(data):
    wanted = data.train.items % 2 == 1
    difference = np.where(wanted, 1.0, -1.0).astype(np.float32)
    config = replace(SMALL, max_epochs=1)
    rows = Rows.of(data, data.test)
    odd = data.test.items % 2 == 1
    gaps = []
    for kappa in (0.0, 0.5):
        training = CTRTraining(data, replace(config, kappa=kappa), seed=0, difference=difference)
        predicted = predict(training.finish(), rows)
        gaps.append(predicted[odd].mean() - predicted[~odd].mean())
    assert gaps[1] > gaps[0] + 0.05


def test_reward_differences_are_scaled_clipped_and_not_centred():
    rewards = np.array([[5, 15], *[[7, 7]] * 9], np.float32)
    # differences 10 and nine times 0: deviation 3; 10 / 3 is clipped, the zeros stay
    assert reward_differences(rewards).tolist() == [3, *[0] * 9]


def test_a_constant_reward_is_refused():
    with pytest.raises(ConfigError, match="nothing to align to"):
        reward_differences(np.tile(np.array([[0.0, 1.0]], np.float32), (5, 1)))


def test_training_stops_at_the_first_drop_and_keeps_the_best_weights(data, monkeypatch):
    aucs = iter([0.6, 0.7, 0.65, 0.9])
    monkeypatch.setattr("rec_rl.experiments.ctr_training.auc", lambda clicks, scores: next(aucs))
    training = CTRTraining(data, replace(SMALL, max_epochs=9), seed=0)
    snapshots = []
    while not training.finished:
        done = len(training.epochs)
        training.step()
        if len(training.epochs) > done:
            snapshots.append(weights(training).clone())
    training.finish()
    assert [record.validation_auc for record in training.epochs] == [0.6, 0.7, 0.65]
    assert torch.equal(weights(training), snapshots[1])
    with pytest.raises(ValueError, match="the run is finished"):
        training.step()


@pytest.mark.parametrize("name", ["din", "dien"])
def test_a_resumed_run_equals_the_uninterrupted_one(data, tmp_path, name):
    config = replace(SMALL, model=name, max_epochs=2)
    whole = CTRTraining(data, config, seed=0)
    whole.finish()
    first = CTRTraining(data, config, seed=0)
    for _ in range(first.steps_per_epoch + 7):  # in the middle of the second epoch
        first.step()
    save_state(tmp_path / "state", first.state(), kind="ctr")
    second = CTRTraining(data, config, seed=0)
    second.restore(load_state(tmp_path / "state", kind="ctr"))
    second.finish()
    assert torch.equal(weights(second), weights(whole))
    assert [e.loss for e in second.epochs] == [e.loss for e in whole.epochs]
    assert [e.validation_auc for e in second.epochs] == [e.validation_auc for e in whole.epochs]


@pytest.mark.parametrize("change", [{"seed": 1}, {"config": replace(SMALL, batch_size=32)}])
def test_a_checkpoint_of_another_run_is_refused(data, change):
    state = CTRTraining(data, SMALL, seed=0).state()
    other = CTRTraining(data, **{"config": SMALL, "seed": 0, **change})
    with pytest.raises(CheckpointError, match=r"the checkpoint's (seed|config) must be"):
        other.restore(state)


def test_rows_are_shuffled_by_history():
    rows = Impressions(
        users=np.zeros(6, np.int32),
        items=np.arange(6, dtype=np.int32),
        clicks=np.zeros(6, np.int8),
        starts=np.array([0, 0, 0, 2, 2, 2]),
        ends=np.array([1, 1, 2, 2, 4, 4]),
        sources=np.zeros(6, np.int64),
    )
    orders = {tuple(shuffle_histories(rows, np.random.default_rng(seed))) for seed in range(200)}
    runs = ((0, 1), (2,), (3,), (4, 5))
    assert orders == {sum(order, ()) for order in itertools.permutations(runs)}


def test_progress_is_reported_after_every_step(data):
    seen = []
    training = CTRTraining(data, replace(SMALL, max_epochs=1), seed=0)
    training.finish(lambda step, total, metrics: seen.append((step, total, metrics)))
    assert [step for step, _, _ in seen] == list(range(1, training.steps_per_epoch + 1))
    assert seen[-1][2].keys() == {"loss", "validation_auc"}


def test_predictions_do_not_depend_on_the_batch(data, monkeypatch):
    training = CTRTraining(data, SMALL, seed=0)
    rows = Rows.of(data, data.test)
    together = predict(training.model, rows)
    monkeypatch.setattr("rec_rl.experiments.ctr_training.EVALUATION_BATCH", 7)
    np.testing.assert_allclose(predict(training.model, rows), together, atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kappa": -0.1}, "kappa must be >= 0, got -0.1"),
        ({"batch_size": 0}, "batch_size must be >= 1, got 0"),
        ({"learning_rate": 0.0}, "learning_rate must be > 0, got 0.0"),
    ],
)
def test_settings_out_of_bounds_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        CTRConfig(**settings)


def test_alignment_without_a_reward_is_refused(data):
    with pytest.raises(ConfigError, match=r"kappa = 0\.1 needs a mental reward"):
        CTRTraining(data, replace(SMALL, kappa=0.1), seed=0)
    with pytest.raises(ValueError, match="difference must have shape"):
        CTRTraining(data, SMALL, seed=0, difference=np.zeros(3, np.float32))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "floor"), [("din", 0.776), ("deepfm", 0.776)])
def test_quality_on_amazon_beauty(name, floor):
    if not BEAUTY.is_dir():
        pytest.skip("the data set is not at ../shared/data/amazon_beauty_2014")
    log = load_log(BEAUTY)
    training_data = sampled_negative_split(log, seed=1)
    model = CTRTraining(training_data, CTRConfig(model=name), seed=0).finish()
    aucs = []
    for draw in range(1, 6):
        data = sampled_negative_split(log, seed=1, test_seed=draw)
        aucs.append(auc(data.test.clicks, predict(model, Rows.of(data, data.test))))
    assert np.mean(aucs) >= floor
