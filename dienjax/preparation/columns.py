"""The time and id columns of a log, checked and converted; an error names the wrong value and its row."""

from collections.abc import Callable, Collection, Sequence
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from dienjax.inputs.lists import is_list

Where = Callable[[int], str]
"""Names a row of the batch in an error message, such as "line 17 of log.csv"."""

EXACT = 2**53
"""Whole numbers below this are exact in float64."""

FAR = 2**33 * 1_000_000
"""Microseconds since 1970 (the year 2242) from which float64 seconds cannot tell one microsecond from the next."""


def times(column: pa.Array, name: str, where: Where) -> tuple[np.ndarray, str]:
    """The times [R], int64 if whole, else float64, and their kind: "number", or "date" for seconds since 1970.

    A date without a zone is UTC. Text is read as a whole number, a number or an ISO 8601 date.

    Raises:
      ValueError: a missing, non-finite or unreadable time, or one that float64 cannot tell from its neighbours.
    """
    if column.null_count:
        raise _bad_time(name, where, int(np.argmax(column.is_null().to_numpy(zero_copy_only=False))), column)
    type = column.type
    if pa.types.is_string(type) or pa.types.is_large_string(type) or pa.types.is_decimal(type):
        return _times_of_digits(column, name, where)
    if pa.types.is_timestamp(type) or pa.types.is_date(type):
        return _seconds(column, name, where), "date"
    if pa.types.is_integer(type):
        try:
            return column.cast(pa.int64()).to_numpy(zero_copy_only=False), "number"
        except pa.ArrowInvalid as error:
            raise ValueError(f"time column {name!r}: {error}; expected times below 2^63") from error
    if not pa.types.is_floating(type):
        raise ValueError(f"time column {name!r} holds {type}; expected numbers, dates or ISO 8601 text")
    time_R = column.cast(pa.float64()).to_numpy(zero_copy_only=False)
    if not np.isfinite(time_R).all():
        raise _bad_time(name, where, int(np.argmin(np.isfinite(time_R))), column)
    return time_R, "number"


def _times_of_digits(column: pa.Array, name: str, where: Where) -> tuple[np.ndarray, str]:
    for kind in (pa.int64(), pa.float64()):
        try:
            number = column.cast(kind)
        except pa.ArrowInvalid:
            continue
        time_R, _ = times(number, name, where)
        if time_R.dtype == np.int64 and not pa.types.is_decimal(column.type):
            _refuse_hexadecimal(column, name, where)
        if time_R.dtype == np.float64:
            _refuse_rounded(column, time_R, name, where)
        return time_R, "number"
    return _seconds(column, name, where), "date"


def _refuse_hexadecimal(column: pa.Array, name: str, where: Where) -> None:
    """Raises ValueError where Arrow took a text such as "0x10" for a whole number."""
    if not pc.all(pc.ascii_is_decimal(column)).as_py():
        hexadecimal_R = pc.match_substring(column, "x", ignore_case=True)
        if (row := hexadecimal_R.index(True).as_py()) >= 0:
            raise _bad_time(name, where, row, column)


def _refuse_rounded(column: pa.Array, time_R: np.ndarray, name: str, where: Where) -> None:
    """Raises ValueError where float64 times lost digits of the decimals or texts that they were read from."""
    text = column.cast(pa.string())
    length_R, dot_R = (found.to_numpy() for found in (pc.utf8_length(text), pc.find_substring(text, ".")))
    # Up to 15 digits are always told apart, and microseconds up to a far year; looking closer takes time.
    fine_R = (dot_R >= 0) & (length_R - dot_R <= 7) & (np.abs(time_R) < FAR / 1e6)
    row_r = np.flatnonzero((length_R > 15) & ~fine_R)
    written_r = pa.array(time_R[row_r]).cast(pa.string())
    for row in row_r[pc.not_equal(text.take(pa.array(row_r)), written_r).to_numpy(zero_copy_only=False)]:
        digits = text[int(row)].as_py()
        exact = Decimal(digits.rstrip("0") if "." in digits and "e" not in digits.lower() else digits)
        decimals = min(max(-int(exact.as_tuple().exponent), 0), 400)
        if Decimal(f"{time_R[row]:.{decimals}f}") != exact:
            raise _inexact_time(name, where(int(row)), digits, "as whole numbers, or with fewer digits")


