"""A column of a table gives the ids that a request with the same values gives, or is refused as that is."""

import datetime
from decimal import Decimal
from enum import StrEnum

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from dienjax.serving.encoding import encode_lists, known_values, numbers, ready_ids
from dienjax.serving.raw_columns import encoded, holds_lists, raw_columns

BIG = 2**53
Letter = StrEnum("Letter", {"A": "a"})
INT32 = np.dtype(np.int32)
ENCODERS = {
    "text": known_values(["a", "b", "7", "True", ""], INT32),
    "whole": known_values([7, 0, 1, BIG + 1, BIG, -(2**63), 2**64 - 1], INT32),
    "fractions": known_values([7.0, 2.5, float(BIG), 0.0], INT32),
    "booleans": known_values([True, False], INT32),
    "nothing": known_values([], INT32),
    "ids": ready_ids(8, INT32, padding=True),
    "items": ready_ids(8, INT32, padding=False),
    "numbers": numbers,
}
KINDS = {
    "text": ["a", "b", "new", "7", "", "ä", "\ud800"],
    "whole": [7, 0, 1, 3, -1, BIG, BIG + 1],
    "large": [7, 2**63, 2**64 - 1, 10**400, -(2**63)],
    "fractions": [7.0, 2.5, 0.0, -0.0, 1e300, float(BIG), float("inf")],
    "nan": [float("nan")],
    "booleans": [True, False],
    "numpy": [np.int8(7), np.uint64(2**64 - 1), np.float32(2.5), np.str_("a"), np.True_, np.float64("nan")],
    "others": [b"a", Letter.A, Decimal(7), datetime.date(2020, 1, 1), np.datetime64("2020-01-01"), ["a"], 1j],
}
ARROW = {
    pa.string(): "text", pa.large_string(): "text", pa.dictionary(pa.int8(), pa.string()): "text", pa.int8(): "bytes",
    pa.int64(): "whole", pa.uint64(): "whole", pa.float64(): "fractions", pa.float32(): "fractions",
    pa.bool_(): "booleans", pa.date32(): "dates", pa.timestamp("us"): "dates", pa.decimal128(5, 2): "decimals",
    pa.binary(): "binary", pa.null(): "none", pa.list_(pa.string()): "nested",
}  # fmt: skip
TYPED = {
    "text": ["a", "b", "new"], "bytes": [7, 0, 3], "whole": [7, 0, 3, BIG, BIG + 1], "booleans": [True, False],
    "fractions": [7.0, 2.5, 0.0, -0.0, float("nan"), float(BIG)], "dates": [datetime.datetime(2020, 1, 1)],
    "decimals": [Decimal("2.50")], "binary": [b"a"], "none": [None], "nested": [["a"]],
}  # fmt: skip


def of_request(encode, value_N):
    try:
        return encode_lists("history", {"item": value_N}, {"item": encode})["item"].tolist()
    except (TypeError, ValueError):
        return "refused"


def of_column(encode, table, lists=True):
    try:
        return encoded("item", raw_columns(table, ["item"])["item"], lists, encode).value_M.tolist()
    except ValueError as error:
        return "refused" if str(error).startswith("predict: ") and "'item'" in str(error) else error


def draw(rng, pool, size):
    return [pool[i] for i in rng.integers(0, len(pool), size)]


def cut(rng, value_M):
    """The values as lists of a few."""
    ends = np.sort(rng.integers(0, len(value_M) + 1, 3))
    return [value_M[a:b] for a, b in zip([0, *ends], [*ends, len(value_M)], strict=True)]


def object_column(value_N):
    column = np.empty(len(value_N), object)
    column[:] = value_N
    return pd.DataFrame({"item": pd.Series(column, dtype=object)})


@pytest.mark.parametrize("encoder", ENCODERS)
def test_python_values_in_lists(encoder):
    rng = np.random.default_rng(len(encoder))
    outcomes = []
    for _ in range(150):
        kinds = rng.choice(list(KINDS), rng.integers(1, 3), replace=False)
        value_M = draw(rng, [None, *(value for kind in kinds for value in KINDS[kind])], rng.integers(0, 6))
        want = of_request(ENCODERS[encoder], value_M)
        assert of_column(ENCODERS[encoder], object_column(cut(rng, value_M))) == want, value_M
        outcomes.append(want == "refused")
    assert encoder == "nothing" or 0.1 < np.mean(outcomes) < 0.9


