import numpy as np
import pytest

from rec_rl.algorithms.replay import ReplayBuffer
from rec_rl.errors import CheckpointError


def rows(*values: int) -> dict[str, np.ndarray]:
    x = np.array(values, np.float32)
    return {"x": x, "pair": np.stack([x, -x], 1), "label": (x > 5).astype(np.int16)}


def buffer(capacity: int = 4, seed: int = 0) -> ReplayBuffer:
    return ReplayBuffer(capacity, np.random.default_rng(seed), balance="label")


def test_replay_keeps_the_last_rows():
    replay = buffer()
    replay.add(rows(1, 2, 3))
    replay.add(rows(4, 5))
    drawn = replay.sample(1, 500)
    assert replay.size == 4
    assert set(drawn["x"].ravel()) == {2, 3, 4, 5}
    np.testing.assert_array_equal(drawn["pair"][..., 1], -drawn["x"])


def test_replay_takes_more_rows_than_it_holds():
    replay = buffer()
    replay.add(rows(*range(10)))
    assert set(replay.sample(1, 500)["x"].ravel()) == {6, 7, 8, 9}


def test_replay_balanced_draws_take_each_label_equally():
    replay = buffer(capacity=100)
    replay.add(rows(*[1] * 99, 9))
    share = (replay.sample(1, 4_000, balanced_fraction=1.0)["x"] == 9).mean()
    assert share == pytest.approx(0.5, abs=0.03)
    share = (replay.sample(1, 4_000, balanced_fraction=0.5)["x"] == 9).mean()
    assert share == pytest.approx(0.255, abs=0.03)


def test_replay_restored_draws_the_same():
    first, second = buffer(), buffer(seed=7)
    first.add(rows(1, 2, 3, 4, 5))
    first.sample(2, 3)
    second.set_state(first.get_state())
    for replay in (first, second):
        replay.add(rows(6))
    np.testing.assert_array_equal(first.sample(3, 5)["x"], second.sample(3, 5)["x"])


def test_replay_refuses_another_capacity_and_other_columns():
    replay = buffer()
    replay.add(rows(1))
    with pytest.raises(CheckpointError, match="capacity must be 8, got 4"):
        buffer(capacity=8).set_state(replay.get_state())
    with pytest.raises(ValueError, match="columns must be"):
        replay.add({"x": np.zeros(1)})
    with pytest.raises(ValueError, match="empty"):
        buffer().sample(1, 1)
