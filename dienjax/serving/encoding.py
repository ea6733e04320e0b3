"""Encoding of a request's raw values as the arrays of the graphs; an error names a wrong value's field and position."""

import math
from collections.abc import Callable, Mapping
from functools import partial
from types import NoneType
from typing import Any

import numpy as np

from dienjax.errors import nearest
from dienjax.schema import FIRST_ID, PADDING, UNKNOWN, Schema

Where = Callable[[int], str]
"""Names the value at a position in an error message, such as "candidates['item'][3]"."""

Encode = Callable[[Where, list], np.ndarray]
"""Encodes the N values of a field as an array [N]."""

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


def numbers(where: Where, value_N: list) -> np.ndarray:
    """Encode finite numbers as float32."""
    value_N = _of_types(where, value_N, {int, float, bool}, "expected a number: convert it")
    for position, value in enumerate(value_N):
        if not -LARGEST <= value <= LARGEST:
            raise ValueError(f"{where(position)} is {value!r}; expected a finite number that float32 can hold")
    return np.array(value_N, np.float32)


def encoders(schema: Schema, vocabulary: Callable[[str], list | None], dtype: np.dtype) -> dict[str, Encode]:
    """How the values of each field are encoded, by name; those of time are not among them (`dienjax.serving.times`).

    Args:
      vocabulary: the values of a table in the order of their ids, from id 2 on; None where values are ids already.
    """
    values = {table.name: vocabulary(table.name) for table in schema.tables if table.has_vocabulary}
    known = {table: known_values(value, dtype) for table, value in values.items() if value is not None}
    of_time = {field.name for field in schema.time_fields}
    ids = {
        field.name: known.get(field.table)
        or ready_ids(schema.table(field.table).size, dtype, padding=field.name != schema.item)
        for field in schema.id_fields
        if field.name not in of_time
    }
    return ids | {field.name: numbers for field in schema.dense}


def encode_lists(group: str, given: Mapping[str, Any], fields: Mapping[str, Encode]) -> dict[str, np.ndarray]:
    """An array [N] for each field of `given`, in the order of `fields`.

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
    """An array [1] for the one value of each field; raises as `encode_lists`."""
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
