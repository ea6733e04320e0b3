"""Every form of a log gives the same rows; what is wrong is named with its file and line."""

import bz2
import gzip
import re
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dienjax.preparation.read import Roles, column_names, rows

ROLES = Roles("u", "i", "t", ("c",), {"liked": "r >= 4"}, unit="liked")
TABLE = {"u": ["ann", "bo", "ann"], "i": [7, -7, 2**62], "t": [3, 1, 2], "c": ["NA", None, "x y"], "r": [5, 3, 4]}
LINES = ["u,i,t,c,r", "ann,7,3,NA,5", "bo,-7,1,,3", f"ann,{2**62},2,x y,4"]


def read(log, roles=ROLES):
    blocks = list(rows(log, roles))
    ids = {name: [v for b in blocks for v in b.ids[name].to_pylist()] for name in roles.ids}
    numbers = {name: [v for b in blocks for v in b.numbers[name].tolist()] for name in roles.numbers}
    return ids | {"t": np.concatenate([b.time_R for b in blocks]).tolist()} | numbers


def text(folder, name, lines, pack=bytes):
    file = folder / name
    file.write_bytes(pack("".join(f"{line}\n" for line in lines).encode()))
    return file


def zstd(data):
    return pa.compress(data, "zstd", asbytes=True)


@pytest.mark.parametrize(
    ("name", "delimiter", "pack"),
    [
        ("a.csv", ",", bytes),
        ("a.csv.gz", ",", gzip.compress),
        ("a.tsv.bz2", "\t", bz2.compress),
        ("a.csv", ";", bytes),
        ("a.txt.zst", "|", zstd),
        ("a.data", "\t", lambda data: b"\xef\xbb\xbf" + data.replace(b"\n", b"\r\n")),
    ],
)
def test_text_files(tmp_path, name, delimiter, pack):
    file = text(tmp_path, name, [line.replace(",", delimiter) for line in LINES], pack)
    got = read(str(file))
    assert got == {
        "u": TABLE["u"], "i": ["7", "-7", str(2**62)], "c": TABLE["c"], "t": [3, 1, 2], "liked": [1, 0, 1],
    }  # fmt: skip
    assert column_names(file, ROLES) == ["u", "i", "t", "c", "r"]


@pytest.mark.parametrize("form", ["frame", "arrow", "parquet", "categories"])
def test_tables(tmp_path, form):
    frame = pd.DataFrame(TABLE)
    if form == "categories":
        frame["u"] = frame["u"].astype("category")
    log = pa.Table.from_pandas(frame) if form == "arrow" else frame
    if form == "parquet":
        frame.to_parquet(log := tmp_path / "a.parquet")
    assert read(log) == {k: TABLE[k] for k in "uict"} | {"liked": [1, 0, 1]}


def test_several_files_in_order(tmp_path):
    for number in (2, 0, 1):
        text(tmp_path, f"{number}.csv", [LINES[0], f"u{number},1,{number},c,1"])
    assert read(f"{tmp_path}/*.csv")["u"] == ["u0", "u1", "u2"]
    assert read([tmp_path / "2.csv", f"{tmp_path}/[01].csv"])["u"] == ["u2", "u0", "u1"]


def test_quotes(tmp_path):
    file = text(tmp_path, "a.csv", ['"u",i,t', '"a, ""b""\nc",1,2'])
    assert read(file, Roles("u", "i", "t"))["u"] == ['a, "b"\nc']
    file = text(tmp_path, "a.tsv", ["u\ti\tt", '"a\t1\t2'])
    assert read(file, Roles("u", "i", "t"))["u"] == ['"a']


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        ([3, 2.5], [3, 2.5]),
        (["3", "2.5"], [3, 2.5]),
        (["2020-01-01", "2020-01-01T00:00:01.5+00:00"], [1577836800, 1577836801.5]),
        ([datetime(2020, 1, 1), datetime(2020, 1, 2)], [1577836800, 1577923200]),
        ([datetime(2020, 1, 1, tzinfo=UTC), datetime(2020, 1, 2, tzinfo=UTC)], [1577836800, 1577923200]),
        ([datetime(2020, 1, 1).date(), datetime(2020, 1, 2).date()], [1577836800, 1577923200]),
        ([2**62, 2**62 + 1], [2**62, 2**62 + 1]),
    ],
)
def test_times(time, expected):
    got = read(pd.DataFrame({"u": 1, "i": 1, "t": time}), Roles("u", "i", "t"))["t"]
    assert got == expected