def _seconds(column: pa.Array, name: str, where: Where) -> np.ndarray:
    if not pa.types.is_timestamp(column.type) and not pa.types.is_date(column.type):
        column = _dates_of_text(column, name, where)
    try:
        micro_R = column.cast(pa.timestamp("us", getattr(column.type, "tz", None))).cast(pa.int64())
    except pa.ArrowInvalid as error:
        if column.type not in (pa.timestamp("ns"), pa.timestamp("ns", getattr(column.type, "tz", None))):
            raise ValueError(f"time column {name!r}: {error}; expected dates of the years 1 to 9999") from error
        nano_R = column.cast(pa.int64()).to_numpy()
        row = int(np.argmax(nano_R % 1000 != 0))
        raise _inexact_time(name, where(row), str(column[row]), "rounded to microseconds") from error
    micro_R = micro_R.to_numpy()
    far_R = np.abs(micro_R) >= FAR
    if far_R.any() and (rounded_R := far_R & (micro_R % 1_000_000 != 0)).any():
        row = int(np.argmax(rounded_R))
        raise _inexact_time(name, where(row), str(column[row]), "rounded to seconds")
    return micro_R / 1e6


def _dates_of_text(column: pa.Array, name: str, where: Where) -> pa.Array:
    date_R = pd.to_datetime(column.to_pandas(), errors="coerce", utc=True, format="ISO8601")
    # pandas also takes "now", and "-0" as the year 0.
    date_R = date_R.where(pc.match_substring_regex(column, "^ *[0-9]{4}").to_pandas())
    if date_R.isna().any():
        # Of a column of numbers the row to name is the first that is none, of a column of dates likewise.
        number_R = pd.to_numeric(column.to_pandas(), errors="coerce")
        bad_R = date_R.isna() if number_R.isna().iloc[0] else number_R.isna()
        raise _bad_time(name, where, int(np.argmax(bad_R)), column)
    return pa.Array.from_pandas(date_R)


def largest_whole(time_R: np.ndarray) -> int:
    """The largest magnitude among whole times; 0 for float64."""
    return max(int(time_R.max(initial=0)), -int(time_R.min(initial=0))) if time_R.dtype == np.int64 else 0


def refuse_mixed(name: str, dtypes: Collection[np.dtype], largest: int) -> None:
    """Raise ValueError if a time column has fractions in some parts and whole numbers beyond float64 in others.

    Args:
      dtypes: the dtypes of all parts.
      largest: the maximum of `largest_whole` over the parts.
    """
    if len(dtypes) > 1 and largest >= EXACT:
        raise ValueError(
            f"time column {name!r} holds whole numbers such as {largest}, beyond 2^53, beside fractions, and no type "
            "holds both exactly; expected one unit: give all as whole numbers"
        )


def _inexact_time(name: str, row: str, time: str, how: str) -> ValueError:
    return ValueError(
        f"time column {name!r} holds {time!r} in {row}, which float64 cannot tell from its neighbours; expected times "
        f"that keep their order: give them {how}"
    )


def _bad_time(name: str, where: Where, row: int, column: pa.Array) -> ValueError:
    value = column[row].as_py()
    return ValueError(
        f"time column {name!r} holds {'no value' if value is None else repr(str(value))} in {where(row)}; expected a "
        "finite number or an ISO 8601 date in every row: correct or drop these rows"
    )


def set_type(name: str, types: Collection[pa.DataType], separator: str) -> pa.DataType:
    """The type in which to read an id column that may hold sets: then it is a list of the type of their values.

    Raises:
      ValueError: as `id_type`; or lists beside values, without a separator.
    """
    found = {is_list(type) for type in types if not pa.types.is_null(type)}
    if not separator and True not in found:
        return id_type(name, types)
    if not separator and False in found:
        raise beside_lists(name)
    return pa.list_(id_type(name, [type.value_type if is_list(type) else type for type in types]))


