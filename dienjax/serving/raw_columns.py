"""Columns of raw values from a DataFrame or an Arrow table, encoded value for value as a `Ranker` encodes requests."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from types import NoneType
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dienjax.errors import nearest
from dienjax.inputs.lists import is_list
from dienjax.serving.encoding import Encode, EncodeSets, Where, listed

if TYPE_CHECKING:  # a worker that scores Arrow tables needs no pandas
    import pandas as pd

Raw: TypeAlias = list | pa.ChunkedArray
"""N rows, each a value, a list of values or of sets of them: Python's where pandas keeps objects, Arrow's elsewhere."""


@dataclass(frozen=True)
class Place:
    """Where rows come from, for error messages: such as a file, and which of its rows is the first of these."""

    name: str = "predict"
    first: int = 0

    def row(self, n: int) -> str:
        """The name of the n-th of the rows, from 0 on."""
        return f"{self.name}: row {self.first + n}"


PREDICT = Place()


@dataclass(frozen=True)
class Encoded:
    """The M encoded values of a column, row after row.

    Attributes:
      value_M: [M], of sets [M, ...].
      length_N: how many values each row holds; None if each holds one.
    """

    name: str
    value_M: np.ndarray
    length_N: np.ndarray | None

    @property
    def end_N(self) -> np.ndarray:
        """Where the values of each row end."""
        return np.arange(1, len(self.value_M) + 1) if self.length_N is None else np.cumsum(self.length_N)


def check_columns(names: Iterable[str], known: list[str], place: Place = PREDICT) -> None:
    """Raise ValueError for a name that is missing among those of a table's columns, or occurs twice."""
    for name in names:
        if known.count(name) != 1:
            found = f"occurs {known.count(name)} times" if name in known else f"is missing; {nearest(name, known)}"
            raise ValueError(f"{place.name}: column {name!r} {found}")


def raw_columns(table: "pd.DataFrame | pa.Table", names: Iterable[str], place: Place = PREDICT) -> dict[str, Raw]:
    """The named columns as they stand.

    What pandas marks as missing is None, and so is NaN in a column of floats or objects, which have no other mark for
    it; NaN in a list, or in a column of a nullable type, stays NaN.

    Raises:
      ValueError: a column that is missing, occurs twice, or holds neither numbers, text, booleans nor lists of them.
    """
    names, arrow = list(names), isinstance(table, pa.Table)
    check_columns(names, list(map(str, table.column_names if arrow else table.columns)), place)
    return {name: table[name] if arrow else _of_series(table[name], place) for name in names}


def holds_lists(raw: Raw) -> bool:
    """Whether the first row that is not missing holds a list."""
    if isinstance(raw, list):
        return isinstance(next((row for row in raw if row is not None), None), list | tuple | np.ndarray)
    return is_list(raw.type)


def encoded(name: str, raw: Raw, lists: bool, encode: Encode, place: Place = PREDICT) -> Encoded:
    """The column's values, encoded; with `lists` every row holds a list, and a missing one is empty.

    Raises:
      ValueError: a value that `encode` refuses, or a value where a list belongs.
    """
    try:
        values, length_N = flat(name, raw, place, _where(name, place)) if lists else (raw, None)
        counts = [] if length_N is None else [length_N]
        if not isinstance(encode, EncodeSets):
            value_D, _, code_M = _each_once(name, values, encode, place, counts)
            return Encoded(name, value_D[code_M], length_N)
        if isinstance(values, list) or pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
            values = encode.split(values if isinstance(values, list) else values.to_pylist())
        values, count_M = flat(name, values, place, _where(name, place, *counts))
        each_once = _each_once(name, values, encode.encode, place, [*counts, count_M])
        return Encoded(name, encode.packed(*each_once, count_M), length_N)
    except TypeError as error:  # the table is of the right type, its content is not
        raise ValueError(str(error)) from error


