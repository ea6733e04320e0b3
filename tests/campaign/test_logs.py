"""A damaged log is refused, or its store holds what a plain reader of the same bytes finds, event for event."""

import csv
import gzip
import io
import json
import math

import numpy as np
import oracle_log
import pandas as pd
import pyarrow.parquet as pq
import pytest
from campaign import CLEAN, ROLES, command, left_behind, make_log, scratch, start
from mutations import damaged_bytes

from dienjax import Store, prepare

COLUMNS = {"user": "user", "item": "item", "time": "time", "attributes": ["category"], "user_attributes": ["city"]}
ODD = [
    "", " ", "N/A", "nan", "NaN", "inf", "-inf", "null", "None", "0", "-0", "007", "+1", "1e3", "1_000", "1.5", "٣",
    "9223372036854775807", "9223372036854775808", "1e400", "0x10", "true", '"', '""', "'", ",", ";", "\t", "\x00",
    "\ufeff",
    "a,b", "a\nb", "a\r\nb", "é", "\U0001f600", "x" * 70_000, "2024-02-30", "2024-01-01", "1970-01-01T00:00:00Z",
    "=1+1", "\\",
]  # fmt: skip


def cell(draw, frame):
    """One cell becomes something odd."""
    odd, column = str(draw.choice(ODD)), str(draw.choice(frame.columns))
    frame = frame.astype({column: object})
    frame.loc[int(draw.integers(len(frame))), column] = odd
    return f"{column} = {odd[:20]!r}", text(frame)


def lines(draw, frame):
    """Lines are dropped, doubled, merged, emptied, shortened, lengthened, or their order is another."""
    rows = text(frame).decode().splitlines(keepends=True)
    at, kind = int(draw.integers(len(rows))), int(draw.integers(8))
    changed = [
        lambda: rows[:at] + rows[at + 1 :],
        lambda: [*rows[: at + 1], *rows[at:]],
        lambda: [*rows[:at], rows[at].rstrip("\n"), *rows[at + 1 :]],
        lambda: [*rows[:at], "\n", *rows[at:]],
        lambda: [*rows[:at], rows[at].rpartition(",")[0] + "\n", *rows[at + 1 :]],
        lambda: [*rows[:at], rows[at].rstrip("\n") + ",1\n", *rows[at + 1 :]],
        lambda: [rows[0], *(rows[1 + i] for i in draw.permutation(len(rows) - 1))],
        lambda: rows[:at],
    ][kind]()
    return f"lines {kind} at {at}", "".join(changed).encode()


def encoding(draw, frame):
    """Another encoding or mark, other ends of lines, another delimiter, quotes around everything."""
    data, kind = text(frame), int(draw.integers(9))
    changed = [
        lambda: b"\xef\xbb\xbf" + data,
        lambda: data.decode().encode("utf-16"),
        lambda: data.decode().encode("latin-1"),
        lambda: data.decode().encode("utf-32"),
        lambda: data.replace(b"\n", b"\r\n"),
        lambda: data.replace(b"\n", b"\r"),
        lambda: data.replace(b",", bytes(draw.choice(np.frombuffer(b"\t;|: ", "S1")))),
        lambda: frame.to_csv(index=False, quoting=csv.QUOTE_ALL).encode(),
        lambda: data.replace(b"\n", b"\n\x00"),
    ][kind]()
    return f"encoding {kind}", changed


def raw(draw, frame):
    return damaged_bytes(draw, text(frame))


def text(frame):
    return frame.to_csv(index=False).encode()


def judge(tally, folder, data, suffix, what, expression=None):
    """Prepares a log of these bytes and counts what comes of it."""
    path, target = folder / f"log{suffix}", folder / "store"
    path.write_bytes(gzip.compress(data) if suffix.endswith(".gz") else data)
    try:
        prepare(path, target, **COLUMNS, protocol="all", hist_label=expression)
        wrong = oracle_log.difference(Store.open(target), data, "\t" if ".tsv" in suffix else None, expression)
        tally.add("wrong accepted" if wrong else "accepted rightly", f"{what}: {wrong}")
    except CLEAN as error:
        left = left_behind(folder, path.name)
        bad = "half-written" if left else "refused cleanly" if str(error) else "tracebacks"
        tally.add(bad, f"{what}: {error}, left {left}")
    except Exception as error:
        tally.add("tracebacks", f"{what}: {type(error).__name__}: {error}")