@pytest.mark.parametrize("encoder", ENCODERS)
def test_python_values_one_a_row(encoder):
    rng = np.random.default_rng(len(encoder))
    for _ in range(150):
        kinds = rng.choice(list(KINDS), rng.integers(1, 3), replace=False)
        value_N = draw(rng, [None, *(value for kind in kinds for value in KINDS[kind])], rng.integers(1, 6))
        unmarked = [None if isinstance(v, float) and np.isnan(v) else v for v in value_N]  # pandas' word for None
        want = of_request(ENCODERS[encoder], unmarked)
        assert of_column(ENCODERS[encoder], object_column(value_N), lists=False) == want, value_N


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("type", ARROW, ids=str)
def test_arrow_values(encoder, type):
    rng = np.random.default_rng(0)
    for _ in range(10):
        values = [None, *TYPED[ARROW[type]]]
        parts = [pa.array(draw(rng, values, rng.integers(0, 5)), type) for _ in range(rng.integers(1, 4))]
        column = pa.chunked_array(parts).slice(1)
        if not len(column):
            continue
        want = of_request(ENCODERS[encoder], column.to_pylist())
        assert of_column(ENCODERS[encoder], pa.table({"item": column}), lists=False) == want, column
        rows = pa.chunked_array([pa.array(cut(rng, part.to_pylist()), pa.list_(type)) for part in column.chunks])
        for table in (pa.table({"item": rows}), pa.table({"item": rows.cast(pa.large_list(type))})):
            assert of_column(ENCODERS[encoder], table) == want, rows


@pytest.mark.parametrize(
    ("series", "value_N"),
    [
        (pd.Series([7, BIG + 1, None], dtype="Int64"), [7, BIG + 1, None]),
        (pd.Series([7, 2.5, np.nan]), [7, 2.5, None]),
        (pd.Series([7, np.nan], dtype=np.float32), [7, None]),
        (pd.Series(pd.arrays.FloatingArray(np.array([7, np.nan]), np.array([False, True]))), [7, None]),
        (pd.Series([7, None], dtype="category"), [7, None]),
        (pd.Series([7, pd.NA, BIG + 1, np.nan, None], dtype=object), [7, None, BIG + 1, None, None]),
        (pd.Series([2**64 - 1], dtype=np.uint64), [2**64 - 1]),
        (pd.Series(pd.to_datetime([None, None])), [None, None]),
        (pd.Series([7, None], dtype=pd.ArrowDtype(pa.int64())), [7, None]),
    ],
)
def test_what_pandas_calls_missing_is_none(series, value_N):
    want = of_request(ENCODERS["whole"], value_N)
    assert want != "refused"
    assert of_column(ENCODERS["whole"], pd.DataFrame({"item": series}), lists=False) == want


@pytest.mark.parametrize(
    ("series", "message"),
    [
        (pd.Series([7.0, float(BIG)]), r"row 1 of column 'item' is 9\d*\.0; a float .* give an int"),
        (pd.Series(pd.arrays.FloatingArray(np.array([7, np.nan]), np.zeros(2, bool))), "row 1 .* is nan; give None"),
        (pd.Series([[7.0], [7, np.nan]]), "value 1 in row 1 .* is nan; give None"),
        (pd.Series(pd.to_datetime(["2020-01-01"])), "row 0 .* of type datetime; the log held numbers"),
        (pd.Series(pd.period_range("1970-01-08", periods=1, freq="D")), r"holds period|holds extension"),
        (pd.Series([7j]), "holds complex128; expected numbers, text"),
        (pd.Series([True, False]), "is True of type bool"),
    ],
)
def test_columns_of_other_types(series, message):
    def read():
        raw = raw_columns(pd.DataFrame({"item": series}), ["item"])["item"]
        return encoded("item", raw, holds_lists(raw), ENCODERS["whole"])

    with pytest.raises(ValueError, match=f"^predict: .*{message}"):
        read()


def test_an_error_names_row_and_place():
    rows = [[7], [], None, [7, 7, "x", 7], ["x"]]
    place = "value 2 in row 3 of column 'item' is 'x'"
    with pytest.raises(ValueError, match=place):
        encoded("item", rows, True, ENCODERS["whole"])
    text = pa.chunked_array([[["7"], []], [None, ["7", "7", None], ["x", None]]])
    with pytest.raises(ValueError, match="value 2 in row 3 of column 'item' is None"):
        encoded("item", text, True, lambda where, value_D: numbers(where, [v and float(v == "7") for v in value_D]))
    for rows in ([[7], 7], [[7], "7"], [{7}], pa.chunked_array([[7]]), pa.chunked_array([["7"]])):
        with pytest.raises(ValueError, match=r"column 'item' (is of type|holds) .*; expected a list"):
            encoded("item", rows, True, ENCODERS["whole"])


def test_missing_lists_are_empty():
    for raw in ([None, [7]], pa.chunked_array([[None, [7]]]), pa.chunked_array([[None, [7, 7]]]).slice(0, 1)):
        column = encoded("item", raw, True, ENCODERS["whole"])
        assert column.length_N.tolist() == [0, 1][: len(raw)] and column.value_M.tolist() == [2][: len(raw) - 1]
    column = encoded("item", pa.chunked_array([pa.nulls(2)]), True, ENCODERS["whole"])
    assert column.length_N.tolist() == [0, 0] and column.value_M.tolist() == []


def test_names():
    frame = pd.DataFrame([[1, 2, 3]], columns=["item", "item", "itm"])
    for table in (frame, pa.Table.from_arrays([[1], [2], [3]], list(frame.columns))):
        with pytest.raises(ValueError, match="column 'item' occurs 2 times"):
            raw_columns(table, ["item"])
        with pytest.raises(ValueError, match="column 'user' is missing; known names"):
            raw_columns(table, ["user"])
