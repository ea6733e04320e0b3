"""Sets as texts and back, their sizes and ids, against plain Python."""

import numpy as np
import pyarrow as pa
import pytest

from dienjax.preparation.sets import MARK, Sets, ranked_sets, texts


def where(row):
    return f"row {row}"


def text(values, type=None, separator=""):
    column = pa.array(values, type)
    inner = column.type.value_type if hasattr(column.type, "value_type") else column.type
    return texts(column, "c", pa.list_(inner if not pa.types.is_null(inner) else pa.string()), separator, where)


LISTS = [["b", "a"], None, [], ["", "b", None, "b"], [None]]


DICTIONARY = pa.dictionary(pa.int32(), pa.string())


@pytest.mark.parametrize("inner", [pa.string(), pa.large_string()])
@pytest.mark.parametrize("kind", [pa.list_, pa.large_list, pa.list_view, pa.large_list_view])
def test_lists_of_any_type_are_one_text_each(kind, inner):
    got = texts(pa.array(LISTS, kind(inner)), "c", pa.list_(pa.string()), "", where)
    assert got.to_pylist() == [f"{MARK}b{MARK}a", None, None, f"{MARK}{MARK}b{MARK}b", None]


def test_lists_of_categories():
    got = texts(pa.array(LISTS, pa.list_(DICTIONARY)), "c", pa.list_(pa.string()), "", where)
    assert got.to_pylist() == text(LISTS).to_pylist()


def test_a_slice_of_lists_and_lists_of_one_size():
    fixed = pa.array([["x", "y"], ["a", "b"], None, ["c", None]], pa.list_(pa.string(), 2))[1:]
    assert text(fixed).to_pylist() == [f"{MARK}a{MARK}b", None, f"{MARK}c"]
    assert text(pa.array(LISTS)[3:]).to_pylist() == [f"{MARK}{MARK}b{MARK}b", None]


def test_texts_are_split_and_trimmed():
    column = pa.array(["a| b ", "a", "", " | ", None, "||c|"])
    got = texts(column, "c", pa.list_(pa.string()), "|", where)
    assert got.to_pylist() == [f"{MARK}a{MARK}b", f"{MARK}a", None, None, None, f"{MARK}c"]
    assert texts(pa.array([3, None]), "c", pa.list_(pa.int64()), "|", where).to_pylist() == [f"{MARK}3", None]
    assert texts(pa.nulls(2), "c", pa.list_(pa.string()), "", where).to_pylist() == [None, None]


def test_the_mark_itself_is_refused():
    with pytest.raises(ValueError, match=r"column 'c' holds 'a\\x1fb' in row 2; expected .* U\+001F: remove it"):
        text([["x"], [], [None, f"a{MARK}b"]])


@pytest.mark.parametrize(
    ("values", "type"),
    [
        ([[3, 1], [2**62, -5]], pa.int64()),
        ([[2**64 - 1, 0]], pa.uint64()),
        ([[0.1, 5e-324, -1e300, float("nan"), None, -0.0]], pa.float64()),
        ([[True, False], [True]], pa.bool_()),
        ([["é", " a", ""]], pa.string()),
    ],
)
def test_values_come_back_as_they_were(values, type):
    lists, (place,) = ranked_sets([text(values, pa.list_(type)).unique()], [type], [False])
    expected = [[v for v in row if v is not None and v == v] for row in values]
    assert [lists[int(p)].as_py() for p in place] == expected
    assert lists.values.dictionary.to_pylist() == sorted({v for row in expected for v in row})


@pytest.mark.parametrize("seed", range(20))
def test_two_tables_share_sets_and_values(seed):
    """One of lists of numbers, one of a text file: its values are numbers too, for they are whole."""
    rng = np.random.default_rng(seed)
    tables = [[rng.integers(0, 9, rng.integers(0, 5)).tolist() for _ in range(rng.integers(0, 12))] for _ in range(2)]
    parts = [
        text(tables[0], pa.list_(pa.int64())).unique().drop_null(),
        texts(
            pa.array(["|".join(map(str, row)) for row in tables[1]], pa.string()),
            "c",
            pa.list_(pa.string()),
            "|",
            where,
        )
        .unique()
        .drop_null(),
    ]
    lists, places = ranked_sets(parts, [pa.int64(), pa.string()], [False, True])
    for part, place in zip(parts, places, strict=True):
        for text_s, at in zip(part.to_pylist(), place.tolist(), strict=True):
            assert lists[at].as_py() == list(dict.fromkeys(map(int, text_s.split(MARK)[1:])))
    assert len(lists) == len({tuple(row) for table in tables for row in table if row})
    assert lists.values.dictionary.to_pylist() == sorted({v for table in tables for row in table for v in row})


def test_numbers_beside_text_are_refused():
    parts = [text([[1, 2]]), text([["a"]])]
    with pytest.raises(ValueError, match="mixed types in two tables: int64, string"):
        ranked_sets(parts, [pa.int64(), pa.string()], [False, False])


@pytest.mark.parametrize("seed", range(10))
def test_sizes_counts_and_ids(seed):
    rng = np.random.default_rng(seed)
    rows = list({tuple(rng.permutation(9)[: rng.integers(1, 7)].tolist()) for _ in range(12)})
    lists, (place,) = ranked_sets([text(list(map(list, rows)))], [pa.int64()], [False])
    sets, value = Sets.of(lists), lists.values.dictionary.to_pylist()
    count_S = rng.integers(0, 5, len(rows))
    rows = [rows[i] for i in np.argsort(place)]
    assert sets.counts(count_S).tolist() == [
        sum(n for row, n in zip(rows, count_S, strict=True) if v in row) for v in value
    ]
    lengths = np.repeat([len(row) for row in rows], count_S)
    for quantile in (0.3, 0.5, 0.9, 0.99, 1.0):
        expected = int(np.quantile(lengths, quantile, method="inverted_cdf")) if len(lengths) else 1
        most = sets.most(count_S, quantile)
        assert most == max(1, expected)
        assert sets.longer(count_S, most) == (lengths > most).sum() <= (1 - quantile) * len(lengths) + 1e-9
        id_of_code = np.append(rng.integers(1, 50, len(value)), 1)
        expected = [[id_of_code[value.index(v)] for v in row[:most]] for row in rows]
        expected = [[*row, *[0] * (most - len(row))] for row in [*expected, []]]
        assert sets.ids(id_of_code, most).tolist() == expected
    assert Sets.of(lists).most(np.zeros(len(rows), int), 0.99) == 1
