"""Encoding of a request's raw values as the arrays of the graphs; an error names a wrong value's field and position."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import NoneType
from typing import Any

import numpy as np

from dienjax.errors import nearest
from dienjax.inputs import ids
from dienjax.schema import FIRST_ID, PADDING, UNKNOWN, Behaviour, Schema, Sparse, Table

Where = Callable[[int], str]
"""Names the value at a position in an error message, such as "candidates['item'][3]"."""

Encode = Callable[[Where, list], np.ndarray]
"""Encodes the N values of a field as an array [N], N sets of up to M values as [N, M]."""

KINDS = (("text", {str}), ("true or false", {bool}), ("numbers", {int, float}))
LARGEST = float(np.finfo(np.float32).max)


def known_values(vocabulary: list, dtype: np.dtype) -> Encode:
    """An encoder of values by their position in the vocabulary, from id 2 on; None and what it lacks are unknown.

    Numbers are compared exactly. NaN is an error, and so is a float beyond 2**53 if the log held whole numbers: it may
    stand for several.
    """
    id_of = dict(zip(vocabulary, range(FIRST_ID, FIRST_ID + len(vocabulary)), strict=True))
    if not vocabulary:  # then no type is wrong
        return lambda where, value_N: np.full(len(value_N), UNKNOWN, dtype)
    kind, types = next((kind, types) for kind, types in KINDS if type(vocabulary[0]) in types)
    expected = f"the log held {kind} such as {vocabulary[0]!r}: convert it, or give None where it is unknown"
    largest = 2.0**53 - 1 if int in map(type, vocabulary) else math.inf

    def encode(where: Where, value_N: list) -> np.ndarray:
        value_N = _of_types(where, value_N, types | {NoneType}, expected)
        if float in types and float in set(map(type, value_N)):
            _refuse_inexact(where, value_N, largest)
        return np.array([id_of.get(value, UNKNOWN) for value in value_N], dtype)

    return encode


def ready_ids(size: int, dtype: np.dtype, padding: bool) -> Encode:
    """An encoder of ids as they are; None and ids outside the table are unknown. `padding`: whether id 0 is allowed."""
    expected = "the model was trained on ready-made ids: give a whole number, or None where it is unknown"

    def encode(where: Where, value_N: list) -> np.ndarray:
        value_N = _of_types(where, value_N, {int, NoneType}, expected)
        if not padding and PADDING in value_N:
            raise ValueError(
                f"{where(value_N.index(PADDING))} is {PADDING}, the id of padding; expected real ones only: "
                f"leave padding out, and give None or {UNKNOWN} for what is unknown"
            )
        # Decided here, not in the graph: a number beyond its dtype could wrap around to another id.
        return np.array([i if i is not None and 0 <= i < size else UNKNOWN for i in value_N], dtype)

    return encode


def hashed_values(size: int, seed: int, dtype: np.dtype) -> Encode:
    """An encoder of text, numbers, true and false by their hash; None is unknown, and NaN an error."""
    types = {str, int, float, bool, NoneType}
    expected = "expected text, a number, or true or false: convert it, or give None where it is unknown"

    def encode(where: Where, value_N: list) -> np.ndarray:
        value_N = _of_types(where, value_N, types, expected)
        _refuse_inexact(where, value_N, math.inf)
        return ids.hashed(value_N, size, seed).astype(dtype)

    return encode


def numbers(where: Where, value_N: list, missing: bool = False) -> np.ndarray:
    """Encode finite numbers as float32; None and NaN, where they may be `missing`, as NaN."""
    types = {int, float, bool} | ({NoneType} if missing else set())
    or_none = ", or None where it is missing" if missing else ""
    value_N = _of_types(where, value_N, types, f"expected a number{or_none}: convert it")
    if missing:
        value_N = [math.nan if value is None else value for value in value_N]
    for position, value in enumerate(value_N):
        if not -LARGEST <= value <= LARGEST and not (missing and math.isnan(value)):
            raise ValueError(f"{where(position)} is {value!r}; expected a finite number that float32 can hold{or_none}")
    return np.array(value_N, np.float32)


def between_edges(edges: tuple[float, ...], dtype: np.dtype) -> Encode:
    """An encoder of numbers, as float32, by the edges that they lie between; None and NaN are unknown."""
    return lambda where, value_N: ids.between(numbers(where, value_N, missing=True), edges).astype(dtype)


@dataclass(frozen=True)
class EncodeSets:
    """An encoder of N sets as the ids [N, M] of their first M values, 0 after them; None is an empty set.

    Missing values within a set, and padding, are left out.

    Attributes:
      encode: encodes their values.
      most: M.
      once: whether a value that a set repeats counts once, as in a log; ready-made ids are taken as they are.
      separator: what stands between the values of a text; empty if none is a set.
    """

    encode: Encode
    most: int
    once: bool = True
    separator: str = ""

    def split(self, sets: list) -> list:
        """The sets, with a list in the place of a text."""
        if not self.separator:
            return sets
        return [
            [value for part in text.split(self.separator) if (value := part.strip())] if isinstance(text, str) else text
            for text in sets
        ]

    def __call__(self, where: Where, value_N: list) -> np.ndarray:
        value_N = self.split(value_N)
        sets = [[] if values is None else listed(where(n), values) for n, values in enumerate(value_N)]
        count_N = np.fromiter(map(len, sets), np.int64, len(sets))
        end_N, value_L = np.cumsum(count_N), [value for values in sets for value in values]

        def inside(position: int) -> str:
            n = int(np.searchsorted(end_N, position, side="right"))
            return f"{where(n)}[{position - end_N[n] + count_N[n]}]"

        return self.packed(self.encode(inside, value_L), value_L, np.arange(len(value_L)), count_N)

    def packed(self, id_D: np.ndarray, value_D: list, code_L: np.ndarray, count_N: np.ndarray) -> np.ndarray:
        """The sets, from D encoded values.

        Args:
          id_D: the ids of the values.
          code_L: of all values in the sets, one set after the other, their positions in `value_D`.
          count_N: how many values each set has.
        """
        place: dict[Any, int] = {}  # a value that is there again, such as 4.0 after 4, has the place of the first
        code_L = np.array([place.setdefault(value, d) for d, value in enumerate(value_D)], np.int64)[code_L]
        there_D = np.array([value is not None for value in value_D], bool) & (id_D != PADDING)
        set_L = np.repeat(np.arange(len(count_N)), count_N)
        kept_L = np.flatnonzero(there_D[code_L])
        if self.once:
            _, first = np.unique(set_L[kept_L] * max(1, len(value_D)) + code_L[kept_L], return_index=True)
            kept_L = kept_L[np.sort(first)]
        set_K = set_L[kept_L]
        place_K = np.arange(len(set_K)) - np.searchsorted(set_K, set_K)
        id_NM = np.full((len(count_N), self.most), PADDING, id_D.dtype)
        fits_K = place_K < self.most
        id_NM[set_K[fits_K], place_K[fits_K]] = id_D[code_L[kept_L[fits_K]]]
        return id_NM


def encoders(schema: Schema, vocabulary: Callable[[str], list | None], dtype: np.dtype) -> dict[str, Encode]:
    """How the values of each field are encoded, by name; those of time are not among them (`dienjax.serving.times`).

    Args:
      vocabulary: the values of a table in the order of their ids, from id 2 on; None where values are ids already. Not
        asked for a table that needs none.
    """
    known = {table.name: _of_table(table, vocabulary, dtype) for table in schema.tables}

    def of_ids(field: Behaviour | Sparse) -> Encode:
        table, encode = schema.table(field.table), known[field.table]
        ready = encode is None
        encode = encode or ready_ids(table.size, dtype, padding=field.name != schema.item)
        return EncodeSets(encode, field.most, not ready, field.separator) if field.most else encode

    times = schema.time_fields
    return {field.name: of_ids(field) for field in schema.id_fields if field not in times} | {
        field.name: partial(numbers, missing=field.scale is not None) for field in schema.dense
    }


def _of_table(table: Table, vocabulary: Callable[[str], list | None], dtype: np.dtype) -> Encode | None:
    """How values become ids of a table; None if they are ids already."""
    if table.edges:
        return between_edges(table.edges, dtype)
    if table.seed is not None:
        return hashed_values(table.size, table.seed, dtype)
    values = vocabulary(table.name)
    return None if values is None else known_values(values, dtype)


def encode_lists(group: str, given: Mapping[str, Any], fields: Mapping[str, Encode]) -> dict[str, np.ndarray]:
    """An array [N], of sets [N, M], for each field of `given`, in the order of `fields`.

    Raises:
      ValueError: a missing or unknown field, lists of different lengths, or a number that is not finite.
      TypeError: `given` is not a dict, a field is not a list, or a value is of another type than the log's.
    """
    _check_names(group, given, fields)
    lists = {name: listed(f"{group}[{name!r}]", given[name]) for name in fields}
    first = next(iter(fields))
    for name, value_N in lists.items():
        if len(value_N) != len(lists[first]):
            raise ValueError(
                f"{group}[{first!r}] has length {len(lists[first])}, but {group}[{name!r}] has {len(value_N)}; "
                "expected lists of equal length"
            )
    return {name: fields[name](partial("{}[{!r}][{}]".format, group, name), lists[name]) for name in fields}


def encode_values(group: str, given: Mapping[str, Any], fields: Mapping[str, Encode]) -> dict[str, np.ndarray]:
    """An array [1], of a set [1, M], for the one value of each field; raises as `encode_lists`."""
    _check_names(group, given, fields)
    # `format` leaves out the position that `Where` is given.
    return {name: fields[name](partial("{}[{!r}]".format, group, name), [given[name]]) for name in fields}


def _check_names(group: str, given: Mapping[str, Any], fields: Mapping[str, Encode]) -> None:
    if not isinstance(given, Mapping):
        raise TypeError(f"{group} is of type {type(given).__name__}; expected a dict with the fields {list(fields)}")
    for name in fields:
        if name not in given:
            raise ValueError(f"{group}[{name!r}] is missing; got the fields {list(given)}, expected {list(fields)}")
    for name in given:
        if name not in fields:
            raise ValueError(f"{group}[{name!r}] is not a field of the model; {nearest(str(name), fields)}")


def listed(where: str, given: Any) -> list:
    """The values of a list, a tuple or a 1-d array as a list; anything else is a TypeError."""
    if isinstance(given, list | tuple):
        return list(given)
    if isinstance(given, np.ndarray) and given.ndim == 1:
        # Dates stay as they are and are refused: their `tolist` may give integers.
        return list(given) if given.dtype.kind in "mM" else given.tolist()
    shape = f" and shape {given.shape}" if isinstance(given, np.ndarray) else ""
    raise TypeError(
        f"{where} is of type {type(given).__name__}{shape}; expected a list, a tuple or a 1-d array of values"
    )


def _of_types(where: Where, value_N: list, types: set[type], expected: str) -> list:
    """The values, with NumPy scalars as Python's own types."""
    if set(map(type, value_N)) <= types:
        return value_N
    plain_N = [_plain(value) for value in value_N]
    for position, value in enumerate(plain_N):
        if type(value) not in types:
            raise TypeError(f"{where(position)} is {value!r} of type {type(value).__name__}; {expected}")
    return plain_N


def _refuse_inexact(where: Where, value_N: list, largest: float) -> None:
    for position, value in enumerate(value_N):
        if type(value) is float and not -largest <= value <= largest:
            why = "a float cannot hold every whole number beyond 2**53: give an int"
            raise ValueError(
                f"{where(position)} is {value!r}; {'give None where it is unknown' if math.isnan(value) else why}"
            )


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) and value.dtype.kind in "biufU" else value
