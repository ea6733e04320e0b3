"""Ids for values: 1 for those rare or absent in training, the others by descending count or as in an earlier store."""

import hashlib
import json
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa

from dienjax.schema import FIRST_ID, UNKNOWN


@dataclass(frozen=True)
class Vocabulary:
    """The ids of a column: `frame` has (id, value, count) from id 2 on, `id_of_code` maps codes (-1: missing) to ids.

    A count is how often the value occurs in the training rows of this log. `rewritten` is the number of values that the
    earlier store writes differently, such as 4 and 4.0.
    """

    frame: pd.DataFrame
    id_of_code: np.ndarray
    digest: str
    rewritten: int = 0

    @property
    def size(self) -> int:
        return FIRST_ID + len(self.frame)

    @property
    def all_unknown(self) -> bool:
        """Whether every value of this log is unknown."""
        return len(self.id_of_code) > 1 and bool((self.id_of_code == UNKNOWN).all())


def number(
    value: pd.Series, count_V: np.ndarray, min_count: int = 1, like: pd.DataFrame | None = None, grow: bool = False
) -> Vocabulary:
    """The vocabulary of distinct ascending values, given how often training saw each.

    Values with a count of at least `min_count` are known, by descending count, then value. With `like`, the frame of an
    earlier vocabulary, its values keep their ids and their type; others are unknown, or with `grow` get the ids after.

    Raises:
      ValueError: the earlier values are of another type, such as numbers beside text, and none of them is found here;
        or a value to add cannot be converted to their type.
    """
    order = np.argsort(-count_V, kind="stable")
    known = order[count_V[order] >= max(min_count, 1)]
    rewritten = 0
    if like is None:
        known_value = value.iloc[known].reset_index(drop=True)
    else:
        at_R, rewritten = _places(value, like["value"])
        new = known[~np.isin(known, at_R)] if grow else known[:0]
        known = np.concatenate([at_R, new])
        known_value = pd.concat([like["value"], _as_before(value.iloc[new], like["value"])], ignore_index=True)
    id_R = np.arange(FIRST_ID, FIRST_ID + len(known), dtype=np.int32)
    # One entry more than values: code -1, a missing value, reads it and is unknown.
    id_of_code = np.full(len(value) + 1, UNKNOWN, np.int32)
    here = known >= 0  # an earlier value that this log lacks is nowhere
    id_of_code[known[here]] = id_R[here]
    frame = pd.DataFrame({"id": id_R, "value": known_value, "count": np.where(here, np.append(count_V, 0)[known], 0)})
    digest = hashlib.sha256(json.dumps([str(v) for v in known_value]).encode()).hexdigest()[:16]
    return Vocabulary(frame, id_of_code, digest, rewritten)


def _places(value: pd.Series, earlier: pd.Series) -> tuple[np.ndarray, int]:
    """The position of each earlier value among these, -1 if absent, and how many of them are written differently.

    One text file has "4" where another has "4.0", because of a single fraction among whole numbers, and true may be 1.
    If the types differ, or no value is as before, two values are the same if no others on either side have their form.
    """
    kinds = [_kind(values) for values in (value, earlier)]
    at_R = np.full(len(earlier), -1)
    if kinds[0] == kinds[1]:
        at_R = pd.Index(value).get_indexer(pd.Index(earlier))
    if not len(value) or not len(earlier) or (at_R >= 0).any() or kinds == ["number", "number"]:
        return at_R, 0
    forms, earlier_forms = (values.map(_form) for values in (value, earlier))
    place = pd.Series(np.arange(len(value)), forms)[~forms.duplicated(keep=False).to_numpy()]
    at_R = place.reindex(earlier_forms.where(~earlier_forms.duplicated(keep=False))).fillna(-1).to_numpy(np.int64)
    here = at_R >= 0
    # Whole numbers of a text file may be names, as the earlier ones are, and all of them new.
    names = pd.api.types.is_integer_dtype(value) and kinds[1] == "text"
    if kinds[0] != kinds[1] and not names and not here.any():
        raise ValueError(
            f"holds values such as {str(value.iloc[0])!r}, but the earlier store such as {str(earlier.iloc[0])!r}; "
            "expected the same type: convert it"
        )
    written, before = (values.astype(str).to_numpy() for values in (value, earlier))
    return at_R, int((written[at_R[here]] != before[here]).sum())


def _kind(values: pd.Series) -> str:
    if pd.api.types.is_bool_dtype(values):
        return "bool"
    return "number" if pd.api.types.is_numeric_dtype(values) else "text"


def _form(value: object) -> str:
    """A common text for 4 and 4.0, and for true, True and 1."""
    text = str(int(value)) if isinstance(value, bool) else str(value)
    if text.lower() in ("true", "false"):
        return str(int(text.lower() == "true"))
    whole = text.removesuffix(".0")
    return whole if whole.removeprefix("-").isdigit() else text


def _as_before(value: pd.Series, earlier: pd.Series) -> pd.Series:
    """New values in the type of the earlier ones: otherwise a single fraction would turn every 4 into 4.0."""
    if not len(value) or not len(earlier) or value.dtype == earlier.dtype:
        return value
    if _kind(earlier) == "text":
        return value.map(_form)
    try:
        # Through text: numbers would be rounded or wrapped to the type without an error.
        return pa.array(value.map(_form)).cast(pa.array(earlier).type).to_pandas()
    except pa.ArrowInvalid as error:
        raise ValueError(
            f"holds a value that cannot be of the earlier store's type, {earlier.dtype} ({error}); expected the same "
            "type: convert it, or leave out grow"
        ) from error


def counts(code: np.ndarray, train: np.ndarray, size: int) -> np.ndarray:
    """How often each of `size` codes occurs where `train` is True."""
    return np.bincount(code[train & (code >= 0)], minlength=size)
