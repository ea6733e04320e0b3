"""A value becomes its id or number, or is named with its field and position."""

from decimal import Decimal
from enum import StrEnum

import numpy as np
import pytest

from dienjax.schema import UNKNOWN
from dienjax.serving.encoding import encode_lists, encode_values, known_values, numbers, ready_ids

INT32 = np.dtype(np.int32)
TEXT = known_values(["a", "b"], INT32)
NUMBERS = known_values([7, 2.5, 2**63 + 1], INT32)
BOOLS = known_values([True, False], INT32)
IDS = ready_ids(5, INT32, padding=False)


class Letter(StrEnum):
    A = "a"


def encoded(encode, value_N):
    return encode_lists("candidates", {"item": value_N}, {"item": encode})["item"]


@pytest.mark.parametrize(
    ("encode", "value_N", "id_N"),
    [
        (TEXT, ["b", "a", "z", None], [3, 2, 1, 1]),
        (TEXT, ("a", np.str_("b")), [2, 3]),
        (TEXT, np.array(["b", "z"]), [3, 1]),
        (TEXT, np.array(["b", None], object), [3, 1]),
        (TEXT, [], []),
        (NUMBERS, [7, 7.0, 2.5, 8, None, 2**63 + 1, 10**400], [2, 2, 3, 1, 1, 4, 1]),
        (NUMBERS, [np.int8(7), np.float16(2.5), np.uint64(2**63 + 1)], [2, 3, 4]),
        (NUMBERS, np.array([2.5, -0.25, 7], np.float32), [3, 1, 2]),
        (known_values([2.0**53, 0.5], INT32), [2**53, 2.0**53, float("inf"), -0.5], [2, 2, 1, 1]),
        (NUMBERS, np.array([2**63 + 1], np.uint64), [4]),
        (BOOLS, [True, False, None, np.True_], [2, 3, 1, 2]),
        (BOOLS, np.array([False, True]), [3, 2]),
        (known_values([], INT32), ["a", 1, None], [1, 1, 1]),
        (IDS, [1, 4, 5, -1, None, 2**31, 2**32 + 2, -(2**70)], [1, 4, 1, 1, 1, 1, 1, 1]),
        (IDS, np.array([2, 2**32 + 2], np.int64), [2, 1]),
        (ready_ids(5, INT32, padding=True), [0, 1], [0, 1]),
        (ready_ids(2**40, np.dtype(np.int64), padding=False), [2**40 - 1, 2**40], [2**40 - 1, 1]),
    ],
)
def test_ids(encode, value_N, id_N):
    id_of = encoded(encode, value_N)
    assert id_of.tolist() == id_N
    assert id_of.dtype == (np.int64 if max(id_N, default=0) > 2**31 else np.int32)


@pytest.mark.parametrize(
    ("encode", "value_N", "message"),
    [
        (TEXT, ["a", 17], r"candidates\['item'\]\[1\] is 17 of type int; the log held text such as 'a': convert"),
        (TEXT, [True], "is True of type bool; the log held text"),
        (TEXT, [b"a"], "of type bytes"),
        (TEXT, ["a", ["b"]], r"\[1\] is \['b'\] of type list"),
        (TEXT, [Letter.A], "of type Letter"),
        (NUMBERS, [7, "7"], r"\[1\] is '7' of type str; the log held numbers such as 7: convert"),
        (NUMBERS, [True], "is True of type bool; the log held numbers"),
        (NUMBERS, np.array([True]), "is True of type bool"),
        (NUMBERS, [Decimal(7)], "of type Decimal"),
        (NUMBERS, np.array(["2020-01-01"], "M8[ns]"), "of type datetime64"),
        (NUMBERS, [np.timedelta64(7, "ns")], "of type timedelta64"),
        (BOOLS, [1], "is 1 of type int; the log held true or false such as True"),
        (IDS, [2, 2.0], r"\[1\] is 2.0 of type float; .* ready-made ids: give a whole number"),
        (IDS, [True], "of type bool"),
        (IDS, ["2"], "is '2' of type str"),
        (numbers, [1.0, "2"], r"\[1\] is '2' of type str; expected a number"),
        (numbers, [None], "of type NoneType; expected a number"),
        (numbers, [1j], "of type complex"),
        (numbers, np.array(["2020-01-01"], "M8[ns]"), "of type datetime64"),
        (TEXT, "ab", r"candidates\['item'\] is of type str; expected a list"),
        (TEXT, {"a"}, "is of type set; expected a list"),
        (TEXT, None, "is of type NoneType; expected a list"),
        (numbers, 3.0, "is of type float; expected a list"),
        (TEXT, np.array([["a"]]), r"is of type ndarray and shape \(1, 1\); expected a list"),
        (TEXT, np.array("a"), r"shape \(\)"),
    ],
)
def test_wrong_types(encode, value_N, message):
    with pytest.raises(TypeError, match=message):
        encoded(encode, value_N)


