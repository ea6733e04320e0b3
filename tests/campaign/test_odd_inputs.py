"""Odd tags, prices and times: refused, or the store holds what a plain reader finds, and batches are made of it."""

import csv
import io
import math

import numpy as np
import pandas as pd
from campaign import CLEAN, left_behind, make_log, scratch

from dienjax import Store, prepare
from dienjax.data.split import StoreSplit
from dienjax.inputs.ids import hashed

SIZE = 1 << 20
HOW = {
    "user": "user", "item": "item", "time": "time", "protocol": "all", "numbers": ["row:raw", "price:log"],
    "time_fields": ["gap", "next_gap", "position"], "set_quantile": 1.0, "hash": {"tags": SIZE},
}  # fmt: skip
TEXTS = [
    "", " ", "|", "||a", "a|", "a|a", " a | b ", "a,b", "a;b", "é|ё", "\U0001f600", "x" * 70_000,
    "|".join(map(str, range(500))), "N/A", "nan", "null", "None", "1|2.0", "true|1", "a\x1fb", "\x00", '"', "'a'",
    "a\nb|c",
]  # fmt: skip
NUMBERS = [
    "", " ", "nan", "NaN", "inf", "-inf", "N/A", "null", "1e3", "1e39", "-5", "-0", "1_000", "0x10", "12,5", "1.5 ",
    "true", "3|4", "1e-46", "16777217",
]  # fmt: skip
LISTS = [
    [], None, [None], ["a", None, "a"], ["a", 1], [1, 2], [["a"]], "a", 3, {"a": 1}, ["a" * 70_000], [math.nan], [b"a"],
    np.array(["a", "b"]), ("a", "b"), [True],
]  # fmt: skip
MISSING = {"", "nan", "NaN", "N/A", "null", "NULL", "NA", "None"}


def rich(draw):
    """A log with tags as text and a price, both sometimes missing, and the number of each row."""
    frame = make_log(draw, users=12)
    tags = [draw.choice(["red", "dark", "wool", "old"], draw.integers(0, 4)).tolist() for _ in range(len(frame))]
    price = np.where(draw.random(len(frame)) < 0.2, np.nan, draw.lognormal(size=len(frame)).round(2))
    return frame.assign(tags=tags, price=price, row=range(len(frame)))[["user", "item", "time", "tags", "price", "row"]]


def difference(store: Store, tags: list[list], prices: list[float]) -> str:
    """What of the events is not what a plain reader finds in the rows of the log, of a set the first."""
    most = store.schema.behaviours[1].most
    for e, row in enumerate(store.events["row"].astype(int).tolist()):
        wanted = hashed(list(dict.fromkeys(tags[row])), SIZE, 0)[:most].tolist()
        got = [i for i in store.events["tags"][e].tolist() if i]
        if got != wanted:
            return f"row {row}: tags {got}, a plain reader finds {wanted} of {str(tags[row])[:80]}"
        if not np.array_equal(store.events["price"][e], np.float32(prices[row]), equal_nan=True):
            return f"row {row}: price {store.events['price'][e]}, a plain reader finds {prices[row]}"
    for split in store.splits:
        data = StoreSplit(store, split)
        batch = data.rows(np.arange(len(data.user_N)), 5, 0)
        batch.check(store.schema)
    return ""


def judge(tally, folder, log, attribute, read, what):
    """Prepares a log and counts what comes of it; `read` gives the tags and prices of its rows."""
    before = {path.name for path in folder.iterdir()}
    try:
        store = prepare(log, folder / "store", **HOW, attributes=[attribute])
        wrong = difference(store, *read())
        tally.add("wrong accepted" if wrong else "accepted rightly", f"{what}: {wrong}")
    except CLEAN as error:
        bad = "half-written" if left_behind(folder, *before) else "refused cleanly" if str(error) else "tracebacks"
        tally.add(bad, f"{what}: {error}")
    except Exception as error:
        tally.add("tracebacks", f"{what}: {type(error).__name__}: {error}")


def test_text_logs_with_sets_and_numbers(counted, draw, many, tmp_path):
    with counted("odd tags and prices: text") as tally:
        for case in range(many(120)):
            generator = draw(case)
            frame = rich(draw(f"log {case}"))
            frame["tags"] = frame["tags"].map("|".join)
            column, odd = ("tags", TEXTS) if case % 2 else ("price", NUMBERS)
            value = odd[int(generator.integers(len(odd)))]
            frame = frame.astype({column: object})
            frame.loc[int(generator.integers(len(frame))), column] = value
            data = frame.to_csv(index=False)

            def read(data=data):
                rows = list(csv.DictReader(io.StringIO(data, newline="")))
                tags = [[tag for text in row["tags"].split("|") if (tag := text.strip())] for row in rows]
                return tags, [math.nan if row["price"].strip() in MISSING else float(row["price"]) for row in rows]

            with scratch(tmp_path, f"case {case}") as folder:
                (folder / "log.csv").write_text(data, encoding="utf-8", newline="")
                judge(tally, folder, folder / "log.csv", "tags|", read, f"case {case}: {column} = {value[:20]!r}")


def test_frames_with_sets_and_numbers(counted, draw, many, tmp_path):
    with counted("odd tags and prices: frames") as tally:
        for case in range(many(80)):
            generator, frame = draw(case), rich(draw(f"log {case}"))
            at, value = int(generator.integers(len(frame))), LISTS[int(generator.integers(len(LISTS)))]
            tags = frame["tags"].tolist()
            tags[at] = value
            frame["tags"] = pd.Series(tags)

            def read(tags=tags, frame=frame):
                lists = [[] if row is None else [v for v in row if v is not None and v == v] for row in tags]
                texts = [[v.decode() if isinstance(v, bytes) else v for v in row] for row in lists]
                return texts, frame["price"].tolist()

            with scratch(tmp_path, f"case {case}") as folder:
                judge(tally, folder, frame, "tags", read, f"case {case}: tags = {str(value)[:20]!r}")


def test_times_before_1970_and_far_away(counted, draw, many, tmp_path):
    """Gaps, hours and weekdays of any date; plain numbers that are no seconds since 1970 have no hour."""
    dates = ["1901-12-13", "1969-12-31", "1970-01-01", "2262-01-01", "1677-09-22"]
    with counted("odd times") as tally:
        for case in range(many(len(dates) * 4)):
            frame = rich(draw(f"log {case}"))
            start = pd.Timestamp(dates[case % len(dates)])
            as_numbers = case % 4 == 3
            unit = "h" if case % 2 else "D"
            frame["time"] = frame["time"] - 10**6 if as_numbers else start + pd.to_timedelta(frame["time"], unit=unit)
            with scratch(tmp_path, f"case {case}") as folder:
                try:
                    store = prepare(
                        frame,
                        folder / "store",
                        **HOW | {"time_fields": ["gap", "hour", "weekday"]},
                        attributes=["tags"],
                    )
                    data = StoreSplit(store, "train")
                    batch = data.rows(np.arange(len(data.user_N)), 5, 0)
                    now_N = pd.to_datetime(data.now(np.arange(len(data.user_N))), unit="s")
                    wrong = as_numbers or (batch.candidate["hour"][:, 0] - 2 != now_N.hour).any()
                    wrong = wrong or (batch.candidate["weekday"][:, 0] - 2 != now_N.day_of_week).any()
                    tally.add("wrong accepted" if wrong else "accepted rightly", f"{start} {as_numbers}")
                except CLEAN as error:
                    tally.add("refused cleanly" if as_numbers or "time" in str(error) else "tracebacks", str(error))