def beside_lists(name: str) -> ValueError:
    return ValueError(
        f"column {name!r} holds lists in one place and values in another; expected lists, or one separator such as in "
        f"'{name}|' for text: convert it"
    )


def id_type(name: str, types: Collection[pa.DataType]) -> pa.DataType:
    """The common type in which to read the values of an id column: int64, uint64, float64, bool or string.

    Raises:
      ValueError: types with no common order, such as numbers in one file and text in another.
    """
    kinds = {_id_type(name, t) for t in types} - {pa.null()}
    if len(kinds) <= 1:
        return kinds.pop() if kinds else pa.string()
    if kinds == {pa.int64(), pa.float64()}:
        return pa.float64()
    raise ValueError(
        f"column {name!r} holds mixed types: {', '.join(sorted(map(str, kinds)))}; expected one type in all files: "
        "convert it"
    )


def _id_type(name: str, type: pa.DataType) -> pa.DataType:
    if pa.types.is_dictionary(type):
        type = type.value_type
    if pa.types.is_null(type) or pa.types.is_boolean(type):
        return type
    if pa.types.is_integer(type):
        return pa.uint64() if pa.types.is_uint64(type) else pa.int64()
    if pa.types.is_floating(type):
        return pa.float64()
    if pa.types.is_nested(type):
        raise ValueError(f"column {name!r} holds {type}; expected one value per row")
    return pa.string()


def ids(column: pa.Array, name: str, type: pa.DataType, where: Where, required: bool) -> pa.Array:
    """The values of an id column as `type`; NaN is missing.

    Raises:
      ValueError: a missing value in a required column, or text that is not UTF-8.
    """
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    try:
        column = column.cast(type)
        column.validate(full=True)  # Parquet does not say whether its text is UTF-8
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise ValueError(f"column {name!r} cannot be read as {type} ({error}); convert it to text") from error
    if pa.types.is_floating(type):
        column = pc.if_else(pc.is_nan(column), None, pc.add(column, 0.0))  # -0.0 is 0.0
    if required and column.null_count:
        row = int(np.argmax(column.is_null().to_numpy(zero_copy_only=False)))
        raise ValueError(f"column {name!r} has no value in {where(row)}; expected one in every row: drop these rows")
    return column


def ranked(parts: Sequence[pa.Array], untyped: Sequence[bool]) -> tuple[pa.Array, list[np.ndarray]]:
    """The distinct values of all parts in ascending order, and the position (int32) of each part's values among them.

    Text becomes int64 if every part comes from text files, which have no types, and all of it is whole numbers; so do
    floats without fractions (a DataFrame's whole numbers beside missing ones). Text is sorted by its UTF-8 bytes.

    Raises:
      ValueError: numbers in one part and text in another.
    """
    if len({part.type for part in parts}) > 1:
        parts = [
            _whole(part) if free or pa.types.is_floating(part.type) else part
            for part, free in zip(parts, untyped, strict=True)
        ]
        kinds = {part.type for part in parts}
        if kinds == {pa.int64(), pa.float64()}:
            parts = [part.cast(pa.float64()) for part in parts]
        elif len(kinds) > 1:
            names = sorted(str(kind).removeprefix("large_") for kind in kinds)
            raise ValueError(f"mixed types in two tables: {', '.join(names)}; expected one type")
    distinct = pa.chunked_array(parts).unique()
    values = distinct
    if all(untyped) or pa.types.is_floating(values.type):
        values = _whole(values)
    order = pc.sort_indices(values).to_numpy()
    place = np.empty(len(order), np.int32)
    place[order] = np.arange(len(order), dtype=np.int32)
    return values.take(pa.array(order)), [place[pc.index_in(part, distinct).to_numpy()] for part in parts]


def _whole(values: pa.Array) -> pa.Array:
    try:
        whole = values.cast(pa.int64())
    except pa.ArrowInvalid:
        return values
    # "007", "+1" and "-0" are names that look like numbers: they would not come back as they were.
    return whole if whole.cast(values.type).equals(values) else values
