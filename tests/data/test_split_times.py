"""What a batch of a store has in the fields of time, and that nothing in it comes from the future."""

from bisect import bisect_right

import jax
import numpy as np
import pandas as pd
import pytest

from dienjax.data.loader import Loader
from dienjax.data.split import StoreSplit
from dienjax.data.store import Store
from dienjax.inputs.time_fields import EDGES
from dienjax.preparation.prepare import prepare
from dienjax.schema import FIRST_ID

ROLES = {"user": "user", "item": "item", "time": "time", "attributes": ["kind"]}
TIMES = {"time_fields": tuple(EDGES)}


def make_log(seed=0, users=30):
    """Users of 1 to 12 events, before and after 1970, some in the same second."""
    rng = np.random.default_rng(seed)
    user = np.repeat(np.arange(users), rng.integers(1, 13, users))
    time = (
        rng.integers(-(10**8), 10**9, users)[user] + rng.choice([0, 1, 59, 86_400, 10**7], len(user)).cumsum() % 10**8
    )
    item = rng.integers(0, 20, len(user))
    log = pd.DataFrame({"user": user, "item": item, "kind": item % 3, "time": time})
    return log.sort_values(["user", "time"], kind="stable", ignore_index=True)


@pytest.fixture(scope="module")
def timed(tmp_path_factory):
    return prepare(make_log(), tmp_path_factory.mktemp("timed") / "store", **ROLES, **TIMES, test_fraction=0.2)


def expected(times, now):
    """The ids of a history, event by event."""
    found = {name: [] for name in EDGES}
    for slot, time in enumerate(times):
        after = times[slot + 1] if slot + 1 < len(times) else now
        date = pd.Timestamp(time, unit="s")
        numbers = (now - time, after - time, len(times) - slot, date.hour, date.day_of_week)
        for (name, edges), value in zip(EDGES.items(), numbers, strict=True):
            found[name].append(FIRST_ID + bisect_right(edges, value))
    return found


def check_rows(batch, b, times, now):
    n = len(times)
    for name, ids in expected(times, now).items():
        assert batch.history[name][b].tolist() == ids + [0] * (batch.mask_BT.shape[1] - n), name
    real = batch.mask_BK[b]
    date = pd.Timestamp(now, unit="s")
    for name, place in {"gap": 0, "next_gap": 0, "position": 0, "hour": date.hour, "weekday": date.day_of_week}.items():
        assert batch.candidate[name][b].tolist() == np.where(real, FIRST_ID + place, 0).tolist(), name


@pytest.mark.parametrize("split", ["train", "train_all", "test"])
@pytest.mark.parametrize("max_len", [3, 50])
def test_fields_of_time_are_those_of_the_history_and_the_target(timed, split, max_len):
    dataset = StoreSplit(timed, split, max_len=max_len)
    for planned, batch in Loader(dataset, 8, lengths=(4, 12)).epoch(0):
        batch.check(timed.schema)
        for b, sample in enumerate(planned.index):
            user, end = int(dataset.user_N[sample]), int(dataset.end_N[sample])
            times = timed.time_E[timed.offsets[user] : end].tolist()[-max_len:]
            check_rows(batch, b, times, int(timed.time_E[end]))
        for name in EDGES:
            np.testing.assert_array_equal(batch.negative[name], batch.history[name])


def test_candidates_that_were_shown_have_the_time_of_their_impression(tmp_path):
    events = pd.DataFrame({"u": [1, 1, 1, 2], "i": [5, 6, 7, 5], "t": [10**9, 10**9 + 5, 10**9 + 90, 10**9]})
    shown = pd.DataFrame(
        {"u": [1, 1, 1, 1, 3], "i": [5, 6, 7, 6, 5], "t": 10**9 + np.array([6, 6, 6, 91, 7]), "y": [0, 1, 0, 1, 0]}
    )
    store = prepare(
        events, tmp_path / "s", user="u", item="i", time="t", impressions=shown, label="y", **TIMES,
        test_fraction=0, valid_fraction=0,
    )  # fmt: skip
    dataset = StoreSplit(store, "train")
    batch = dataset.rows(np.arange(len(dataset.sample_N)), 3, 0)
    batch.check(store.schema)
    cases = {(2, 10**9 + 6), (3, 10**9 + 91), (0, 10**9 + 7)}
    found = set()
    for b, sample in enumerate(dataset.sample_N):
        now, n = int(dataset.shown.time_N[sample]), int(batch.mask_BT[b].sum())
        found.add((n, now))
        first = store.offsets[dataset.user_N[b]]
        check_rows(batch, b, store.time_E[first : first + n].tolist(), now)
    assert found == cases


