"""A plain reader of logs: csv, Python's numbers and dates, no Arrow; and whether a store holds the same."""

import csv
import io
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def moment(text: str) -> Fraction:
    """A time as an exact number: whole, decimal, or an ISO 8601 date in seconds since 1970, nanoseconds kept."""
    try:
        return Fraction(text) if "/" not in text and "_" not in text else _date(text)
    except ValueError:
        return _date(text)


def _date(text: str) -> Fraction:
    seconds, _, rest = text.partition(".")
    digits = rest[: next((i for i, c in enumerate(rest) if not c.isdigit()), len(rest))]
    at = datetime.fromisoformat(seconds + rest[len(digits) :])
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    whole = Fraction(round((at - EPOCH).total_seconds()))
    return whole + (Fraction(int(digits), 10 ** len(digits)) if digits else 0)


def rows(data: bytes, delimiter: str | None = None) -> list[dict[str, str]]:
    """The rows of a text file with a header; raises ValueError where it is not well-formed."""
    text = data.decode("utf-8", "surrogateescape").removeprefix("\ufeff")
    wanted = ("user", "item", "time", "category", "city")
    head = io.StringIO(text, newline="").readline()
    if delimiter is None:
        delimiter = max(",\t;|", key=lambda d: len({*wanted} & {n.strip(' "\r\n') for n in head.split(d)}))
    quoting = csv.QUOTE_NONE if delimiter == "\t" else csv.QUOTE_MINIMAL
    csv.field_size_limit(1 << 30)
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, quoting=quoting, strict=True)
        names, *lines = [line for line in reader if line]
    except csv.Error as error:
        raise ValueError(f"csv: {error}") from error
    if any(len(line) != len(names) for line in lines):
        raise ValueError("csv: lines of different lengths")
    return [dict(zip(names, line, strict=True)) for line in lines]


def difference(store: Any, data: bytes, delimiter: str | None = None, expression: str | None = None) -> str:
    """What of a store is not what a plain reader finds in the bytes of its log; "" where all is."""
    try:
        found = rows(data, delimiter)
        events = [
            {name: _value(row[name], name) for name in ("user", "item", "category", "city")}
            | {"time": moment(row["time"]), "liked": float(row["rating"]) >= 3 if expression else None}
            for row in found
        ]
    except (ValueError, KeyError, OverflowError, UnicodeError) as error:
        return f"a plain reader refuses the log: {error!r}"
    return _compared(store, events)


def differing_frame(store: Any, frame: pd.DataFrame) -> str:
    """The same of a DataFrame."""
    events = []
    for row in frame.itertuples(index=False):
        values = {n: None if pd.isna(v := getattr(row, n)) else v for n in ("user", "item", "category", "city")}
        if values["user"] is None or values["item"] is None:
            return "an event without a user or an item"
        events.append(values | {"time": _exact(row.time), "liked": None})
    return _compared(store, events)


def _exact(time: Any) -> Fraction:
    if isinstance(time, pd.Timestamp | datetime | np.datetime64):
        return Fraction(pd.Timestamp(time).value, 10**9)
    return moment(str(time))


def _value(text: str, name: str) -> str | None:
    text.encode()  # a byte that is no UTF-8 raises here
    if not text and name in ("user", "item"):
        raise ValueError(f"no {name}")
    return text or None


def _compared(store: Any, events: list[dict]) -> str:
    got = _events(store)
    if len(got) != len(events):
        return f"{len(got)} events, a plain reader finds {len(events)}"
    users = sorted({str(event["user"]) for event in events})
    if sorted({event["user"] for event in got}) != users:
        return "other users"
    for user in users:
        mine = [event for event in got if event["user"] == user]
        theirs = sorted((e for e in events if str(e["user"]) == user), key=lambda e: e["time"])
        for a, b in zip(mine, theirs, strict=True):
            for name in ("item", "category"):
                if not _same(a[name], b[name], store, name):
                    return f"user {user}: {name} is {a[name]!r}, a plain reader finds {b[name]!r}"
            if abs(a["time"] - float(b["time"])) > 1e-6 * max(1, abs(float(b["time"]))):
                return f"user {user}: time is {a['time']}, a plain reader finds {float(b['time'])}"
            if b["liked"] is not None and a["liked"] != b["liked"]:
                return f"user {user}: hist_label is {a['liked']}, a plain reader finds {b['liked']}"
    return ""


def _same(got: str | None, want: Any, store: Any, table: str) -> bool:
    """A known value is the log's own; an unknown one is missing there, or stands in no row that trains."""
    known = set(map(_plain, store.vocabulary(table)["value"]))
    return (got is None and (want is None or _plain(want) not in known)) or (got is not None and got == _plain(want))


def _plain(value: Any) -> str:
    """A value as text; whole floats and whole numbers are one, True and 1 are not."""
    if isinstance(value, float | np.floating) and value == int(value) if _finite(value) else False:
        return str(int(value))
    return str(value)


def _finite(value: Any) -> bool:
    return isinstance(value, float | np.floating) and bool(np.isfinite(value))


def _events(store: Any) -> list[dict]:
    users = [_plain(value) for value in store.user_values()]
    user_E = np.repeat(np.arange(len(users)), np.diff(store.offsets))
    columns = {name: values(store, name, store.events[name]) for name in ("item", "category")}
    liked = store.hist_label_E if store.hist_label_E is not None else np.full(len(user_E), np.nan)
    return [
        {"user": users[user], "item": item, "category": category, "time": float(time), "liked": float(like)}
        for user, item, category, time, like in zip(
            user_E, columns["item"], columns["category"], store.time_E, liked, strict=True
        )
    ]


def values(store: Any, table: str, ids: np.ndarray) -> list[str | None]:
    """The log's values of ids; None where one is unknown."""
    known = dict(zip(*(store.vocabulary(table)[column] for column in ("id", "value")), strict=True))
    return [_plain(known[i]) if i in known else None for i in ids]
