"""Sets of values, such as tags: one text each while a log is read and sorted, so that they are as any other value."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dienjax.inputs.lists import is_list
from dienjax.preparation.columns import Where, ids, ranked

MARK = "\x1f"
"""Stands before each value of a set in its text."""


@dataclass(frozen=True)
class Sets:
    """S distinct sets, their values one after the other.

    Attributes:
      first: [S + 1] where the values of each set begin.
      code_L: of each value, its position in `value`.
      value: the distinct values of all sets, ascending.
    """

    first: np.ndarray
    code_L: np.ndarray
    value: pa.Array

    @classmethod
    def of(cls, lists: pa.ListArray) -> "Sets":
        """The sets that `ranked_sets` gives."""
        return cls(lists.offsets.to_numpy(), lists.values.indices.to_numpy(), lists.values.dictionary)

    def counts(self, count_S: np.ndarray) -> np.ndarray:
        """How often each value occurs, given how often each set does."""
        weight_L = np.repeat(count_S, np.diff(self.first))
        return np.bincount(self.code_L, weight_L, minlength=len(self.value)).astype(np.int64)

    def most(self, count_S: np.ndarray, quantile: float) -> int:
        """The least size, from 1 on, that this share of the sets that are not empty does not exceed."""
        below_M = np.cumsum(np.bincount(np.diff(self.first), count_S, minlength=2))
        return max(1, int(np.searchsorted(below_M, quantile * below_M[-1] * (1 - 1e-12))))

    def longer(self, count_S: np.ndarray, most: int) -> int:
        """How often a set has more than `most` values."""
        return int(count_S[np.diff(self.first) > most].sum())

    def ids(self, id_of_code: np.ndarray, most: int) -> np.ndarray:
        """The ids [S + 1, most] (int32) of the first values of each set, 0 after them; the last row is an empty set."""
        count_S = np.diff(self.first)
        set_L = np.repeat(np.arange(len(count_S)), count_S)
        place_L = np.arange(len(set_L)) - self.first[set_L]
        kept_L = place_L < most
        id_SM = np.zeros((len(count_S) + 1, most), np.int32)
        id_SM[set_L[kept_L], place_L[kept_L]] = id_of_code[self.code_L[kept_L]]
        return id_SM


def texts(column: pa.Array, name: str, type: pa.ListType, separator: str, where: Where) -> pa.Array:
    """The text of each row's set; null where it is empty. Missing values within a list, and empty texts, are left out.

    Args:
      type: a list of the type in which to read the values.
      separator: what stands between the values of a text; a column of lists needs none.

    Raises:
      ValueError: a value that cannot be read, or that has the mark of sets.
    """
    split = not is_list(column.type)
    if split:
        column = pc.split_pattern(ids(column, name, pa.string(), where, False), separator or MARK)
    value_L = pc.list_flatten(column)
    row_L = np.repeat(np.arange(len(column)), pc.fill_null(pc.list_value_length(column), 0).to_numpy())
    if split:
        value_L = pc.utf8_trim_whitespace(value_L)
        value_L = pc.if_else(pc.equal(value_L, ""), None, value_L)
    value_L = ids(value_L, name, type.value_type, where, False)
    kept_L = value_L.is_valid()
    row_L, text_L = row_L[kept_L.to_numpy(zero_copy_only=False)], value_L.filter(kept_L).cast(pa.string())
    if (at := pc.match_substring(text_L, MARK).index(True).as_py()) >= 0:
        raise ValueError(
            f"column {name!r} holds {text_L[at].as_py()!r} in {where(int(row_L[at]))}; expected values without the "
            "control character U+001F: remove it"
        )
    lists = pa.ListArray.from_arrays(pa.array(_offsets(row_L, len(column))), text_L)
    text_R = pc.binary_join_element_wise("", pc.binary_join(lists, MARK), MARK)
    return pc.if_else(pc.equal(pc.list_value_length(lists), 0), None, text_R)


def ranked_sets(
    parts: Sequence[pa.Array], types: Sequence[pa.DataType], untyped: Sequence[bool]
) -> tuple[pa.ListArray, list[np.ndarray]]:
    """The distinct sets of all parts in ascending order of their texts, and the position of each part's among them.

    Each is a list of positions in a dictionary of the values, which are as `columns.ranked` has them; a value that a
    list repeats counts once.

    Args:
      types: of the values of each part.

    Raises:
      ValueError: numbers in one part and text in another.
    """
    text_S, places = ranked(parts, [False] * len(parts))
    found = [_split(part).values.unique() for part in parts]
    value, codes = ranked([text.cast(type) for text, type in zip(found, types, strict=True)], untyped)
    text_V, code_V = pa.chunked_array(found), np.concatenate(codes)
    lists = _split(text_S)
    set_L = np.repeat(np.arange(len(lists)), pc.list_value_length(lists).to_numpy())
    code_L = code_V[pc.index_in(lists.values, text_V).to_numpy()]
    _, first_L = np.unique(set_L * max(1, len(value)) + code_L, return_index=True)
    first_L.sort()
    dictionary = pa.DictionaryArray.from_arrays(pa.array(code_L[first_L], pa.int32()), value)
    return pa.ListArray.from_arrays(pa.array(_offsets(set_L[first_L], len(lists))), dictionary), places


def _split(text_S: pa.Array) -> pa.ListArray:
    """The values of sets from their texts."""
    return pc.split_pattern(pc.utf8_slice_codeunits(text_S, 1), MARK)


def _offsets(row_L: np.ndarray, rows: int) -> np.ndarray:
    """Where the values of each row begin [rows + 1] (int32)."""
    return np.append(0, np.cumsum(np.bincount(row_L, minlength=rows))).astype(np.int32)
