"""Vectors of the items that a policy may recommend, from a Parquet file."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from rec_rl.errors import DatasetError
from rec_rl.retrieval.index import checked_vectors


class ItemVectors(NamedTuple):
    """Ids [n], whole numbers or text, and vectors [n, d]."""

    ids: NDArray[Any]
    vectors: NDArray[np.float32]


def load_items(path: Path, size: int) -> ItemVectors:
    """Reads columns ``item`` (whole numbers or text, unique) and ``vector`` (lists of numbers).

    Args:
        path: The file.
        size: Numbers of a vector that the policy's action has.

    Raises:
        DatasetError: If the file is missing or is not of this form.
    """
    try:
        table = pq.read_table(path, columns=["item", "vector"])
    except (OSError, pa.ArrowException, KeyError) as error:
        raise DatasetError(f"{path} must be a Parquet file with columns item and vector: {error}") from error
    ids = table["item"].to_numpy()
    kind = table["item"].type
    if not (pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        raise DatasetError(f"{path}: item must be whole numbers or text, got {kind}")
    if table["item"].null_count:
        raise DatasetError(f"{path}: item must not be empty, {table['item'].null_count} rows are")
    if len(set(ids.tolist())) != len(ids):
        raise DatasetError(f"{path}: items must be unique, {len(ids) - len(set(ids.tolist()))} repeat one")
    lengths = {len(vector) for vector in table["vector"].to_pylist() if vector is not None}
    if lengths != {size}:
        raise DatasetError(
            f"{path}: vectors must have {size} numbers as the actions do, got {sorted(lengths)}"
        )
    vectors = np.array(table["vector"].to_pylist(), np.float32)
    plain = ids.astype(np.int64) if ids.dtype.kind in "iu" else ids.astype(np.str_)
    return ItemVectors(plain, checked_vectors(vectors))
