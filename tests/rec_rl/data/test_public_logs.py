"""Loaders of public data sets: small files written here, and the real ones where they are at hand."""

import gzip
import json
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rec_rl.data.catalogue import load_log
from rec_rl.data.tables import ColumnMap
from rec_rl.errors import DatasetError

REAL = Path(__file__).parents[3] / ".." / "shared" / "data"


def real(name):
    if not (REAL / name).is_dir():
        pytest.skip(f"the data set is not at ../shared/data/{name}")
    return REAL / name


def write_gz(path, lines):
    with gzip.open(path, "wt") as file:
        file.writelines(line + "\n" for line in lines)


# Item sequences


@pytest.fixture
def sequences(tmp_path):
    (tmp_path / "Toys.txt").write_text("3 10 30\n1 20 10 30\n5\n")
    (tmp_path / "Toys_item2attributes.json").write_text('{"10": [1, 2], "20": [4], "30": [3, 2], "40": []}')
    return tmp_path


def test_item_sequences_by_hand(sequences):
    log = load_log(sequences)
    assert log.user_ids.decode(log.users).tolist() == [1, 1, 1, 3, 3]
    assert log.item_ids.decode(log.items).tolist() == [20, 10, 30, 10, 30]
    assert log.times.tolist() == [0, 1, 2, 0, 1]
    assert log.item_categories.tolist() == [0, 1, 2, 1]  # the last attributes are 2, 4, 2
    assert not log.exposed.any()
    assert dict(log.notes) == {"users without items": 1}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 2 x", "line 1, column 3 must be an id >= 1, got 'x'"),
        ("1 2\n2 0 4", "line 2, column 2 must be an id >= 1, got '0'"),
        ("1 2\n1 3", "user 1 has more than one line"),
        ("1\n2\n", "holds no users with items"),
    ],
)
def test_broken_sequences_are_refused(sequences, text, message):
    (sequences / "Toys.txt").write_text(text)
    with pytest.raises(DatasetError, match=message):
        load_log(sequences)


@pytest.mark.parametrize("text", ["", "[1]", '{"a": [1]}', '{"1": 5}', '{"1": ["x"]}'])
def test_broken_attributes_are_refused(sequences, text):
    (sequences / "Toys_item2attributes.json").write_text(text)
    with pytest.raises(DatasetError, match=r"Toys_item2attributes\.json must map item ids"):
        load_log(sequences)


@given(st.text("012 \nx", max_size=30))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_is_read_or_refused(sequences, text):
    (sequences / "Toys.txt").write_text(text, encoding="utf-8")
    with suppress(DatasetError):
        assert len(load_log(sequences)) > 0


def test_the_real_beauty_sequences():
    log = load_log(real("amazon_beauty_2014"))
    assert len(log) == 198_502
    assert (log.user_ids.num_codes, log.item_ids.num_codes, log.category_ids.num_codes) == (
        22_364,
        12_102,
        196,
    )
    assert log.notes == {}
    first = log.item_ids.decode(log.items[:5])
    assert first.tolist() == [1, 2, 3, 4, 5]


# Amazon reviews and ratings

REVIEWS = [
    {"reviewerID": "B", "asin": "002", "overall": 4.0, "unixReviewTime": 20},
    {"reviewerID": "A", "asin": "X1", "overall": 5.0, "unixReviewTime": 10},
    {"reviewerID": "B", "asin": "X1", "overall": 1.0, "unixReviewTime": 15},
]
META = [
    "{'asin': '002', 'categories': [['Books', 'Maps'], ['Toys', 'Puzzles']], 'title': \"it's\"}",
    "{'asin': 'X1', 'categories': [['Toys', 'Balls']]}",
]


@pytest.fixture
def amazon(tmp_path):
    write_gz(tmp_path / "reviews_Toys_5.json.gz", [json.dumps(review) for review in REVIEWS])
    write_gz(tmp_path / "meta_Toys.json.gz", META)
    return tmp_path


def test_amazon_reviews_by_hand(amazon):
    log = load_log(amazon)
    assert log.user_ids.decode(log.users).tolist() == ["A", "B", "B"]
    assert log.item_ids.decode(log.items).tolist() == ["X1", "X1", "002"]
    assert log.feedback["rating"].tolist() == [5, 1, 4]
    assert log.category_ids.decode(log.item_categories[1:]).tolist() == ["Puzzles", "Balls"]


def test_amazon_ratings_by_hand(tmp_path):
    (tmp_path / "ratings_Toys.csv").write_text(
        "B,0000000002,4.0,20\nA,0000000001,5.0,10\nB,0000000001,1.0,15\n"
    )
    write_gz(tmp_path / "meta_Toys.json.gz", ["{'asin': '0000000001', 'categories': [['Toys', 'Balls']]}"])
    log = load_log(tmp_path)
    assert log.item_ids.decode(log.items).tolist() == ["0000000001", "0000000001", "0000000002"]
    assert log.item_categories.tolist() == [0, 1, 0]
    assert dict(log.notes) == {"rows out of time order, sorted": 1, "items without a category": 1}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"asin": "X", "overall": 1, "unixReviewTime": 3}', "line 1 lacks the field 'reviewerID'"),
        ('{"reviewerID": "A", "asin": "X", "overall": "?", "unixReviewTime": 3}', "line 1 is no review"),
        ("{'reviewerID'}", "line 1 is no review"),
        ("[1]", "line 1 is no review"),
    ],
)
def test_broken_reviews_are_refused(amazon, line, message):
    write_gz(amazon / "reviews_Toys_5.json.gz", [line])
    with pytest.raises(DatasetError, match=message):
        load_log(amazon)