def test_no_later_event_changes_an_earlier_sample(tmp_path):
    """Histories of one log, and of the same log with all that happened after its middle event at other times."""
    log = make_log(1)
    later = log.copy()
    for _, rows in log.groupby("user"):
        half = rows.index[len(rows) // 2 + 1 :]
        later.loc[half, "time"] = rows["time"].iloc[-1] + 10**6 * np.arange(1, len(half) + 1)
    stores = [
        prepare(one, tmp_path / name, **ROLES, **TIMES, protocol="all") for name, one in (("a", log), ("b", later))
    ]
    a, b = (StoreSplit(store, "train") for store in stores)
    np.testing.assert_array_equal(a.end_N, b.end_N)
    middle = stores[0].offsets[:-1] + np.diff(stores[0].offsets) // 2
    early = np.flatnonzero(a.end_N <= middle[a.user_N])
    assert 20 < len(early) < len(a.end_N)
    jax.tree.map(np.testing.assert_array_equal, a.rows(early, 12, 0), b.rows(early, 12, 0))
    late = np.setdiff1d(np.arange(len(a.end_N)), early)
    assert (a.rows(late, 12, 0).history["gap"] != b.rows(late, 12, 0).history["gap"]).any()


def test_a_store_keeps_nothing_but_the_edges(timed, tmp_path):
    plain = prepare(make_log(), tmp_path / "plain", **ROLES, test_fraction=0.2)
    files = {f.relative_to(timed.path): f.read_bytes() for f in timed.path.rglob("*") if f.is_file()}
    others = {f.relative_to(plain.path): f.read_bytes() for f in plain.path.rglob("*") if f.is_file()}
    assert files.keys() == others.keys()
    changed = {str(name) for name in files if files[name] != others[name]}
    assert changed == {"schema.json", "store.json", "manifest.json"}
    again = Store.open(timed.path)
    assert again.schema == timed.schema
    assert set(again.events) == {"item", "kind"}
    with pytest.raises(ValueError, match="keeps no values of the table 'gap'"):
        again.vocabulary("gap")


def test_an_empty_history_and_one_event(timed):
    dataset = StoreSplit(timed, "train_all")
    one = np.flatnonzero(dataset.length_N == 1)[:1]
    batch = dataset.rows(one, 1, 0)
    np.testing.assert_array_equal(batch.history["gap"], batch.history["next_gap"])
    assert batch.history["position"].tolist() == [[FIRST_ID + 1]]


def test_times_with_fractions(tmp_path):
    log = pd.DataFrame({"user": [1, 1, 1, 2, 2, 2], "item": [1, 2, 3] * 2, "time": [0.0, 0.5, 1.75, 0.1, 0.2, 9.0]})
    store = prepare(
        log, tmp_path / "s", user="user", item="item", time="time", time_fields=["gap", "next_gap"], test_fraction=0,
        valid_fraction=0,
    )  # fmt: skip
    batch = StoreSplit(store, "train").rows(np.arange(2), 2, 0)
    assert batch.history["gap"].tolist() == [[FIRST_ID + 1] * 2, [FIRST_ID + 4] * 2]
    assert batch.history["next_gap"].tolist() == [[FIRST_ID, FIRST_ID + 1], [FIRST_ID, FIRST_ID + 4]]


def test_dates_have_hours_also_before_1970(tmp_path):
    date = pd.to_datetime(["1969-12-31T23:30:00"] * 4)
    log = pd.DataFrame({"user": [1, 1, 2, 2], "item": [1, 2, 3, 1], "time": date})
    store = prepare(log, tmp_path / "s", user="user", item="item", time="time", time_fields=["hour", "weekday"],
                    test_fraction=0, valid_fraction=0)  # fmt: skip
    batch = StoreSplit(store, "train").rows(np.arange(1), 1, 0)
    assert batch.history["hour"].tolist() == [[FIRST_ID + 23]]
    assert batch.candidate["weekday"].tolist() == [[FIRST_ID + 2] * 2]


def test_mistakes_are_named(tmp_path):
    log = make_log()
    with pytest.raises(ValueError, match="'hours' does not exist; did you mean 'hour'"):
        prepare(log, tmp_path / "s", **ROLES, time_fields=["hours"])
    with pytest.raises(ValueError, match="'gap' is given two roles"):
        prepare(log.rename(columns={"kind": "gap"}), tmp_path / "s", **ROLES | {"attributes": ["gap"]}, **TIMES)
    with pytest.raises(ValueError, match="'now' cannot be a field beside time fields"):
        prepare(log.rename(columns={"kind": "now"}), tmp_path / "s", **ROLES | {"attributes": ["now"]}, **TIMES)
    with pytest.raises(ValueError, match="expected dates, or seconds since 1970"):
        prepare(log.assign(time=range(len(log))), tmp_path / "s", **ROLES, time_fields=["hour"])
    assert not (tmp_path / "s").exists()


def test_a_later_log_keeps_the_fields(timed, tmp_path):
    like = prepare(make_log(2), tmp_path / "more", **ROLES, **TIMES, like=timed)
    assert like.schema == timed.schema
    with pytest.raises(ValueError, match="the fields differ"):
        prepare(make_log(2), tmp_path / "fewer", **ROLES, time_fields=["gap"], like=timed)