def test_whole_numbers_beside_missing_ones_and_other_types_of_ids():
    frame = pd.DataFrame({"u": [True, False], "i": [1.0, 2.0], "t": 1, "c": [np.nan, 3.0]})
    got = read(frame, Roles("u", "i", "t", ("c",)))
    assert (got["u"], got["i"], got["c"]) == ([True, False], [1.0, 2.0], [None, 3.0])
    days = pd.DataFrame({"u": pd.to_datetime(["2020-01-01"]), "i": np.array([2**64 - 1], np.uint64), "t": 1})
    got = read(days, Roles("u", "i", "t"))
    assert (got["u"][0][:10], got["i"]) == ("2020-01-01", [2**64 - 1])


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "'FILE' is empty"),
        (LINES[:1], "no rows of FILE"),
        ([LINES[0].replace("i", "item")], "column 'i' is missing of FILE; did you mean 'item'|known names"),
        ([*LINES, "a,1,2"], "'FILE' is broken.*Row #5: Expected 5 columns, got 3: a,1,2"),
        ([*LINES, "a,1,soon,c,3"], "time column 't' holds 'soon' in line 5 of FILE"),
        ([*LINES, "a,1,nan,c,3"], "time column 't' holds 'nan' in line 5"),
        ([*LINES, "a,1,-inf,c,3"], "time column 't' holds '-inf' in line 5"),
        ([*LINES, "a,1,2020-01-01,c,3"], "time column 't' holds '2020-01-01' in line 5"),
        ([LINES[0], "a,1,2020-01-01,c,3", "a,1,17,c,3", "a,1,2020-13-01,c,3"], "'17' in line 3"),
        ([*LINES, "a,1,,c,3"], "time column 't' holds no value in line 5"),
        ([*LINES, ",1,2,c,3"], "column 'u' has no value in line 5"),
        ([*LINES, "a,,2,c,3"], "column 'i' has no value in line 5"),
        ([*LINES, "a,1,2,c,many"], "'r >= 4' cannot be evaluated: 'r' is 'many' in line 5 of FILE"),
        ([*LINES, "a,1,2,\xff,3"], None),
        (["u,i,t,t,c,r", "a,1,2,2,c,3"], "column 't' occurs more than once of FILE"),
    ],
)
def test_what_is_wrong_in_a_text_file(tmp_path, lines, message):
    file = text(tmp_path, "a.csv", lines)
    if message is None:
        file.write_bytes(file.read_bytes().replace("\xff".encode(), b"\xff"))
        message = "'FILE' is broken after .*invalid UTF8"
    with pytest.raises(ValueError, match=message.replace("FILE", re.escape(str(file)))):
        read(file)


