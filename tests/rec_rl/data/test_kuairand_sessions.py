from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from rec_rl.data.kuairand import load_kuairand
from rec_rl.data.kuairand_sessions import convert_kuairand
from rec_rl.data.session_building import MIN_CLICKS, SessionBuild, item_vectors

MINUTE = 60_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Eight users; six click items 0 to 9, one clicks item 10, none item 11, which has a tag of its own."""
    rng = np.random.default_rng(0)
    rows = []
    for user in range(8):
        for place, item in enumerate([*rng.permutation(10), 10, 11]):
            click = int(item < 10 and (user + item) % 8 < 6) or int(item == 10 and user == 0)
            rows.append((user, item, 1_650_000_000_000 + MINUTE * (place + 60 * (place >= 7)), click))
    log = pd.DataFrame(rows, columns=["user_id", "video_id", "time_ms", "is_click"])
    for name in ("is_like", "is_follow", "is_comment", "is_forward", "is_hate", "long_view"):
        log[name] = log["is_click"] if name == "long_view" else 0
    log.to_csv(tmp_path / "log_standard.csv", index=False)
    videos = pd.DataFrame({"video_id": range(12), "tag": [1, 2] * 5 + [1, 9]})
    videos.to_csv(tmp_path / "video_features_basic.csv", index=False)
    return tmp_path


def test_sessions_part_where_half_an_hour_passed(folder: Path):
    log = convert_kuairand(folder)
    np.testing.assert_array_equal(log.depths, [7, 5] * 8)
    assert log.gaps[0] == pytest.approx(61 / 60)
    np.testing.assert_array_equal(log.user_ids, np.unique(log.user_ids))


def test_conversion_is_a_function_of_the_files_and_the_seed(folder: Path):
    assert convert_kuairand(folder, seed=1).content_hash == convert_kuairand(folder, seed=1).content_hash


def test_cold_items_take_their_categorys_vector_and_are_marked(folder: Path):
    interactions = load_kuairand(folder)
    everyone = np.ones(interactions.user_ids.num_codes, np.bool_)
    vectors, cold = item_vectors(interactions, SessionBuild(), everyone)
    code = {item: int(interactions.item_ids.encode(np.array([item]))[0]) for item in range(12)}
    assert [item for item in range(12) if cold[code[item]]] == [10, 11]
    warm = [code[item] for item in range(0, 10, 2)]  # those of item 10's tag
    np.testing.assert_allclose(vectors[code[10]], vectors[warm].mean(axis=0), atol=1e-6)
    np.testing.assert_array_equal(vectors[code[11]], 0)
    log = convert_kuairand(folder)
    assert log.feedback["cold_item"].sum() == 16
    assert MIN_CLICKS == 5


def test_states_know_the_past_alone(folder: Path):
    before = convert_kuairand(folder)
    path = folder / "log_standard.csv"
    changed = pd.read_csv(path)
    last = changed.groupby("user_id").tail(1).index
    changed.loc[last, "is_like"] = 1
    changed.to_csv(path, index=False)
    np.testing.assert_array_equal(before.states, convert_kuairand(folder).states)


def test_real_log_becomes_sessions(shared_data: Path):
    log = convert_kuairand(shared_data / "kuairand_pure_late")
    assert len(log) == 222_444  # 228,329 rows less the repeated ones
    assert log.depths.mean() == pytest.approx(1.18, abs=0.03)
    assert log.actions[:, :].std(axis=0) == pytest.approx(np.ones(8), abs=0.2)
    assert log.feedback["cold_item"].mean() < 0.05
