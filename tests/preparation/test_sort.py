"""DuckDB's path where it differs from memory; that both give the same bytes is in test_kernel."""

import sys

import numpy as np
import pandas as pd
import pytest

from dienjax.preparation import files, read, sort, sort_duckdb
from dienjax.preparation.prepare import prepare
from dienjax.preparation.read import Roles
from dienjax.preparation.sort import sort_tables
from dienjax.preparation.tables import Table

ROLES = Roles("u", "i", "t", ("c",))


def log(rows=1000, seed=0):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {"u": rng.integers(0, 50, rows), "i": rng.integers(0, 90, rows), "t": rng.integers(0, 20, rows)}
    )
    return frame.assign(c=(frame["i"] % 5).where(frame["i"] % 7 > 0))


@pytest.mark.parametrize("engine", ["memory", "duckdb"])
def test_rows_are_sorted_and_ties_keep_the_order_of_the_log(engine, tmp_path, monkeypatch):
    monkeypatch.setattr(read, "BLOCK_ROWS", 64)
    monkeypatch.setattr(sort_duckdb, "BLOCK_ROWS", 100)
    frame = log()
    values, (rows,) = sort_tables([Table("events", frame, ROLES)], tmp_path, engine)
    expected = frame.sort_values(["u", "t"], kind="stable")
    got = pd.DataFrame({name: values[name].to_numpy()[code[:]] for name, code in rows.code.items() if name != "c"})
    assert got["u"].tolist() == expected["u"].tolist()
    assert got["i"].tolist() == expected["i"].tolist()
    assert rows.time_R[:].tolist() == expected["t"].tolist()
    assert (rows.code["c"][:] == -1).tolist() == expected["c"].isna().tolist()
    assert values["c"].to_pylist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("engine", ["memory", "duckdb"])
def test_times_become_fractions_in_mid_log(engine, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "BLOCK_BYTES", 64)
    (tmp_path / "a.csv").write_text("u,i,t\n" + "".join(f"{n},1,{30 - n}\n" for n in range(20)) + "1,2,0.5\n")
    _, (rows,) = sort_tables([Table("events", tmp_path / "a.csv", Roles("u", "i", "t"))], tmp_path, engine)
    assert rows.time_R[:].tolist() == [30, 0.5, *range(29, 10, -1)]


@pytest.mark.parametrize("engine", ["memory", "duckdb"])
@pytest.mark.parametrize(
    ("text", "typed", "shared"),
    [
        (("10", "9"), [9, 11], [9, 10, 11]),
        (("10", "9"), [9.0, 11.0], [9, 10, 11]),
        (("10", "9"), [9.0, 1.5], [1.5, 9, 10]),
        (("10", "9"), ["9", "x"], ["10", "9", "x"]),
        (("x", "9"), [9, 11], None),
    ],
)
def test_two_tables_share_the_values_of_a_column(engine, text, typed, shared, tmp_path):
    """A text file has no types: it takes those of the other table."""
    (tmp_path / "a.csv").write_text(f"u,i,t\n1,{text[0]},1\n2,{text[1]},1\n")
    roles = Roles("u", "i", "t")
    frame = pd.DataFrame({"u": [1, 2], "i": typed, "t": 1})
    tables = [Table("events", tmp_path / "a.csv", roles), Table("impressions", frame, roles)]
    if shared is None:
        with pytest.raises(ValueError, match="column 'i' holds mixed types in two tables: int64, string"):
            sort_tables(tables, tmp_path, engine)
        return
    values, (_, shown) = sort_tables(tables, tmp_path, engine)
    assert values["i"].to_pylist() == shared
    assert [shared[code] for code in shown.code["i"][:]] == typed


def test_auto_takes_duckdb_for_what_may_not_fit(tmp_path, monkeypatch):
    taken = []
    monkeypatch.setattr(sort, "sort_with_duckdb", lambda *a: taken.append(a) or sort.sort_in_memory(a[0]))
    log().to_parquet(tmp_path / "a.parquet")
    roles = {"user": "u", "item": "i", "time": "t"}
    prepare(tmp_path / "a.parquet", tmp_path / "s", **roles)
    assert not taken
    monkeypatch.setattr(sort.os, "sysconf", lambda _: 100)
    prepare(tmp_path / "a.parquet", tmp_path / "t", **roles)
    assert len(taken) == 1


@pytest.mark.parametrize("engine", ["auto", "memory"])
def test_an_error_names_its_table_whichever_engine_looks_first(engine, tmp_path):
    (tmp_path / "empty.csv").write_text("")
    for wrong in (log().assign(i=["x", *range(999)]), tmp_path / "empty.csv"):
        with pytest.raises(ValueError, match=r"^prepare: events: "):
            prepare(wrong, tmp_path / "s", user="u", item="i", time="t", engine=engine)
        with pytest.raises(ValueError, match=r"^prepare: impressions: "):
            prepare(log(), tmp_path / "s", user="u", item="i", time="t", impressions=wrong, label="c", engine=engine)


def test_a_frame_is_converted_once(tmp_path, monkeypatch):
    converted = []
    monkeypatch.setattr(read, "_to_arrow", lambda *a, real=read._to_arrow: converted.append(1) or real(*a))
    prepare(log(), tmp_path / "s", user="u", item="i", time="t")
    assert len(converted) == 1


def test_without_duckdb(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "duckdb", None)
    with pytest.raises(ImportError, match=r"pip install 'dienjax\[duckdb\]'"):
        prepare(log(), tmp_path / "s", user="u", item="i", time="t", engine="duckdb")
    assert list(tmp_path.iterdir()) == []
