"""A name for the content of arrays, written beside every number that rests on them."""

import hashlib

import numpy as np
from numpy.typing import NDArray


def content_hash(*arrays: NDArray[np.generic]) -> str:
    """SHA-256 over dtype, shape and bytes of the arrays in order, as 64 hex digits.

    Byte order and memory layout do not matter; the order of rows and the dtype do.
    """
    digest = hashlib.sha256()
    for array in arrays:
        little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
        digest.update(f"{little.dtype.str}{array.shape}".encode())
        digest.update(little.data if little.size else b"")
    return digest.hexdigest()
