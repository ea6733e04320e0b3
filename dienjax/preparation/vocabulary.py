"""Values to ids: 1 for what training never saw or rarely, then by descending count; or as an earlier store has them."""

import hashlib
import json
from dataclasses import dataclass

import numpy as np
import pandas as pd

from dienjax.schema import FIRST_ID, UNKNOWN


@dataclass(frozen=True)
class Vocabulary:
    """The ids of a column: `frame` has (id, value, count) from id 2 on, `id_of_code` maps codes (-1: missing) to ids.

    A count is how often the value stands in the training rows of this log.
    """

    frame: pd.DataFrame
    id_of_code: np.ndarray
    digest: str

    @property
    def size(self) -> int:
        return FIRST_ID + len(self.frame)

    def ids(self, code: np.ndarray) -> np.ndarray:
        """int32 ids of codes of any shape."""
        return self.id_of_code[code]


def number(
    value: pd.Series, count_V: np.ndarray, min_count: int = 1, like: pd.DataFrame | None = None, grow: bool = False
) -> Vocabulary:
    """The vocabulary of distinct ascending values by how often training saw them.

    Those with at least `min_count` are known, by descending count, then value. With `like`, the frame of an earlier
    vocabulary, its values keep their ids and others are unknown, or with `grow` are known after them.

    Raises:
      ValueError: the earlier values are numbers and these are text.
    """
    order = np.argsort(-count_V, kind="stable")
    known = order[count_V[order] >= max(min_count, 1)]
    if like is None:
        known_value = value.iloc[known].reset_index(drop=True)
    else:
        value = _as_before(value, like["value"])
        at_R = pd.Index(value).get_indexer(pd.Index(like["value"]))
        new = known[~np.isin(known, at_R)] if grow else known[:0]
        known = np.concatenate([at_R, new])
        known_value = pd.concat([like["value"], value.iloc[new]], ignore_index=True)
    id_R = np.arange(FIRST_ID, FIRST_ID + len(known), dtype=np.int32)
    # One entry more than values: code -1, a missing value, reads it and is unknown.
    id_of_code = np.full(len(value) + 1, UNKNOWN, np.int32)
    here = known >= 0  # an earlier value that this log lacks is nowhere
    id_of_code[known[here]] = id_R[here]
    frame = pd.DataFrame({"id": id_R, "value": known_value, "count": np.where(here, np.append(count_V, 0)[known], 0)})
    digest = hashlib.sha256(json.dumps([str(v) for v in known_value]).encode()).hexdigest()[:16]
    return Vocabulary(frame, id_of_code, digest)


def _as_before(value: pd.Series, earlier: pd.Series) -> pd.Series:
    """The values in the type of the earlier ones: a text file cannot say that its whole numbers are names."""
    if not len(value) or not len(earlier):
        return value
    are_numbers = pd.api.types.is_numeric_dtype
    if pd.api.types.is_integer_dtype(value) and not are_numbers(earlier):
        return value.astype(str)
    if are_numbers(value) != are_numbers(earlier):
        raise ValueError(
            f"holds values such as {str(value.iloc[0])!r}, but the earlier store such as {str(earlier.iloc[0])!r}; "
            "expected the same type: convert it"
        )
    return value


def counts(code: np.ndarray, train: np.ndarray, size: int) -> np.ndarray:
    """How often each of `size` codes stands where `train` is True."""
    return np.bincount(code[train & (code >= 0)], minlength=size)
