import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from rec_rl.cli import app
from rec_rl.data.catalogue import load_log as load_interactions
from rec_rl.data.converted_logs import TEST, load_items, load_users
from rec_rl.data.session_files import load_log
from rec_rl.errors import ConfigError, DatasetError
from rec_rl.experiments.log_conversion import ConversionSpec, convert_log, preview


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> ConversionSpec:
    """30 users; rows in the order of time, as a shop writes them; one row is broken and one comes twice."""
    rng = np.random.default_rng(0)
    rows = []
    for user in range(30):
        at = 1_740_996_000 + int(rng.integers(80_000))
        for _ in range(40):
            item = int(rng.integers(12))
            rows.append((f"u{user}", f"i{item}", at, int(rng.random() < 0.6), f"Item {item}", item % 3, 4))
            at += int(rng.choice([60, 40_000], p=[0.8, 0.2]))
    table = pd.DataFrame(rows, columns=["u", "i", "at", "hit", "name", "kind", "stars"]).sort_values("at")
    table = pd.concat([table, table.iloc[:1]]).astype(str)
    table.iloc[5, 3] = "perhaps"
    path = tmp_path_factory.mktemp("logs") / "log.csv"
    table.to_csv(path, index=False)
    mapping = "user=u,item=i,time=at,click=hit,title=name,category=kind,feedback=stars"
    return ConversionSpec(log=str(path), mapping=mapping, item_dim=4, held_out=0.2)


@pytest.fixture(scope="module")
def folder(spec: ConversionSpec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("out") / "converted"
    convert_log(spec, folder, command="rec-rl data convert")
    return folder


def test_every_row_is_accounted_for(folder: Path):
    about = json.loads((folder / "conversion.json").read_text())["config"]
    assert about["rows_read"] == 1201
    assert about["dropped"] == {
        "click is neither 0 nor 1": 1,
        "repeats user, item and time of another row": 1,
    }
    assert about["rows_kept"] == about["requests"] == 1199
    assert about["times_read_as"] == "s"
    assert (about["users"], about["training_users"], about["items"]) == (30, 24, 12)
    assert "calibrated" in about["behaviour"]["verdict"]


def test_session_logs_part_the_users_and_a_folder_stands_for_its_training_users(folder: Path):
    train, test, users = load_log(folder), load_log(folder / TEST), load_users(folder)
    assert len(train) + len(test) == 1199
    assert not set(train.user_ids.tolist()) & set(test.user_ids.tolist())
    held_out = dict(zip(users.codes.tolist(), users.held_out.tolist(), strict=True))
    assert [held_out[user] for user in test.user_ids.tolist()] == [True] * 6
    assert users.next_states.shape == (30, train.states.shape[1])
    # rows a minute apart are of one session, rows 11 hours apart are not; where one was dropped, two minutes
    within = np.diff(train.times)[np.diff(train.session_index) == 0]
    assert set(np.round(60 * within).tolist()) <= {1, 2}
    assert train.gaps[~np.isnan(train.gaps)].min() > 11


def test_items_and_interactions_carry_the_names_of_the_log(folder: Path, spec: ConversionSpec):
    items, log = load_items(folder), load_log(folder)
    assert log.items is not None
    np.testing.assert_array_equal(items.vectors[log.items], log.actions)
    assert set(items.names) == {f"i{i}" for i in range(12)}
    for name, title, category in zip(items.names, items.titles, items.categories, strict=True):
        assert title == f"Item {name[1:]}"
        assert category == str(int(name[1:]) % 3)
    rows = load_interactions(folder)
    again = spec.read().interactions
    np.testing.assert_array_equal(rows.user_ids.decode(rows.users), again.user_ids.decode(again.users))
    np.testing.assert_array_equal(rows.item_ids.decode(rows.items), again.item_ids.decode(again.items))
    np.testing.assert_array_equal(rows.actions, again.actions)
    np.testing.assert_array_equal(rows.feedback["stars"], again.feedback["stars"])
    np.testing.assert_array_equal(rows.item_categories, again.item_categories)


def test_conversion_is_a_function_of_file_and_seed(folder: Path, spec: ConversionSpec, tmp_path: Path):
    again = convert_log(spec, tmp_path / "again", command="")
    other = convert_log(replace(spec, seed=1), tmp_path / "again", command="")  # in its place
    first = json.loads((folder / "conversion.json").read_text())
    assert again["data_hash"] == first["data_hash"] != other["data_hash"]
    assert load_log(tmp_path / "again").content_hash == other["data_hash"]
    assert [path.name for path in tmp_path.iterdir()] == ["again"]


def test_preview_shows_the_first_rows_and_writes_nothing(spec: ConversionSpec):
    seen = preview(spec, command="")
    rows = seen["rows"]
    assert len(rows) == 10
    assert {row["user"] for row in rows} == {"u0"}
    assert rows[0]["session"] == 1
    assert [row["session"] for row in rows] == sorted(row["session"] for row in rows)
    assert rows[0]["time"].startswith("2025-03-0")
    assert rows[0]["title"] == f"Item {rows[0]['item'][1:]}"
    assert seen["sessions"] == json.loads(json.dumps(seen))["sessions"] > 30
    assert sorted(Path(spec.log).parent.iterdir()) == [Path(spec.log)]


def test_command_line_shows_converts_and_says_what_is_missing(spec: ConversionSpec, tmp_path: Path):
    def run(*arguments: str) -> Any:
        return CliRunner().invoke(app, ["data", "convert", spec.log, *arguments])

    seen = run("--map", spec.mapping, "--item-dim", "4", "--dry-run")
    assert seen.exit_code == 0
    assert "dropped: 1: click is neither 0 nor 1 (first: row 6, hit: 'perhaps')" in seen.stdout
    made = run("--map", spec.mapping, "--item-dim", "4", "--out", str(tmp_path / "out"), "--json")
    assert json.loads(made.stdout)["config"]["requests"] == 1199
    for arguments, missing in ((["--dry-run"], "needs --map"), (["--map", spec.mapping], "needs --out")):
        assert missing in str(run(*arguments).exception)


@pytest.mark.parametrize(("gap", "minutes"), [("90s", 1.5), ("30m", 30), ("2h", 120), ("1d", 1440)])
def test_gaps_are_times_with_a_unit(spec: ConversionSpec, gap: str, minutes: float):
    assert replace(spec, session_gap=gap).gap_minutes == minutes


def test_bad_settings_and_targets_are_refused(spec: ConversionSpec, tmp_path: Path):
    for gap in ("30", "0m", "half an hour", "-5m"):
        with pytest.raises(ConfigError, match="a session gap must be a time > 0"):
            replace(spec, session_gap=gap)
    with pytest.raises(ConfigError, match=r"held_out must be in \(0, 1\), got 1"):
        replace(spec, held_out=1)
    with pytest.raises(DatasetError, match=r"too few users to hold out a share of 0.01: got 30"):
        convert_log(replace(spec, held_out=0.01), tmp_path / "out", command="")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(ConfigError, match="exists and is no converted log"):
        convert_log(spec, tmp_path / "mine", command="")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
