"""MovieLens: ``ratings.csv`` and ``movies.csv`` (Harper and Konstan 2015)."""

from pathlib import Path

from rec_rl.data.interactions import Interactions, build_interactions
from rec_rl.data.tables import ColumnMap, read_columns, rows_of_table

_RATINGS = ColumnMap(user="userId", item="movieId", time="timestamp", feedback=("rating",))


def load_movielens(folder: Path) -> Interactions:
    """Every rated movie is an action and its stars, .5 to 5, the feedback; the category is its last genre."""
    table = read_columns([folder / "ratings.csv"], _RATINGS.kinds)
    movies = read_columns([folder / "movies.csv"], {"movieId": "id", "genres": "text"})
    movies = movies[movies["genres"].notna()]
    last_genre = movies["genres"].str.rpartition("|")[2]
    return build_interactions(rows_of_table(table, _RATINGS), (movies["movieId"], last_genre))
