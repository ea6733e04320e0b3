"""Folders of files as one log: which files, in which order, and the columns that their paths give."""

import re

import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from dienjax.cli import main
from dienjax.data.store import Store
from dienjax.preparation.prepare import prepare
from dienjax.preparation.read import Roles, column_names, rows

ROLES = Roles("u", "i", "t", ("day",))


def write(folder, path, **columns):
    file = folder / path
    file.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table({"u": [1, 2], "i": [5, 6], "t": [1, 2]} | columns)
    pq.write_table(table, file) if file.suffix == ".parquet" else table.to_pandas().to_csv(file, index=False)


def read(log, *names, roles=ROLES):
    blocks = list(rows(log, roles))
    return [tuple(row) for b in blocks for row in zip(*(b.ids[name].to_pylist() for name in names), strict=True)]


def test_a_folder_is_the_log_of_its_files_in_order_of_their_paths(tmp_path):
    for name in (
        "b.parquet",
        "a/2.parquet",
        "a/1.parquet",
        "_SUCCESS",
        ".b.parquet.crc",
        "_tmp/x.csv",
        ".hidden/y.csv",
    ):
        write(tmp_path, name, i=[len(name), 0]) if name.endswith("parquet") else write(tmp_path, name)
    roles = Roles("u", "i", "t")
    got = read(tmp_path, "i", roles=roles)
    assert got == read([tmp_path / "a/1.parquet", tmp_path / "a/2.parquet", tmp_path / "b.parquet"], "i", roles=roles)
    assert got == read(f"{tmp_path}/**", "i", roles=roles)


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_the_keys_of_hive_are_columns(suffix, tmp_path):
    write(tmp_path, f"day=2026-11-02/hour=07/a.{suffix}")
    write(tmp_path, f"day=2026-11-01/hour=10/a.{suffix}")
    write(tmp_path, f"day=__HIVE_DEFAULT_PARTITION__/hour=10/a.{suffix}")
    write(tmp_path, f"day=a%2Fb%3D%C3%BC/hour=-3/a.{suffix}")
    roles = Roles("u", "i", "t", ("day", "hour"))
    assert column_names(tmp_path, roles) == ["u", "i", "t", "day", "hour"]
    expected = [("2026-11-01", 10), ("2026-11-02", 7), (None, 10), ("a/b=ü", -3)]
    assert read(tmp_path, "day", "hour", roles=roles) == [key for key in expected for _ in range(2)]


def test_keys_are_typed_as_pyarrow_types_them(tmp_path):
    for n, (a, b, c) in enumerate([("01", "1", "1.5"), ("7", "x", "2"), ("__HIVE_DEFAULT_PARTITION__", "3", "-1")]):
        write(tmp_path, f"a={a}/b={b}/c={c}/{n}.parquet")
    theirs = ds.dataset(tmp_path, partitioning="hive").to_table().sort_by([("b", "ascending")])
    roles = Roles("u", "i", "t", ("a", "b", "c"))
    ours = sorted(read(tmp_path, "a", "b", "c", roles=roles), key=lambda row: row[1])
    assert ours == list(zip(*(theirs[name].to_pylist() for name in "abc"), strict=True))


def test_a_key_is_the_time_and_is_read_by_an_expression(tmp_path):
    for day, hour in (("2026-11-02", 3), ("2026-11-01", 4)):
        write(tmp_path, f"day={day}/hour={hour}/a.parquet")
    blocks = list(rows(tmp_path, Roles("u", "i", "day", (), {"late": "hour >= 4 and day < '2026-12'"})))
    start = pd.Timestamp("2026-11-01").timestamp()
    assert [t for b in blocks for t in b.time_R] == [start] * 2 + [start + 86400] * 2
    assert [y for b in blocks for y in b.numbers["late"]] == [1, 1, 0, 0]


@pytest.mark.parametrize("engine", ["memory", "duckdb"])
def test_a_folder_gives_the_store_of_its_table(engine, tmp_path):
    frame = pd.DataFrame({"u": [1, 1, 2, 2, 3, 3] * 3, "i": range(18), "t": [5, 4, 3] * 6})
    frame["day"] = frame.index // 6
    for day, part in frame.groupby("day"):
        (tmp_path / f"log/day={day}").mkdir(parents=True)
        part.drop(columns="day").to_parquet(tmp_path / f"log/day={day}/0.parquet", index=False)
    roles = {"user": "u", "item": "i", "time": "t", "attributes": ["day"], "engine": engine}
    got = prepare(tmp_path / "log", tmp_path / "s", **roles)
    assert got.digest == prepare(frame, tmp_path / "t", **roles).digest
    given = ["--events", str(tmp_path / "log"), "--out", str(tmp_path / "c"), "--attribute", "day", "--engine", engine]
    main(["prepare", *given, "--user", "u", "--item", "i", "--time", "t", "--quiet"])
    assert Store.open(tmp_path / "c").digest == got.digest


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (["u=1/a.parquet"], "u=1/a.parquet' has a column 'u', and so does its path; expected one of them: rename"),
        (["day=1/a.parquet", "hour=1/a.parquet"], "different keys in their paths: .*['day'], .*['hour']; expected the"),
        (["day=1/a.parquet", "b.parquet"], "different keys in their paths: .*[], .*['day']"),
        (["day=1/day=2/a.parquet"], "has the key 'day' twice; expected it once"),
        (["day=%FF/a.parquet"], "has the key 'day=%FF', which is not UTF-8"),
        (["x.parquet"], "column 'day' is missing"),
    ],
)
def test_what_is_wrong_with_a_folder(paths, message, tmp_path):
    for path in paths:
        write(tmp_path, path)
    with pytest.raises(ValueError, match=re.escape(message).replace(r"\.\*", ".*")):
        read(tmp_path, "day")


def test_a_store_is_not_written_into_its_log(tmp_path):
    write(tmp_path, "log/a.parquet")
    with pytest.raises(ValueError, match=r"is inside the log .*log'; expected a folder outside"):
        prepare(tmp_path / "log", tmp_path / "log/store", user="u", item="i", time="t")
    assert [path.name for path in (tmp_path / "log").iterdir()] == ["a.parquet"]
