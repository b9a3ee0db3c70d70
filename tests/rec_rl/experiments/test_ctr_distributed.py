from dataclasses import replace

import numpy as np
import pytest
import torch

from rec_rl.data.interactions import RawRows, build_interactions
from rec_rl.data.splits import ClickDataset, exposure_split
from rec_rl.errors import ConfigError
from rec_rl.experiments.ctr_distributed import train_on_workers
from rec_rl.experiments.ctr_training import CTRConfig, CTRTraining, predict
from rec_rl.experiments.data_parallel import Shard
from rec_rl.models.batches import Rows

SMALL = CTRConfig(embedding_size=4, hidden_sizes=(8,), batch_size=97, learning_rate=2e-2, max_epochs=2)


@pytest.fixture(scope="module")
def data() -> ClickDataset:
    rng = np.random.default_rng(0)
    n = 1000
    users, items = rng.integers(1, 41, n), rng.integers(1, 21, n)
    clicks = rng.random(n) < np.where(items % 2 == users % 2, 0.9, 0.1)
    raw = RawRows(
        users=users,
        items=items,
        times=np.arange(n),
        actions=clicks.astype(np.int8),
        exposed=np.ones(n, np.bool_),
    )
    return exposure_split(build_interactions(raw, None), max_history=6)


def test_parts_of_a_batch_are_weighted_to_its_mean():
    losses = torch.tensor([1.0, 5.0, 2.0, 7.0, 4.0])
    total = 0.0
    for rank in range(3):
        own, weight = Shard(rank=rank, num_workers=3).rows(torch.arange(5))
        total += weight * float(losses[own].mean()) / 3
    assert total == pytest.approx(19 / 5)


def test_a_worker_without_rows_takes_one_at_weight_zero():
    own, weight = Shard(rank=2, num_workers=3).rows(torch.tensor([8, 9]))
    assert (own.tolist(), weight) == ([8], 0.0)


def test_one_worker_has_every_row_as_it_is():
    index = torch.tensor([3, 1])
    assert Shard().rows(index)[0] is index
    model = torch.nn.Linear(1, 1)
    assert Shard().share_model(model) is model


@pytest.mark.usefixtures("ray_session")
@pytest.mark.parametrize("num_workers", [2, pytest.param(1, id="1 on a GPU", marks=pytest.mark.gpu)])
def test_workers_give_the_run_of_this_process(data: ClickDataset, num_workers: int):
    # 800 rows in batches of 97: parts differ in size, and the last batch has 24 rows
    config = replace(SMALL, kappa=0.2)
    difference = np.random.default_rng(0).normal(size=len(data.train)).astype(np.float32)
    one = CTRTraining(data, config, seed=3, difference=difference)
    one.finish()
    shared = train_on_workers(data, config, seed=3, num_workers=num_workers, difference=difference)
    assert len(shared.epochs) == len(one.epochs)
    for a, b in zip(one.epochs, shared.epochs, strict=True):
        assert b.loss == pytest.approx(a.loss, abs=1e-4)
        assert b.validation_auc == pytest.approx(a.validation_auc, abs=1e-3)
    rows = Rows.of(data, data.test)
    np.testing.assert_allclose(predict(one.model, rows), predict(shared.model, rows), atol=1e-3)


@pytest.mark.usefixtures("ray_session")
def test_more_workers_than_cores_are_refused(data: ClickDataset):
    with pytest.raises(ConfigError, match=r"num_workers must be in 1\.\.2, the cores of the cluster, got 64"):
        train_on_workers(data, SMALL, seed=0, num_workers=64)