def _each_once(
    name: str, values: Raw, encode: Encode, place: Place, counts: list[np.ndarray]
) -> tuple[np.ndarray, list, np.ndarray]:
    """The distinct values, encoded and as they are, and each value's position among them."""
    where, (distinct, code_V) = _where(name, place, *counts), _distinct(name, values, place)
    return encode(lambda d: where(int(np.argmax(code_V == d))), distinct), distinct, code_V


def flat(name: str, raw: Raw, place: Place, where: Where) -> tuple[Raw, np.ndarray]:
    """The values of all lists one after the other, and how many each holds.

    Args:
      where: names the list at a position.

    Raises:
      ValueError: the column holds no lists.
      TypeError: a Python value where a list belongs.
    """
    if isinstance(raw, list):
        rows = [[] if row is None else listed(where(n), row) for n, row in enumerate(raw)]
        return list(chain.from_iterable(rows)), np.fromiter(map(len, rows), np.int64, len(rows))
    if pa.types.is_null(raw.type):
        raw = raw.cast(pa.list_(pa.null()))
    if not is_list(raw.type):
        raise ValueError(f"{place.name}: column {name!r} holds {raw.type}; expected a list of values in every row")
    return pc.list_flatten(raw), pc.fill_null(pc.list_value_length(raw), 0).to_numpy().astype(np.int64)


def _of_series(series: "pd.Series", place: Place) -> Raw:
    if series.dtype == object:
        return [None if missing else value for value, missing in zip(series, series.isna(), strict=True)]
    try:
        return pa.chunked_array(pa.array(series))
    except pa.ArrowException as error:
        raise _unreadable(str(series.name), series.dtype, place) from error


def _distinct(name: str, values: Raw, place: Place) -> tuple[list, np.ndarray]:
    """The distinct values in the order of their first appearance, and each value's position among them.

    Values that Arrow could change, or cannot compare, stay as they are, each as a distinct one.
    """
    if isinstance(values, list):
        values = _same_in_arrow(values)
        if isinstance(values, list):
            return values, np.arange(len(values))
    if isinstance(values.type, pa.BaseExtensionType):  # a period would be a number here
        raise _unreadable(name, values.type, place)
    if pa.types.is_dictionary(values.type):  # whose chunks may have a dictionary each
        values = values.cast(values.type.value_type)
    try:
        parts = values.dictionary_encode("encode").chunks
    except pa.ArrowNotImplementedError:  # nested values
        return values.to_pylist(), np.arange(len(values))
    code_M = np.concatenate([np.zeros(0, np.int32), *(part.indices.to_numpy() for part in parts)])
    return parts[0].dictionary.to_pylist() if parts else [], code_M


def _same_in_arrow(values: list) -> Raw:
    """The values in Arrow where all are of one type that it keeps exactly."""
    types = set(map(type, values)) - {NoneType}
    if len(types) != 1 or not types <= {str, int, float, bool}:
        return values
    try:
        return pa.chunked_array([pa.array(values)])
    except (pa.ArrowInvalid, OverflowError, UnicodeEncodeError):  # integers of more than 64 bits, text that is no UTF-8
        return values


def _where(name: str, place: Place, *counts: np.ndarray) -> Where:
    """The name of the value at a position of the column, for error messages.

    Args:
      counts: how many values each row holds, and of a column of sets after it how many each set holds.
    """
    ends = [np.cumsum(count_N) for count_N in counts]

    def where(position: int) -> str:
        names = ["value"] if len(counts) < 2 else ["set", "value"]
        within = []
        for what, count_N, end_N in zip(reversed(names), reversed(counts), reversed(ends), strict=False):
            n = int(np.searchsorted(end_N, position, side="right"))
            within.append(f"{what} {position - end_N[n] + count_N[n]}")
            position = n
        return f"{place.name}: {' in '.join([*within, f'row {place.first + position}'])} of column {name!r}"

    return where


def _unreadable(name: str, held: object, place: Place) -> ValueError:
    return ValueError(
        f"{place.name}: column {name!r} holds {held}; expected numbers, text, or true and false: convert it"
    )