@pytest.mark.parametrize("mutate", [cell, lines, encoding, raw])
def test_text_logs(mutate, counted, draw, many, tmp_path):
    with counted(f"mutated text logs: {mutate.__name__}") as tally:
        for case in range(many({cell: 220, lines: 80, encoding: 60, raw: 160}[mutate])):
            frame = make_log(draw(f"log {case}"), users=12)
            if case % 3 == 0:
                frame["time"] = pd.to_datetime(frame["time"], unit="D").dt.strftime("%Y-%m-%d")
            what, data = mutate(draw(case), frame)
            suffix = (".csv", ".tsv", ".csv.gz")[0 if mutate is not raw else case % 2 * 2]
            expression = "rating >= 3" if case % 2 else None
            with scratch(tmp_path, f"case {case}") as folder:
                judge(tally, folder, data, suffix, f"case {case}: {what}", expression)


def test_damaged_compression(counted, draw, many, tmp_path):
    """A .gz that ends early or has a flipped byte has a checksum: only what unpacks without an error may be taken."""
    with counted("mutated text logs: gzip") as tally:
        for case in range(many(60)):
            frame = make_log(draw(f"log {case}"), users=12)
            what, data = damaged_bytes(draw(case), gzip.compress(text(frame), mtime=0))
            with scratch(tmp_path, f"case {case}") as folder:
                (folder / "log.csv.gz").write_bytes(data)
                try:
                    whole = gzip.decompress(data)
                except (OSError, EOFError, ValueError, gzip.zlib.error):
                    whole = None
                try:
                    store = prepare(folder / "log.csv.gz", folder / "store", **COLUMNS, protocol="all")
                    wrong = "the archive is damaged" if whole is None else oracle_log.difference(store, whole)
                    tally.add("wrong accepted" if wrong else "accepted rightly", f"case {case}: {what}: {wrong}")
                except CLEAN:
                    tally.add("refused cleanly")
                except Exception as error:
                    tally.add("tracebacks", f"case {case}: {what}: {type(error).__name__}: {error}")


def test_parquet_logs(counted, draw, many, tmp_path):
    """In a process each, since Arrow's own code reads them: what its reader of whole tables finds is the oracle."""
    with counted("mutated Parquet logs") as tally:
        for case in range(many(80)):
            buffer = io.BytesIO()
            make_log(draw(f"log {case}"), users=12).to_parquet(buffer, index=False)
            what, data = damaged_bytes(draw(case), buffer.getvalue())
            with scratch(tmp_path, f"case {case}") as folder:
                (folder / "log.parquet").write_bytes(data)
                ended = start(
                    folder, command, "prepare", "--events", folder / "log.parquet", *ROLES, "--protocol", "all",
                    "--out", folder / "store", "--quiet", memory=4 << 30,
                ).end()  # fmt: skip
                outcome, wrong = ended.outcome(), ""
                if outcome == "accepted rightly":
                    try:
                        read = ["user", "item", "category", "time", "city"]
                        table = pq.ParquetFile(io.BytesIO(data)).read(read).replace_schema_metadata(None).to_pandas()
                        wrong = oracle_log.differing_frame(Store.open(folder / "store"), table)
                    except UnicodeDecodeError as error:
                        wrong = f"its text is no UTF-8: {error}"
                elif (folder / "store").exists():
                    outcome = "half-written"
                tally.add("wrong accepted" if wrong else outcome, f"case {case}: {what}: {wrong or ended}")


