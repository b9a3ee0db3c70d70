"""KuaiRand logs of real exposures (Gao et al. 2022), CSV or Parquet."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from rec_rl.data.interactions import Interactions, RawRows, build_interactions
from rec_rl.data.tables import ColumnMap, read_columns, rows_of_table
from rec_rl.errors import DatasetError

FEEDBACK = ("is_like", "is_follow", "is_comment", "is_forward", "is_hate", "long_view")

_LOG = ColumnMap(user="user_id", item="video_id", time="time_ms", action="is_click", feedback=FEEDBACK)


def load_kuairand(folder: Path) -> Interactions:
    """All ``log_*.csv`` and ``interactions_*.parquet`` of a folder; the category is a video's last tag.

    A skip is a real exposure that the user declined. ``user_history_*.parquet``, where there is one, adds the
    videos watched long before the log as rows that were not exposed: they only serve as history. (Its other
    lists name exposures without saying which were clicked.)

    Raises:
        DatasetError: If there is no log, no video features, or one of them is corrupt.
    """
    logs = sorted([*folder.glob("log_*.csv"), *folder.glob("interactions_*.parquet")])
    features = sorted(folder.glob("video_features_basic*.csv"))
    if not logs or not features:
        missing = "video_features_basic*.csv" if logs else "log_*.csv or interactions_*.parquet"
        raise DatasetError(f"{folder} holds no {missing}")
    raw = rows_of_table(read_columns(logs, _LOG.kinds), _LOG)
    notes: dict[str, int] = {}
    for path in sorted(folder.glob("user_history_*.parquet")):
        raw, added = _with_history(raw, path)
        notes["earlier long watches, history only"] = (
            notes.get("earlier long watches, history only", 0) + added
        )
    videos = read_columns(features, {"video_id": "id", "tag": "text"})
    videos = videos[videos["tag"].notna()]
    return build_interactions(raw, (videos["video_id"], videos["tag"].str.rpartition(",")[2]), notes=notes)


def _with_history(raw: RawRows, path: Path) -> tuple[RawRows, int]:
    try:
        table = pq.read_table(path, columns=["user_id", "last_time_ms", "long_watch_seq"])
        lists = table["long_watch_seq"].combine_chunks()
        lengths = lists.value_lengths().fill_null(0).to_numpy()
        items = lists.flatten().to_numpy()
    except (pa.ArrowException, OSError, KeyError, AttributeError) as error:
        raise DatasetError(f"{path} cannot be read as a KuaiRand history: {error}") from error
    n = len(items)
    until_last = np.repeat(np.cumsum(lengths), lengths) - np.arange(n)
    times = np.repeat(table["last_time_ms"].to_numpy(), lengths) - until_last
    kept_users = np.repeat(table["user_id"].to_numpy(), lengths)
    known = np.isin(kept_users, np.unique(np.asarray(raw.users)))
    n = int(known.sum())
    return replace(
        raw,
        users=pd.concat([pd.Series(raw.users), pd.Series(kept_users[known])], ignore_index=True),
        items=pd.concat([pd.Series(raw.items), pd.Series(items[known])], ignore_index=True),
        times=np.concatenate([raw.times, times[known]]),
        actions=np.concatenate([raw.actions, np.ones(n, np.int8)]),
        exposed=np.concatenate([raw.exposed, np.zeros(n, np.bool_)]),
        feedback={
            name: np.concatenate([column, np.full(n, np.nan, np.float32)])
            for name, column in raw.feedback.items()
        },
    ), n
