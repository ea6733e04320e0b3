"""Values to ids: 1 for what training never saw, then by descending count."""

import hashlib
import json
from dataclasses import dataclass

import numpy as np
import pandas as pd

from dienjax.schema import FIRST_ID, UNKNOWN


@dataclass(frozen=True)
class Vocabulary:
    """The ids of a column: `frame` has (id, value, count) from id 2 on, `id_of_code` maps codes to ids."""

    frame: pd.DataFrame
    id_of_code: np.ndarray
    digest: str

    @property
    def size(self) -> int:
        return FIRST_ID + len(self.frame)

    def ids(self, code: np.ndarray) -> np.ndarray:
        """int32 ids of codes of any shape."""
        return self.id_of_code[code]


def codes(column: pd.Series) -> tuple[np.ndarray, pd.Index]:
    """A code per row (-1 for a missing value) and the distinct values in ascending order.

    Raises:
      ValueError: values of types that have no common order, such as numbers and strings.
    """
    if column.dtype == object and (kind := pd.api.types.infer_dtype(column, skipna=True)).startswith("mixed"):
        raise ValueError(f"column {column.name!r} holds {kind} values; expected one type: convert it with .astype(str)")
    code, values = pd.factorize(column, sort=True)
    return code.astype(np.int64), pd.Index(values)


def build(code: np.ndarray, values: pd.Index, train: np.ndarray) -> Vocabulary:
    """The vocabulary of the values seen where `train` is True: by descending count, then value."""
    seen = code[train]
    count = np.bincount(seen[seen >= 0], minlength=len(values))
    order = np.argsort(-count, kind="stable")
    kept = order[: np.count_nonzero(count)]
    # One entry more than values: code -1, a missing value, reads it and is unknown.
    id_of_code = np.full(len(values) + 1, UNKNOWN, np.int32)
    id_of_code[kept] = np.arange(FIRST_ID, FIRST_ID + len(kept))
    frame = pd.DataFrame({"id": id_of_code[kept], "value": values[kept], "count": count[kept]})
    digest = hashlib.sha256(json.dumps([str(v) for v in frame["value"]]).encode()).hexdigest()[:16]
    return Vocabulary(frame, id_of_code, digest)
