"""Times keep the order and the equality that they have in the log, or are refused."""

import datetime
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dienjax.preparation import files
from dienjax.preparation.columns import times
from dienjax.preparation.read import Roles
from dienjax.preparation.sort import sort_tables
from dienjax.preparation.tables import Table

ROLES = Roles("u", "i", "t")
FINE = pd.Timestamp("2020-01-01T00:00:00.123456")


def read_times(values):
    column = values if isinstance(values, pa.Array) else pa.array(values)
    return times(column, "t", "row {}".format)[0].tolist()


@pytest.mark.parametrize(
    "values",
    [
        [FINE, FINE + pd.Timedelta("1us"), FINE + pd.Timedelta("2us")],
        pd.Series([FINE, FINE + pd.Timedelta("1us")]).astype("datetime64[ns]"),
        [str(FINE), str(FINE + pd.Timedelta("1us"))],
        [datetime.datetime(2242, 3, 16, 12, 56, 31, 1), datetime.datetime(2242, 3, 16, 12, 56, 31, 2)],
        ["1500000000.123456", "1500000000.123457", "1500000000.123458"],
        [Decimal("1500000000.123456"), Decimal("1500000000.123457")],
        [Decimal(2**53), Decimal(2**53 + 1)],
        [str(2**53), str(2**53 + 1)],
        [2**62, 2**62 + 1],
        ["1.5", "1500000000.12000000000", "1.500000000000e10"],
        ["2020-01-01", "9999-12-31"],
    ],
)
def test_times_that_differ_stay_different(values):
    got = read_times(values)
    assert got == sorted(set(got)) and len(got) == len(values)


def test_one_moment_is_one_time_in_any_unit():
    moments = pd.date_range("2021-03-04 05:06:07.891011", periods=1000, freq="77777us")
    micro, nano = (read_times(pd.Series(moments).astype(f"datetime64[{unit}]")) for unit in ("us", "ns"))
    assert micro == nano == read_times(moments.astype(str).tolist())
    assert micro == [round(moment.timestamp() * 10**6) / 10**6 for moment in moments]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            pd.Series([FINE, FINE + pd.Timedelta("1ns")]),
            "'2020-01-01 00:00:00.123456001' in row 1.*rounded to microsec",
        ),
        ([str(FINE), f"{FINE}001"], "'2020-01-01 00:00:00.123456001.*' in row 1"),
        (["2020-01-01", "9999-12-31T00:00:00.5"], "in row 1.*rounded to seconds"),
        (["1.5", str(2**53 + 1)], "'9007199254740993' in row 1.*whole numbers"),
        (["1500000000", "1500000000.12345678"], "'1500000000.12345678' in row 1"),
        ([Decimal("1500000000.5"), Decimal("1500000000.12345678")], "'1500000000.12345678' in row 1"),
        (["10", "-11", "0X1F"], "'0X1F' in row 2.*expected a finite number or an ISO 8601 date"),
        (["2020-01-01", "now"], "'now' in row 1"),
        (["2020-01-01", "-0"], "'-0' in row 1"),
        (["1.5", "1.00000000000000000000000000001"], "'1.00000000000000000000000000001' in row 1"),
        (["1.5", "1.000000000000e-99999999999"], "'1.000000000000e-99999999999' in row 1"),
        (pa.array([2**62], pa.timestamp("s")), "out of bounds.*years 1 to 9999"),
    ],
)
def test_times_that_float64_cannot_tell_apart_are_refused(values, message):
    with pytest.raises(ValueError, match=f"time column 't'.*{message}"):
        read_times(values)


@pytest.mark.parametrize("engine", ["memory", "duckdb"])
@pytest.mark.parametrize("turned", [False, True])
def test_large_whole_numbers_beside_fractions_are_refused(engine, turned, tmp_path, monkeypatch):
    """In two files, in two blocks of one, or in two tables: a comparison would round the whole ones."""
    monkeypatch.setattr(files, "BLOCK_BYTES", 64)

    def logs(large, name):
        parts = [[large, large + 1] * 9, [1.5, 2.5] * 9]
        for n, t in enumerate(reversed(parts) if turned else parts):
            pq.write_table(pa.table({"u": [1] * 18, "i": [1] * 18, "t": t}), tmp_path / f"{name}{n}.parquet")
        lines = [f"1,1,{t}\n" for part in (reversed(parts) if turned else parts) for t in part]
        (tmp_path / f"{name}.csv").write_text("".join(["u,i,t\n", *lines]))
        one, two = (Table(f"table {n}", tmp_path / f"{name}{n}.parquet", ROLES) for n in (0, 1))
        return [
            [Table("events", f"{tmp_path}/{name}?.parquet", ROLES)],
            [Table("events", tmp_path / f"{name}.csv", ROLES)],
            [one, two],
        ]

    for tables in logs(2**53, "a"):
        with pytest.raises(ValueError, match=r"(whole numbers such as|holds) '?9007199254740993"):
            sort_tables(tables, tmp_path, engine)
    for tables in logs(2**52, "b"):
        _, sorted_tables = sort_tables(tables, tmp_path, engine)
        assert set(np.concatenate([rows.time_R[:] for rows in sorted_tables])) == {1.5, 2.5, 2**52, 2**52 + 1}