@pytest.mark.parametrize("value", [float("nan"), np.float32("nan"), 2.0**53, -(2.0**60), float("inf")])
def test_a_float_that_may_be_several_whole_numbers_is_refused(value):
    with pytest.raises(ValueError, match=r"candidates\['item'\]\[1\] is .*; (give None where|a float .* give an int)"):
        encoded(NUMBERS, [7, value])


def test_nan_is_no_value():
    with pytest.raises(ValueError, match=r"candidates\['item'\]\[2\] is nan; give None where it is unknown"):
        encoded(known_values([0.5, 7.0], INT32), np.array([7, 0.5, np.nan]))


def test_padding_is_no_item():
    with pytest.raises(ValueError, match=r"candidates\['item'\]\[2\] is 0, the id of padding; .* leave padding out"):
        encoded(IDS, [1, 2, 0, 0])


@pytest.mark.parametrize(
    "value_N", [[1, -2.5, True, 10**30], (np.float32(0.1), np.int64(3)), np.array([0.1, 1e-50]), np.array([2, 3], "u1")]
)
def test_numbers(value_N):
    number_N = encoded(numbers, value_N)
    assert number_N.dtype == np.float32
    np.testing.assert_array_equal(number_N, np.array([float(v) for v in value_N], np.float32))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -np.inf, 1e39, -(10**400), np.float64(3.5e38)])
def test_numbers_that_are_none(value):
    with pytest.raises(ValueError, match=r"candidates\['item'\]\[1\] is .*; expected a finite number"):
        encoded(numbers, [0.0, value])
    with pytest.raises(ValueError, match=r"user\['age'\] is .*; expected a finite number"):
        encode_values("user", {"age": value}, {"age": numbers})


def test_single_values():
    arrays = encode_values("user", {"age": np.float64(3), "{city}": "b"}, {"{city}": TEXT, "age": numbers})
    assert list(arrays) == ["{city}", "age"], "in the order of the fields"
    assert arrays["{city}"].tolist() == [3] and arrays["age"].tolist() == [3]
    with pytest.raises(TypeError, match=r"user\['\{city\}'\] is \['b'\] of type list; the log held text"):
        encode_values("user", {"{city}": ["b"]}, {"{city}": TEXT})


def test_fields_missing_or_unknown():
    fields = {"item": TEXT, "price": numbers}
    with pytest.raises(ValueError, match=r"history\['item'\] is missing; got the fields \['items'"):
        encode_lists("history", {"items": ["a"], "price": [1]}, fields)
    with pytest.raises(ValueError, match=r"history\['prize'\] is not a field of the model; did you mean 'price'\?"):
        encode_lists("history", {"item": ["a"], "price": [1], "prize": [1]}, fields)
    with pytest.raises(ValueError, match=r"user\[3\] is not a field of the model; known names: none"):
        encode_values("user", {3: 1}, {})
    for group in (None, ["a"]):
        with pytest.raises(TypeError, match=r"history is of type .*; expected a dict with the fields \['item'"):
            encode_lists("history", group, fields)


def test_lists_of_different_lengths():
    with pytest.raises(ValueError, match=r"history\['item'\] has length 1, but history\['price'\] has 2; expected"):
        encode_lists("history", {"price": [1, 2], "item": ["a"]}, {"item": TEXT, "price": numbers})


def test_a_value_is_looked_up_by_content_alone():
    known = [f"item {i}" for i in range(1000)]
    assert known_values(known, INT32)(str, known[::-1]).tolist() == list(range(1001, UNKNOWN, -1))
