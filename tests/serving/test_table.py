"""A table's scores are those that its rows have as requests, however they are put together."""

import numpy as np
import pyarrow as pa
import pytest

from dienjax.serving import Ranker

ITEMS, CATEGORIES = ["a", "b", "c", "d", "new", None], [10.0, 20.0, 2.5, 30.0, None]
USER, SHOWN = ("city", "favourite", "age", "hist_age"), ("item", "category", "slot", "price")


@pytest.fixture(scope="module")
def ranker(exported):
    return Ranker(exported)


def rows(N, most, seed=0):
    """Rows in Python: histories of 0 to 7 events, 1 to `most` candidates (a list), every kind of feature."""
    rng = np.random.default_rng(seed)

    def drawn(values, n):
        return [values[i] for i in rng.integers(0, len(values), n)]

    made = []
    for _ in range(N):
        T, K = rng.integers(0, 8), rng.integers(1, most + 1)
        made.append(
            {
                "hist_item": drawn(ITEMS, T),
                "hist_category": drawn(CATEGORIES, T),
                "item": drawn(ITEMS, K),
                "category": drawn(CATEGORIES, K),
                "slot": drawn([True, False, None], K),
                "price": rng.normal(size=K).tolist(),
                "city": drawn(["Bonn", "Köln", "Rom", None], 1)[0],
                "favourite": drawn(ITEMS, 1)[0],
                "age": float(rng.normal()),
                "hist_age": float(rng.normal()),
            }
        )
    return made


def request(ranker, row):
    history = {name: row[f"hist_{name}"][-ranker.max_len :] for name in ("item", "category")}
    candidates = {name: row[name] for name in SHOWN}
    return ranker.score(history, candidates, {name: row[name] for name in USER}).tolist()


def close(got, want):
    assert [len(row) for row in got] == [len(row) for row in want]
    np.testing.assert_allclose(np.concatenate(got), np.concatenate(want), atol=1e-6)


@pytest.mark.parametrize("most", [1, 30])
def test_rows_together_are_requests_alone(ranker, most, monkeypatch):
    drawn = rows(60, most)
    want = [request(ranker, row) for row in drawn]
    score_N = ranker.score_table(pa.Table.from_pylist(drawn))
    assert score_N.type == pa.list_(pa.float32())
    close(score_N.to_pylist(), want)
    monkeypatch.setattr("dienjax.serving.table.STEP", 7)  # calls of few candidates, and some of a single row
    close(ranker.score_table(pa.Table.from_pylist(drawn)).to_pylist(), want)


def test_no_history_is_padded_and_few_calls_are_made(ranker, monkeypatch):
    shapes, encode = [], ranker._encode_rows

    def counted(feed):
        shapes.append(feed["hist_item"].shape)
        return encode(feed)

    monkeypatch.setattr(ranker, "_encode_rows", counted)
    ranker.score_table(pa.Table.from_pylist(rows(300, 3)))
    assert sorted(T for _, T in shapes) == [0, 1, 2, 3, 4] and sum(B for B, _ in shapes) == 300


def test_one_candidate_a_row_is_a_number(ranker):
    drawn = rows(20, 1)
    single = [{**row, **{name: row[name][0] for name in SHOWN}} for row in drawn]
    score_N = ranker.score_table(pa.Table.from_pylist(single))
    assert score_N.type == pa.float32()
    np.testing.assert_allclose(score_N.to_pylist(), [request(ranker, row)[0] for row in drawn], atol=1e-6)


def test_tables_of_no_rows_and_of_missing_lists(ranker):
    table = pa.Table.from_pylist(rows(3, 2))
    assert ranker.score_table(table[:0]).to_pylist() == []
    missing = [{**row, "hist_item": None, "hist_category": None} for row in rows(2, 2)]
    want = [request(ranker, {**row, "hist_item": [], "hist_category": []}) for row in missing]
    close(ranker.score_table(pa.Table.from_pylist(missing, table.schema)).to_pylist(), want)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"price": [float("nan")]}, r"value 0 in row 4 of column 'price' is nan"),
        ({"item": [], "category": [], "slot": [], "price": []}, "row 4 of column 'item' has no candidate"),
        ({"hist_item": ["a"], "hist_category": []}, r"'hist_item' do not hold equally many values .*row 4: 0 and 1"),
        ({"age": None}, "row 4 of column 'age' is None"),
    ],
)
def test_bad_rows(ranker, change, message):
    drawn = rows(6, 1)
    drawn[4] |= change
    with pytest.raises(ValueError, match=f"^Ranker.score_table: .*{message}"):
        ranker.score_table(pa.Table.from_pylist(drawn))
    with pytest.raises(ValueError, match="column 'age' is missing"):
        ranker.score_table(pa.Table.from_pylist(rows(1, 1)).drop_columns("age"))
