"""One way into every log: a folder or file is recognised by its names, or read through a column map."""

from pathlib import Path

from rec_rl.data.amazon import load_ratings, load_reviews
from rec_rl.data.converted_logs import INTERACTIONS, load_interactions
from rec_rl.data.interactions import Interactions
from rec_rl.data.kuairand import load_kuairand
from rec_rl.data.movielens import load_movielens
from rec_rl.data.sequences import load_sequences
from rec_rl.data.tables import ColumnMap, load_table
from rec_rl.errors import DatasetError

KNOWN = (
    "interactions.parquet of a converted log, <name>.txt with <name>_item2attributes.json, "
    "reviews_<name>.json.gz with meta_<name>.json.gz, ratings_<name>.csv, ratings.csv with movies.csv, "
    "log_*.csv or interactions_*.parquet with video_features_basic*.csv"
)


def load_log(path: Path, mapping: ColumnMap | None = None) -> Interactions:
    """The log at ``path``.

    Args:
        path: A folder in one of the known layouts; with a mapping, a CSV or Parquet file or a folder of them.
        mapping: Roles of the columns of any other table.

    Raises:
        DatasetError: If nothing is there, the layout is not known or the content is wrong.
    """
    if not path.exists():
        raise DatasetError(f"{path} does not exist")
    if mapping is not None:
        files = sorted([*path.glob("*.parquet"), *path.glob("*.csv")]) if path.is_dir() else [path]
        if not files:
            raise DatasetError(f"{path} holds no .csv or .parquet file")
        return load_table(files, mapping)
    if not path.is_dir():
        raise DatasetError(f"{path} is a file: name its folder, or map its columns (user=...,item=...)")
    return _load_known(path)


def _load_known(folder: Path) -> Interactions:
    if (folder / INTERACTIONS).exists():
        return load_interactions(folder)
    if attributes := _only(folder, "*_item2attributes.json"):
        name = attributes.name.removesuffix("_item2attributes.json")
        return load_sequences(folder / f"{name}.txt", attributes)
    if reviews := _only(folder, "reviews_*.json.gz"):
        name = reviews.name.removeprefix("reviews_").removesuffix(".json.gz").removesuffix("_5")
        return load_reviews(reviews, folder / f"meta_{name}.json.gz")
    if ratings := _only(folder, "ratings_*.csv"):
        meta = folder / f"meta_{ratings.stem.removeprefix('ratings_')}.json.gz"
        return load_ratings(ratings, meta if meta.exists() else None)
    if (folder / "ratings.csv").exists():
        return load_movielens(folder)
    if any(folder.glob("video_features_basic*.csv")):
        return load_kuairand(folder)
    raise DatasetError(f"{folder} is in no known layout ({KNOWN}); for another table map its columns")


def _only(folder: Path, pattern: str) -> Path | None:
    found = sorted(folder.glob(pattern))
    if len(found) > 1:
        raise DatasetError(f"{folder} holds more than one {pattern}: {found[0].name}, {found[1].name}")
    return found[0] if found else None