@pytest.mark.parametrize(
    "line",
    ["__import__('os').abort()", "{'asin': 'X1'", "{'asin': 'X1'}", "{'asin': 'X1', 'categories': []}"],
)
def test_meta_is_parsed_as_data_and_refused_where_it_is_none(amazon, line):
    write_gz(amazon / "meta_Toys.json.gz", [META[0], line])
    with pytest.raises(DatasetError, match=r"meta_Toys\.json\.gz: line 2"):
        load_log(amazon)


def test_a_missing_category_file_is_named(amazon):
    (amazon / "meta_Toys.json.gz").unlink()
    with pytest.raises(DatasetError, match=r"meta_Toys\.json\.gz cannot be read"):
        load_log(amazon)


def test_a_gz_cut_short_is_refused(amazon):
    lines = [json.dumps({**REVIEWS[0], "unixReviewTime": time}) for time in range(3000)]
    write_gz(amazon / "reviews_Toys_5.json.gz", lines)
    whole = (amazon / "reviews_Toys_5.json.gz").read_bytes()
    (amazon / "reviews_Toys_5.json.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DatasetError, match=r"reviews_Toys_5\.json\.gz is cut short after line \d+"):
        load_log(amazon)


# MovieLens


def test_movielens_by_hand(tmp_path):
    (tmp_path / "ratings.csv").write_text("userId,movieId,rating,timestamp\n1,31,2.5,200\n1,10,4.0,100\n")
    (tmp_path / "movies.csv").write_text('movieId,title,genres\n10,"A, B",Comedy|War\n31,C,Drama\n')
    log = load_log(tmp_path)
    assert log.item_ids.decode(log.items).tolist() == [10, 31]
    assert log.feedback["rating"].tolist() == [4, 2.5]
    assert log.category_ids.decode(log.item_categories[1:]).tolist() == ["War", "Drama"]


def test_the_real_movielens():
    log = load_log(real("movielens_latest_small_2016"))
    assert (len(log), log.user_ids.num_codes, log.item_ids.num_codes) == (100_004, 672, 9_067)
    assert not np.isnan(log.feedback["rating"]).any()


# KuaiRand

KUAIRAND = "user_id,video_id,time_ms,is_click,is_like,is_follow,is_comment,is_forward,is_hate,long_view\n"


@pytest.fixture
def kuairand(tmp_path):
    (tmp_path / "log_standard.csv").write_text(
        KUAIRAND + "5,100,2000,1,0,0,0,0,0,1\n5,101,1000,0,0,0,0,0,0,0\n5,100,2000,1,0,0,0,0,0,1\n"
    )
    (tmp_path / "video_features_basic_pure.csv").write_text('video_id,tag\n100,"3,14"\n101,9\n')
    history = {"user_id": [5, 6], "last_time_ms": [500, 600], "long_watch_seq": [[101, 100], [100]]}
    pq.write_table(pa.table(history), tmp_path / "user_history_before.parquet")
    return tmp_path


def test_kuairand_by_hand(kuairand):
    log = load_log(kuairand)
    # earlier watches end before last_time_ms; user 6 is not in the log
    assert log.item_ids.decode(log.items).tolist() == [101, 100, 101, 100]
    assert log.times.tolist() == [498, 499, 1000, 2000]
    assert log.actions.tolist() == [1, 1, 0, 1]
    assert log.exposed.tolist() == [False, False, True, True]
    np.testing.assert_array_equal(log.feedback["long_view"], np.array([np.nan, np.nan, 0, 1], np.float32))
    assert log.category_ids.decode(log.item_categories[1:]).tolist() == ["14", "9"]
    assert log.notes["repeated rows, dropped"] == 1
    assert log.notes["earlier long watches, history only"] == 2


def test_kuairand_without_features_is_refused(kuairand):
    (kuairand / "log_standard.csv").unlink()
    with pytest.raises(DatasetError, match=r"holds no log_\*\.csv or interactions_\*\.parquet"):
        load_log(kuairand)


def test_a_broken_kuairand_history_is_refused(kuairand):
    pq.write_table(pa.table({"user_id": [5]}), kuairand / "user_history_before.parquet")
    with pytest.raises(DatasetError, match="cannot be read as a KuaiRand history"):
        load_log(kuairand)


def test_the_real_kuairand():
    log = load_log(real("kuairand_pure_late"))
    assert log.notes["repeated rows, dropped"] == 5_885
    exposed = log.rows(log.exposed)
    assert len(exposed) == 228_329 - 5_885
    assert len(np.unique(exposed.users)) == 25_156
    assert np.nansum(exposed.feedback["is_like"]) > 3_500


# Finding out what a folder holds


def test_an_unknown_folder_is_refused_with_what_is_known(tmp_path):
    with pytest.raises(DatasetError, match="is in no known layout"):
        load_log(tmp_path)
    with pytest.raises(DatasetError, match="does not exist"):
        load_log(tmp_path / "gone")


def test_a_file_needs_a_map(tmp_path):
    path = tmp_path / "log.csv"
    pd.DataFrame({"u": [1, 1], "i": [2, 3]}).to_csv(path, index=False)
    with pytest.raises(DatasetError, match="map its columns"):
        load_log(path)
    assert len(load_log(path, ColumnMap(user="u", item="i"))) == 2
    assert len(load_log(tmp_path, ColumnMap(user="u", item="i"))) == 2


def test_two_data_sets_in_one_folder_are_refused(sequences):
    (sequences / "More_item2attributes.json").write_text("{}")
    with pytest.raises(DatasetError, match="holds more than one"):
        load_log(sequences)
