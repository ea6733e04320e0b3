"""Ids that need no vocabulary: of numbers by the edges that they lie between, and of hashed values."""

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np

from dienjax.schema import FIRST_ID, UNKNOWN


def between(number_X: np.ndarray, edges: Sequence[float]) -> np.ndarray:
    """The ids (int32) of numbers [...]: 2 below the first edge, 3 from it on, and so on; 1, unknown, for NaN."""
    number_X = np.asarray(number_X, np.float64)
    id_X = FIRST_ID + np.searchsorted(np.asarray(edges, np.float64), number_X, side="right")
    return np.where(np.isnan(number_X), UNKNOWN, id_X).astype(np.int32)


def hashed(values: Iterable[object], size: int, seed: int) -> np.ndarray:
    """The ids [N] (int32) of values in a table of `size` rows, by a hash of their text; 1, unknown, for None.

    4 and 4.0 have the same, and so have True and 1. Two values may share an id: each of V does with a probability of
    about V / size.
    """
    key = seed.to_bytes(8, "little", signed=True)
    return np.array([UNKNOWN if v is None else _id(v, size, key) for v in values], np.int32)


def _id(value: object, size: int, key: bytes) -> int:
    if isinstance(value, bool | np.bool_) or (isinstance(value, float | np.floating) and float(value).is_integer()):
        value = int(value)
    digest = hashlib.blake2b(str(value).encode("utf-8", "surrogatepass"), digest_size=8, key=key).digest()
    return FIRST_ID + int.from_bytes(digest, "little") % (size - FIRST_ID)
