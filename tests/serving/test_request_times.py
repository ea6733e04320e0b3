"""Fields of time in requests: the ids that a store gives to the same events, and errors for times that cannot be."""

import numpy as np
import pandas as pd
import pytest

from dienjax.data.split import StoreSplit
from dienjax.inputs.time_fields import EDGES
from dienjax.preparation.prepare import prepare
from dienjax.serving.encoding import encoders
from dienjax.serving.rows import column_names, encoded_rows

T0 = 10**9


@pytest.fixture(scope="module")
def timed(tmp_path_factory):
    rng = np.random.default_rng(0)
    user = np.repeat(np.arange(20), rng.integers(2, 7, 20))
    log = pd.DataFrame(
        {"user": user, "item": rng.integers(0, 9, len(user)), "time": T0 + rng.integers(0, 9**7, len(user))}
    )
    return prepare(
        log, tmp_path_factory.mktemp("s") / "store", user="user", item="item", time="time", time_fields=tuple(EDGES),
        test_fraction=0, valid_fraction=0,
    )  # fmt: skip


def rows_of(store, **columns):
    encode = encoders(store.schema, lambda table: store.vocabulary(table)["value"].tolist(), np.dtype(np.int64))
    table = pd.DataFrame({"hist_item": [[1, 2]], "item": [[3, 4, 5]], "hist_time": [[T0, T0 + 9]], "now": [T0 + 9]})
    return encoded_rows(store.schema, encode, table.assign(**columns))


def test_a_request_has_the_ids_of_the_store(timed):
    dataset = StoreSplit(timed, "train", auxiliary=False)
    batch = dataset.rows(np.arange(len(dataset.end_N)), 6, 0)
    values = timed.vocabulary("item")["value"].tolist()
    spans = [slice(timed.offsets[u], end) for u, end in zip(dataset.user_N, dataset.end_N, strict=True)]
    lengths = [span.stop - span.start for span in spans]
    rows = rows_of_table(timed, pd.DataFrame({
        "hist_item": [[values[0]] * n for n in lengths],
        "hist_time": [timed.time_E[span].tolist() for span in spans],
        "item": [[values[0]] * 2] * len(spans),
        "now": timed.time_E[dataset.end_N],
    }))  # fmt: skip
    history = {column.name: column.value_M for column in rows.history}
    candidate = {column.name: column.value_M for column in rows.candidate}
    for name in EDGES:
        np.testing.assert_array_equal(history[f"hist_{name}"], batch.history[name][batch.mask_BT])
        np.testing.assert_array_equal(candidate[name], batch.candidate[name].ravel())
        assert history[f"hist_{name}"].dtype == np.int64


def rows_of_table(store, table):
    encode = encoders(store.schema, lambda table: store.vocabulary(table)["value"].tolist(), np.dtype(np.int64))
    return encoded_rows(store.schema, encode, table)


def test_the_columns_of_a_table(timed, store):
    assert column_names(timed.schema) == ["hist_item", "item", "hist_time", "now"]
    assert not {"hist_time", "now"} & set(column_names(store.schema))


def test_an_empty_history_needs_now_alone(timed):
    rows = rows_of(timed, hist_item=[[]], hist_time=[[]])
    assert rows.length_N.tolist() == [0]
    assert {len(column.value_M) for column in rows.candidate} == {3}


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"now": [T0 + 8]}, r"row 0: an event at 1000000009 stands before now, 1000000008; expected now at or after"),
        ({"hist_time": [[T0 + 1, T0]]}, r"row 0: an event at .* expected times that ascend, oldest first"),
        ({"hist_time": [[T0, None]]}, "column 'hist_time' is None; expected a time as a finite number"),
        ({"hist_time": [[T0, float("nan")]]}, "column 'hist_time' is nan; expected a time"),
        ({"now": [None]}, "row 0 of column 'now' is None; expected a time"),
        ({"now": [pd.Timestamp("2026-01-01")]}, r"column 'now' .* expected a time as a finite number"),
        ({"hist_time": [[T0]]}, "'hist_time' and 'hist_item' do not hold equally many values in every row"),
        ({"hist_time": [T0]}, "expected a list"),
    ],
)
def test_times_that_cannot_be_are_named(timed, columns, message):
    with pytest.raises(ValueError, match=message):
        rows_of(timed, **columns)


def test_a_time_before_1970_has_its_hour(timed):
    rows = rows_of(timed, hist_time=[[-3601, -1]], now=[0])
    assert next(c.value_M.tolist() for c in rows.history if c.name == "hist_hour") == [2 + 22, 2 + 23]