def test_frames(counted, draw, many, tmp_path):
    """Columns of a DataFrame of many kinds: what is taken holds the same values, and NaN is no value."""
    values = [
        None, math.nan, np.inf, True, 2**53 + 1, 2**63, -1, 1.5, "1", "", b"x", pd.NaT, pd.Timestamp("2024-01-01"),
        [1], {},
        np.datetime64("2024-01-01T00:00:00.000000001"), np.float32(1.1), 10**30, 1j,
    ]  # fmt: skip
    with counted("mutated DataFrames") as tally:
        for case in range(many(160)):
            frame, generator = make_log(draw(f"log {case}"), users=12), draw(case)
            column = str(generator.choice(["user", "item", "category", "time", "city"]))
            value = values[int(generator.integers(len(values)))]
            column_values = frame[column].astype(object).tolist()
            column_values[int(generator.integers(len(frame)))] = value
            what = f"case {case}: {column} has {value!r}"
            with scratch(tmp_path, f"case {case}") as folder:
                try:
                    frame[column] = pd.Series(column_values)
                    store = prepare(frame, folder / "store", **COLUMNS, protocol="all")
                    wrong = oracle_log.differing_frame(store, frame)
                    tally.add("wrong accepted" if wrong else "accepted rightly", f"{what}: {wrong}")
                except CLEAN:
                    tally.add("half-written" if left_behind(folder) else "refused cleanly", what)
                except Exception as error:
                    tally.add("tracebacks", f"{what}: {type(error).__name__}: {error}")


def test_times_that_floats_confuse(counted, many, tmp_path):
    """Events a nanosecond apart, whole numbers beyond 2^53 beside fractions: refused, or in their true order."""
    near = pd.Timestamp("2024-01-01").value
    cases = {
        "nanoseconds": pd.to_datetime([near + 3, near + 2, near + 1, near]),
        "beyond 2^53": [2**53 + 3, 2**53 + 2, 2**53 + 1, 2**53],
        "with a fraction": [str(2**53 + 3), str(2**53 + 2), str(2**53 + 1), "0.5"],
        "text in nanoseconds": [f"2024-01-01T00:00:00.00000000{i}" for i in (3, 2, 1, 0)],
        "decimals": ["0.30000000000000004", "0.3", "0.1", "0.2"],
        "zones": [f"2024-01-01T00:00:00+0{i}:00" for i in range(4)],
    }
    with counted("times that floats confuse") as tally:
        for name, time in cases.items():
            # Users who meet the items in each order, so that training knows all of them.
            orders = ["abcd", "dcba", "cdab", "badc"]
            frame = pd.DataFrame({"user": np.repeat(range(4), 4), "item": [*"".join(orders)], "time": list(time) * 4})
            for form in ("frame", "csv"):
                with scratch(tmp_path, f"{name} {form}") as folder:
                    frame.to_csv(folder / "log.csv", index=False)
                    log = frame if form == "frame" else folder / "log.csv"
                    try:
                        roles = {"user": "user", "item": "item", "time": "time", "protocol": "all"}
                        store = prepare(log, folder / "store", **roles, user_id=True)
                    except CLEAN:
                        tally.add("refused cleanly")
                        continue
                    true = frame.assign(at=[oracle_log.moment(str(t)) for t in frame["time"]])
                    order = true.sort_values(["user", "at"], kind="stable")["item"].tolist()
                    got = oracle_log.values(store, "item", store.events["item"])
                    outcome = "accepted rightly" if got == order else "wrong accepted"
                    tally.add(outcome, f"{name}, {form}: {got}, expected {order}")


def test_what_the_store_says_of_itself(with_store):
    """The oracle would be of no use if it found no difference: another log is one."""
    store = Store.open(with_store.store)
    whole = with_store.log.read_bytes()
    assert oracle_log.difference(store, whole, None, "rating >= 3") == ""
    assert oracle_log.difference(store, whole[: whole.rstrip().rindex(b"\n") + 1], None, "rating >= 3") != ""
    assert json.loads((with_store.store / "store.json").read_text())["format"]