def test_a_broken_gzip_says_how_much_was_read(tmp_path):
    rng = np.random.default_rng(0)
    lines = ["u,i,t", *(f"{u},{i},{t}" for t, (u, i) in enumerate(rng.integers(0, 10**9, (400_000, 2))))]
    whole = gzip.compress("\n".join(lines).encode(), 1)
    for data, problem in (
        (whole[: len(whole) * 9 // 10], "Truncated"),
        (whole[:99] + b"oops" + whole[103:], "inflate"),
    ):
        (tmp_path / "a.csv.gz").write_bytes(data)
        with pytest.raises(ValueError, match=r"a.csv.gz' (is broken after [\d,]+ rows|cannot be read).*") as e:
            read(tmp_path / "a.csv.gz", Roles("u", "i", "t"))
        assert problem in str(e.value)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"i": [1, "x", 2]}, r"column 'i' holds mixed types.*astype\(str\)"),
        ({"i": [1, 2, 2**70]}, r"column 'i' holds mixed types, or numbers beyond 64 bits"),
        ({"i": [[1], [2], [3]]}, "column 'i' holds list<.*>; expected one value per row"),
        ({"t": [True, False, True]}, "time column 't' holds bool"),
        ({"t": [1.0, np.inf, 2.0]}, "time column 't' holds 'inf' in row 1"),
        ({"t": [1, 2, 2**64 - 1]}, "expected times below 2"),
        ({"r": [1, 2, None]}, "column 'r' has no value in row 2"),
        ({"r": ["a", "b", "c"]}, "'r' is 'a' in row 0"),
        ({"u": ["a", "b", b"a"]}, "column 'u' holds bytes; expected text: decode it"),
    ],
)
def test_what_is_wrong_in_a_table(columns, message):
    frame = pd.DataFrame(TABLE | columns)
    with pytest.raises(ValueError, match=message):
        read(frame)


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("rr >= 4", "column 'rr' of 'rr >= 4' is missing; did you mean 'r'"),
        ("r >=", "'r >=' is neither a column nor an expression"),
        ("r", "'r' is '5' in row 0; expected 0 to 1"),
        ("4", "does not give a value per row"),
    ],
)
def test_what_is_wrong_in_an_expression(expression, message):
    roles = Roles("u", "i", "t", (), {"liked": expression}, unit="liked")
    with pytest.raises(ValueError, match=re.escape(message)):
        read(pd.DataFrame(TABLE), roles)


def test_what_is_wrong_with_files(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no file '.*/none\*.csv'; expected a CSV"):
        read(f"{tmp_path}/none*.csv")
    with pytest.raises(ValueError, match=r"folder '.*' has no files; expected CSV"):
        read(tmp_path)
    with pytest.raises(TypeError, match="a log is a dict"):
        read(TABLE)
    (tmp_path / "a.parquet").write_text("no")
    with pytest.raises(ValueError, match=r"a.parquet' is not a Parquet file"):
        read(tmp_path / "a.parquet")
    (tmp_path / "a.zip").write_text("no")
    with pytest.raises(ValueError, match=r"is compressed as .zip.*decompress it first"):
        read(tmp_path / "a.zip")


def test_parquet_text_that_is_no_utf_8(tmp_path):
    """Parquet does not check it, and a store would keep a vocabulary that nothing can read."""
    broken = pa.array([b"a", b"\x93", b"b"], pa.binary()).view(pa.string())
    pq.write_table(pa.table(TABLE | {"c": broken}), tmp_path / "a.parquet")
    with pytest.raises(ValueError, match=r"column 'c' cannot be read as string .*UTF"):
        read(tmp_path / "a.parquet")


def test_types_that_differ_between_files(tmp_path):
    pq.write_table(pa.table(TABLE), tmp_path / "0.parquet")
    pq.write_table(pa.table(TABLE | {"i": ["7", "8", "9"]}), tmp_path / "1.parquet")
    with pytest.raises(ValueError, match="column 'i' holds mixed types: int64, string; expected one type in all files"):
        read(f"{tmp_path}/*.parquet")
    pq.write_table(pa.table(TABLE | {"t": ["2020-01-01"] * 3}), tmp_path / "1.parquet")
    with pytest.raises(ValueError, match="holds numbers and dates"):
        read(f"{tmp_path}/*.parquet")
    pq.write_table(pa.table(TABLE | {"i": [7, 8, 9]}), tmp_path / "0.parquet")
    pq.write_table(pa.table(TABLE | {"i": [1.0, 2.0, 2.5], "t": [1.5] * 3}), tmp_path / "1.parquet")
    assert read(f"{tmp_path}/*.parquet")["i"][3:] == [1.0, 2.0, 2.5]
