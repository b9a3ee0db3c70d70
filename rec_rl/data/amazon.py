"""Amazon 2014 reviews: ``reviews_<Cat>_5.json.gz``, ``meta_<Cat>.json.gz`` and ``ratings_<Cat>.csv``.

McAuley et al. 2015; He and McAuley 2016.
"""

import ast
import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from rec_rl.data.interactions import Interactions, RawRows, build_interactions
from rec_rl.data.tables import ColumnMap, read_columns, rows_of_table
from rec_rl.errors import DatasetError

_RATINGS = ColumnMap(user="user", item="item", time="time", feedback=("rating",))


def load_reviews(path: Path, meta_path: Path) -> Interactions:
    """Every review is an action at its time; the stars are feedback. DIN's category: the last of the item's.

    Args:
        path: One JSON object a line, gzipped.
        meta_path: One Python literal a line, gzipped; parsed as data and never executed.

    Raises:
        DatasetError: Naming file, line and field of what is wrong, or a file cut short.
    """
    users: list[str] = []
    items: list[str] = []
    times: list[int] = []
    stars: list[float] = []
    for number, line in _gz_lines(path):
        try:
            review = json.loads(line)
            users.append(str(review["reviewerID"]))
            items.append(str(review["asin"]))
            times.append(int(review["unixReviewTime"]))
            stars.append(float(review["overall"]))
        except KeyError as error:
            raise DatasetError(f"{path}: line {number} lacks the field {error.args[0]!r}") from error
        except (ValueError, TypeError) as error:
            raise DatasetError(f"{path}: line {number} is no review: {error}") from error
    if not users:
        raise DatasetError(f"{path} holds no reviews")
    n = len(users)
    raw = RawRows(
        users=pd.Series(users, dtype="str"),
        items=pd.Series(items, dtype="str"),
        times=np.array(times, np.int64),
        actions=np.ones(n, np.int8),
        exposed=np.zeros(n, np.bool_),
        feedback={"rating": np.array(stars, np.float32)},
    )
    return build_interactions(raw, _last_categories(meta_path))


def load_ratings(path: Path, meta_path: Path | None) -> Interactions:
    """``user,item,rating,timestamp`` without a header; categories are unknown without the meta file."""
    table = read_columns([path], _RATINGS.kinds, header=["user", "item", "rating", "time"])
    table = table.astype({"item": "str"})  # an ASIN of digits only is still a name
    categories = None if meta_path is None else _last_categories(meta_path)
    return build_interactions(rows_of_table(table, _RATINGS), categories)


def _last_categories(path: Path) -> tuple["pd.Series[str]", "pd.Series[str]"]:
    items, categories = [], []
    for number, line in _gz_lines(path):
        try:
            product = ast.literal_eval(line)
            items.append(str(product["asin"]))
            categories.append(str(product["categories"][-1][-1]))
        except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
            raise DatasetError(f"{path}: line {number} is no Python literal") from error
        except (KeyError, IndexError, TypeError) as error:
            raise DatasetError(f"{path}: line {number} lacks asin or categories") from error
    return pd.Series(items, dtype="str"), pd.Series(categories, dtype="str")


def _gz_lines(path: Path) -> Iterator[tuple[int, str]]:
    number = 0
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                yield number, line
    except EOFError as error:
        raise DatasetError(f"{path} is cut short after line {number}") from error
    except (OSError, zlib.error, UnicodeDecodeError) as error:
        raise DatasetError(f"{path} cannot be read after line {number}: {error}") from error
