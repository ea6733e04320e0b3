"""Values are named as in the log, or not at all."""

import numpy as np
import pandas as pd
import pytest

from dienjax import prepare
from dienjax.report.naming import LONGEST, Names

HOSTILE = ["</script><script>alert(1)</script>", "🦄" * 5, "x" * 10_000, "עברית", "a\u202eb"]


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    events = pd.DataFrame({"user": [f"{v}!" for v in HOSTILE for _ in range(6)], "item": HOSTILE * 6, "kind": 2.5})
    events["time"] = 1_700_000_000 + 43_200 * np.arange(30)
    return prepare(
        events, tmp_path_factory.mktemp("hostile") / "store", user="user", item="item", time="time",
        attributes=["kind"], protocol="all",
    )  # fmt: skip


def test_raw_values(hostile):
    names = Names(hostile)
    ids = hostile.vocabulary("item").set_index("value")["id"]
    shown = names.values("item", np.array([*(ids[v] for v in HOSTILE), 1, 0]))
    assert shown[0] == HOSTILE[0] and shown[1] == HOSTILE[1] and shown[3:5] == HOSTILE[3:]
    assert shown[2] == "x" * LONGEST + "…"
    assert shown[5:] == ["unknown", ""]
    assert names.values("kind", np.array([2])) == ["2.5"]
    assert names.values("item", np.array([], np.int32)) == []
    assert names.user(np.arange(5)) == [v[:LONGEST] + "…" * (len(v) > LONGEST) for v in hostile.user_values()]
    assert names.time(hostile.time_E[:2]) == ["2023-11-14 22:13", "2023-11-15 10:13"]


def test_anonymous_names_hold_nothing_of_the_log(hostile):
    names = Names(hostile, anonymous=True)
    assert names.values("item", np.array([2, 1, 0])) == ["item 2", "unknown", ""]
    assert names.user(np.array([4])) == ["user 4"]
    assert names.time(hostile.time_E[:2]) == ["0.5 days before", "0.0 days before"]
    assert names.values("price", np.array([2.5])) == ["hidden"]
    assert names.time(np.array([])) == []


def test_numbers_and_times_that_are_no_dates(store):
    assert Names(store).values("price", np.array([2.5, 1e6])) == ["2.5", "1e+06"]
    assert Names(store).time(np.array([1, 5])) == ["1", "5"]
    assert Names(store, anonymous=True).time(np.array([1, 5])) == ["4 before", "0 before"]


def test_a_bucket_is_named_by_its_edges(tmp_path):
    log = pd.DataFrame({"user": [1, 1, 2, 2], "item": [1, 2, 3, 1], "time": [1, 2, 3, 4]})
    store = prepare(
        log, tmp_path / "store", user="user", item="item", time="time", time_fields=["position"], test_fraction=0,
        valid_fraction=0,
    )  # fmt: skip
    shown = Names(store).values("position", np.array([0, 1, 2, 3, 4, 13]))
    assert shown == ["", "missing", "below 1", "1 to 2", "2 to 4", "1024 or more"]
    assert Names(store, anonymous=True).values("position", np.array([3])) == ["position 3"]


def test_times_are_named_in_words(tmp_path):
    log = pd.DataFrame({"user": [1, 1, 2, 2], "item": [1, 2, 3, 1], "time": pd.to_datetime(range(4), unit="D")})
    store = prepare(
        log, tmp_path / "store", user="user", item="item", time="time", time_fields=["gap", "hour", "weekday"],
        test_fraction=0, valid_fraction=0,
    )  # fmt: skip
    names = Names(store)
    assert names.values("weekday", np.array([2, 8])) == ["Monday", "Sunday"]
    assert names.values("hour", np.array([2, 25])) == ["0:00", "23:00"]
    found = names.values("gap", np.array([2, 3, 9, 15, 20, 31]))
    assert found == [
        "below 1 s",
        "1 s to 2 s",
        "1.07 min to 2.13 min",
        "1.14 h to 2.28 h",
        "1.52 days to 3.03 days",
        "8.51 years or more",
    ]
