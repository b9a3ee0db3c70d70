"""The comparison with a peer, as far as it goes without the peer's environment."""

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from rec_rl.data.interactions import RawRows, build_interactions
from rec_rl.errors import ConfigError
from rec_rl.experiments.ctr_training import CTRConfig
from rec_rl.experiments.records import RunRecord

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def peers_ctr() -> ModuleType:
    spec = importlib.util.spec_from_file_location("peers_ctr", ROOT / "benchmarks/peers_ctr.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def split(peers_ctr: ModuleType):
    users = np.repeat(np.arange(30), 5)
    items = np.random.default_rng(0).integers(0, 20, len(users))
    raw = RawRows(
        users=users,
        items=items,
        times=np.arange(len(users)),
        actions=np.ones(len(users), np.int8),
        exposed=np.zeros(len(users), np.bool_),
    )
    return peers_ctr.Split.draw(build_interactions(raw, None), seed=1, num_draws=3)


def test_draws_share_everything_but_the_test_negatives(split):
    first, second, _ = split.tests
    np.testing.assert_array_equal(first.items[::2], second.items[::2])
    assert (first.items[1::2] != second.items[1::2]).any()
    np.testing.assert_array_equal(split.data.test.items, first.items)


def test_the_peer_gets_the_rows_that_we_train_on(split, tmp_path: Path):
    split.save(tmp_path / "rows.npz", CTRConfig(model="din"))
    with np.load(tmp_path / "rows.npz") as rows:
        np.testing.assert_array_equal(rows["train_items"], split.data.train.items)
        np.testing.assert_array_equal(rows["test2_items"], split.tests[2].items)
        assert json.loads(str(rows["settings"]))["embedding_size"] == 16


def test_bar_is_the_peers_mean_less_the_margin(peers_ctr: ModuleType):
    def rows(*aucs: float) -> list[dict]:
        return [{"auc": [auc, auc], "epochs": 3, "cpu_seconds": 1.0} for auc in aucs]

    results = {
        "rec_rl din": rows(0.777, 0.777),
        "fuxictr din": rows(0.779, 0.781),  # .003 better
        "rec_rl deepfm": rows(0.79, 0.79),
        "fuxictr deepfm": rows(0.80, 0.79),  # .005 better
    }
    record = RunRecord(command="", seeds=[1, 2], data_hash="", config={})
    record = peers_ctr.judged(record, results, ["din", "deepfm"])
    assert record.metrics["auc_over_fuxictr/din"].value == pytest.approx(-0.003)
    assert [miss["bar"] for miss in record.missed] == ["AUC of deepfm >= fuxictr's - 0.004"]


def test_a_peer_that_fails_is_told_in_one_line(peers_ctr: ModuleType, split, tmp_path: Path):
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho 'Traceback' >&2\necho 'No module named fuxictr' >&2\nexit 1\n")
    python.chmod(0o755)
    with pytest.raises(ConfigError, match="failed: No module named fuxictr"):
        peers_ctr.train_peer(split, CTRConfig(model="din"), python, tmp_path)
