"""Random logs through every engine and form of input, against histories by definition."""

import filecmp
import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from dienjax.data import negatives
from dienjax.data.store import Store
from dienjax.preparation import on_disk, samples, slices
from dienjax.preparation.kernel import build_store
from dienjax.preparation.prepare import prepare
from dienjax.preparation.settings import Fields, Settings
from dienjax.preparation.splits import Fractions
from dienjax.preparation.tables import Sorted
from reference import histories

ROLES = {"user": "user", "item": "item", "time": "time", "attributes": ["kind"]}
ENGINES = ["memory", "duckdb"]


def random_logs(seed):
    """Events and impressions with many ties in time, users of one event, users without any, and repeated events."""
    rng = np.random.default_rng(seed)
    users, E, C = int(rng.integers(2, 9)), int(rng.integers(4, 60)), int(rng.integers(9, 40))
    as_text = seed % 2

    def log(rows):
        item = rng.integers(0, 12, rows)
        frame = pd.DataFrame({"user": rng.integers(0, users, rows), "item": item, "kind": item % 4})
        frame["time"] = rng.integers(0, 9, rows) / (1 if seed % 3 else 4)
        return frame.astype({"user": str}).replace({"user": {"0": "ö ü", "1": "b,c"}}) if as_text else frame

    events, impressions = log(E), log(C)
    # Enough for any protocol: one user with six events of different items.
    sure = pd.DataFrame({"user": "sure" if as_text else 99, "item": range(6), "kind": 1, "time": range(6)})
    events = pd.concat([events, sure, sure.assign(user="also" if as_text else 98)], ignore_index=True)
    impressions["user"] = [*events["user"].unique()[:2], *impressions["user"][2:]]
    impressions["click"] = rng.integers(0, 2, C)
    impressions["place"] = rng.integers(0, 3, C)
    impressions["price"] = rng.normal(size=C).astype(np.float32)
    return with_kinds(events, rng), with_kinds(impressions, rng)


def with_kinds(frame, rng):
    """The log with sets and numbers: of an item, some of them missing, empty or doubled; of a user; of an event."""
    item, user = frame["item"].to_numpy(), number_of(frame["user"])
    tags = [[None, []][i % 2] if i < 2 else [*range(i // 2), i // 3, None][i % 3 :] for i in item.tolist()]
    return frame.assign(
        tags=pd.Series(tags, dtype=object),
        cost=np.where(item % 5 == 0, np.nan, 1.5 * item),
        dwell=rng.exponential(size=len(frame)).round(1),
        hobbies=pd.Series([[f"h{u % 4}", "h1", "all"][: u % 5] for u in user.tolist()], dtype=object),
        height=np.where(user % 3 == 0, np.nan, user * 10.0),
    )


def number_of(user):
    """A number that a user always has."""
    return user.astype(str).map(lambda name: sum(map(ord, name))).to_numpy()


KINDS = {
    "attributes": ["kind", "tags|"], "numbers": ["cost:log", "dwell:3"], "user_attributes": ["hobbies|"],
    "user_numbers": ["height"], "hash": {"kind": 40}, "pool": {"tags": "sum"}, "set_quantile": 0.8,
}  # fmt: skip
"""Roles of all kinds of fields."""


def given(frame, form, file):
    if form == "frame":
        return frame
    if form == "arrow":
        return pa.Table.from_pandas(frame, preserve_index=False)
    if form == "csv":
        lists = [name for name in ("tags", "hobbies") if name in frame]
        frame = frame.assign(**{name: frame[name].map(as_text) for name in lists})
    half = len(frame) // 2
    for number, part in enumerate((frame[:half], frame[half:])):
        if form == "csv":
            part.to_csv(f"{file}{number}.csv.gz", index=False)
        else:
            part.to_parquet(f"{file}{number}.parquet", index=False)
    return f"{file}?.{'csv.gz' if form == 'csv' else form}"


def as_text(values):
    return "" if values is None else " |".join("" if value is None else str(value) for value in values)


def raw(store, table, ids):
    value = dict(zip(*store.vocabulary(table)[["id", "value"]].to_numpy().T, strict=True))
    return [value.get(int(i)) for i in ids]


def agree(got, expected):
    """Whether values are equal where they are known: what training did not see has no value."""
    return len(got) == len(expected) and all(g is None or g == e for g, e in zip(got, expected, strict=True))


def history(store, samples, n):
    return store.events["item"][store.offsets[samples.user_N[n]] : samples.end_N[n]]


def check_targets(store, events, protocol):
    expected = {(user, len(items)): (items, target) for user, items, target in histories.targets(events, protocol)}
    value = store.user_values()
    seen = []
    for split in ("train", "valid", "test"):
        samples = store.samples(split)
        for n in range(len(samples)):
            user = value[samples.user_N[n]]
            items, target = expected[user, len(history(store, samples, n))]
            assert agree(raw(store, "item", history(store, samples, n)), items)
            assert agree(raw(store, "item", [store.events["item"][samples.end_N[n]]]), [target])
            seen.append((user, len(items)))
    assert sorted(seen) == sorted(expected)


def check_sessions(store, events, impressions):
    expected = {(user, time): rest for user, time, *rest in histories.sessions(events, impressions)}
    value = store.user_values()
    seen = []
    for split in ("train", "valid", "test"):
        samples = store.samples(split)
        shown = samples.candidates
        for n in range(len(samples)):
            key = value[samples.user_N[n]], shown.time_N[n]
            items, candidates = expected[key]
            assert agree(raw(store, "item", history(store, samples, n)), items)
            assert (store.time_E[store.offsets[samples.user_N[n]] : samples.end_N[n]] < shown.time_N[n]).all()
            part = slice(shown.first[n], shown.first[n + 1])
            assert agree(raw(store, "item", shown.field["item"][part]), [i for i, _ in candidates])
            assert shown.label_C[part].tolist() == [y for _, y in candidates]
            seen.append(key)
    assert sorted(seen) == sorted(expected)


def rows(frame, *columns):
    return list(frame[list(columns)].itertuples(index=False, name=None))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("form", ["frame", "arrow", "csv", "parquet"])
def test_histories_are_those_of_the_reference(engine, form, tmp_path):
    for seed, protocol in enumerate(("last", "all", "time", "user"), start=len(form)):
        events, impressions = random_logs(seed)
        roles = ROLES | {"protocol": protocol, "engine": engine, "force": True, "test_fraction": 0.3}
        sources = given(events, form, tmp_path / "events")
        if protocol in ("time", "user"):
            roles |= {"label": "click", "context": ["place"], "dense": ["price"], "like": None}
            store = prepare(sources, tmp_path / "s", impressions=given(impressions, form, tmp_path / "shown"), **roles)
            check_sessions(
                store, rows(events, "user", "time", "item"), rows(impressions, "user", "time", "item", "click")
            )
        else:
            store = prepare(sources, tmp_path / "s", **roles)
            check_targets(store, rows(events, "user", "time", "item"), protocol)


def files(folder):
    return sorted(str(p.relative_to(folder)) for p in Path(folder).rglob("*") if p.is_file())


@pytest.mark.parametrize("form", ["frame", "csv", "parquet"])
@pytest.mark.parametrize("protocol", ["all", "time"])
def test_engines_give_the_same_bytes(form, protocol, tmp_path):
    events, impressions = random_logs(5)
    events.loc[3, "kind"] = None
    roles = ROLES | KINDS | {"protocol": protocol, "hist_label": "item >= 4", "user_id": True}
    if protocol == "time":
        roles |= {"label": "click", "context": ["place"], "dense": ["price:4"]}
        roles["impressions"] = given(impressions, form, tmp_path / "shown")
    for engine in ENGINES:
        prepare(given(events, form, tmp_path / "events"), tmp_path / engine, **roles, engine=engine)
    names = files(tmp_path / "memory")
    assert names == files(tmp_path / "duckdb")
    assert len(names) > 15
    assert filecmp.cmpfiles(tmp_path / "memory", tmp_path / "duckdb", names, shallow=False)[1:] == ([], [])
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("protocol", ["last", "all", "time", "user"])
def test_slices_of_any_size_give_the_same_bytes(engine, protocol, tmp_path, monkeypatch):
    """One user at a time, a few, or all; with events left out, users of one event, and users of impressions alone."""
    for seed in range(2, 5):
        events, impressions = random_logs(seed)
        roles = ROLES | {"protocol": protocol, "hist_label": "item >= 4", "drop_duplicates": seed == 3, "force": True}
        roles |= KINDS if seed % 2 == 0 else {}
        if protocol in ("time", "user"):
            roles |= {"impressions": impressions, "label": "click", "context": ["place"], "dense": ["price:log"]}
        digests = {prepare(events, tmp_path / "s", **roles, test_fraction=0.4).digest}
        for rows, kept in ((1, 1), (17, 2)):
            with monkeypatch.context() as patch:
                patch.setattr(slices, "ROWS", rows)
                patch.setattr(slices, "KEPT", kept)
                patch.setattr(on_disk, "BLOCK", 3)
                patch.setattr(samples, "BLOCK", 2)
                digests.add(prepare(events, tmp_path / "s", **roles, test_fraction=0.4, engine=engine).digest)
        assert len(digests) == 1


@pytest.mark.parametrize("protocol", ["last", "all"])
def test_memory_does_not_grow_with_the_log(protocol, tmp_path, monkeypatch):
    monkeypatch.setattr(slices, "ROWS", 1 << 13)
    for module in (on_disk, samples, negatives):
        monkeypatch.setattr(module, "BLOCK", 1 << 13)
    U, peaks = 256, []
    for E in (1 << 16, 1 << 20):
        rng = np.random.default_rng(0)
        columns = [np.arange(E), np.arange(E, dtype=np.int32) // (E // U), rng.integers(0, 99, E).astype(np.int32)]
        (tmp_path / f"{E}").mkdir()
        time, user, item = on_disk.write_columns([tmp_path / f"{E}/{c}" for c in range(3)], [columns])
        del columns
        values = {"user": pa.array(range(U)), "item": pa.array(range(99))}
        settings = Settings(protocol, Fractions(0.2, 0.2, 0), drop_duplicates=True)
        tracemalloc.start()
        log = Sorted(time, {"user": user, "item": item}, {})
        store = build_store(
            values,
            log,
            None,
            Fields("user", "item", "time"),
            settings,
            tmp_path / f"s{E}",
            tmp_path / f"{E}",
            columns={},
        )
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert len(store.time_E) == E
    assert peaks[1] < 1.3 * peaks[0], peaks


def test_impressions_become_candidates_with_their_context(tmp_path):
    events = pd.DataFrame({"user": [1, 1, 1, 2], "item": [10, 11, 12, 10], "time": [1, 2, 3, 1], "kind": [0, 1, 0, 0]})
    shown = pd.DataFrame(
        {
            "user": [1, 2, 1, 3, 1],
            "item": [12, 10, 13, 11, 10],
            "kind": [0, 0, 1, 1, 0],
            "time": [3, 9, 3, 4, 1],
            "rating": [5, 2, 1, 4, 3],
            "place": ["top", "top", "end", "top", "end"],
            "price": [1.5, 2.5, 3.5, 4.5, 5.5],
        }
    )
    store = prepare(
        events, tmp_path / "s", **ROLES, impressions=shown, label="rating >= 4", context=["place"], dense=["price"],
        test_fraction=0.25, valid_fraction=0,
    )  # fmt: skip
    assert [(f.name, f.of) for f in (*store.schema.sparse, *store.schema.dense)] == [
        ("place", "candidate"),
        ("price", "candidate"),
    ]
    train, test = store.samples("train"), store.samples("test")
    assert (train.user_N.tolist(), train.candidates.time_N.tolist()) == ([0, 0, 2], [1, 3, 4])
    assert train.candidates.first.tolist() == [0, 1, 3, 4]
    assert train.candidates.label_C.tolist() == [0, 1, 0, 1]
    assert raw(store, "place", train.candidates.field["place"]) == ["end", "top", "end", "top"]
    assert train.candidates.field["price"].tolist() == [5.5, 1.5, 3.5, 4.5]
    assert [raw(store, "item", history(store, train, n)) for n in range(3)] == [[], [10, 11], []]
    assert (test.user_N.tolist(), test.candidates.time_N.tolist()) == ([1], [9])
    assert len(store.samples("valid")) == 0
    # 13 stands in a training impression, and is known though no event has it.
    assert 13 in set(store.vocabulary("item")["value"])


def test_a_user_of_ten_thousand_events(tmp_path):
    frame = pd.DataFrame({"user": [1] * 10_000 + [2, 2], "item": np.arange(10_002) % 97, "time": np.arange(10_002)})
    store = prepare(frame, tmp_path / "s", user="user", item="item", time="time", test_fraction=0.5, valid_fraction=0)
    assert np.diff(store.offsets).tolist() == [10_000, 2]


def test_rare_and_repeated_events(tmp_path):
    frame = pd.DataFrame({"user": [1, 1, 1, 2, 2, 2], "item": [5, 5, 6, 5, 7, 6], "time": [1, 1, 1, 1, 2, 3]})
    roles = {"user": "user", "item": "item", "time": "time", "test_fraction": 0.0, "valid_fraction": 0.0}
    store = prepare(frame, tmp_path / "s", **roles, min_count=2)
    assert store.vocabulary("item")["value"].tolist() == [5, 6]
    assert raw(store, "item", store.events["item"]) == [5, 5, 6, 5, None, 6]
    assert list(store.info["noticed"].values()) == [1]
    store = prepare(frame, tmp_path / "t", **roles, drop_duplicates=True)
    assert raw(store, "item", store.events["item"]) == [5, 6, 5, 7, 6]
    assert store.info["left_out"]["events of the same user, time and item as an earlier row"] == 1


def test_new_days_keep_the_ids(tmp_path):
    events, _ = random_logs(1)
    later = events.assign(item=events["item"] + 6, kind=(events["item"] + 6) % 4)
    roles = ROLES | {"protocol": "all"}
    first = prepare(events, tmp_path / "first", **roles)
    like = prepare(later, tmp_path / "like", **roles, like=tmp_path / "first")
    assert like.schema.hash == first.schema.hash
    known = set(first.vocabulary("item")["value"])
    assert [v for v in raw(like, "item", like.events["item"]) if v not in known] == [None] * (
        like.events["item"] == 1
    ).sum()
    grown = prepare(later, tmp_path / "grown", **roles, like=first, grow=True)
    before, after = first.vocabulary("item"), grown.vocabulary("item")
    assert after["value"][: len(before)].tolist() == before["value"].tolist()
    assert len(after) > len(before)
    assert set(after["value"]) >= set(raw(grown, "item", grown.events["item"])) - {None}
    # A day of one event per user, all test: nothing needs to train.
    day = prepare(later, tmp_path / "day", **ROLES, like=first, test_fraction=1.0)
    assert len(day.samples("train")) == 0
    with pytest.raises(ValueError, match=r"(?s)fields differ.*\+ behaviour 1 kind"):
        prepare(later, tmp_path / "x", user="user", item="item", time="time", protocol="all", like=first)
    with pytest.raises(ValueError, match="holds values such as 'a"):
        prepare(later.assign(item="a" + later["item"].astype(str)), tmp_path / "x", **roles, like=first)


def test_items_with_two_kinds_and_without_one_are_counted(tmp_path):
    frame = pd.DataFrame({"user": [1, 1, 1, 2, 2, 2], "item": [5, 6, 5, 5, 6, 7], "time": range(6)})
    frame["kind"] = ["a", "b", "c", "a", None, None]
    noticed = prepare(frame, tmp_path / "s", **ROLES, test_fraction=0, valid_fraction=0).info["noticed"]
    assert noticed["events without kind, which are unknown"] == 2
    assert noticed["items with more than one kind; each event keeps its own"] == 1


def test_users_of_impressions_have_their_profile(tmp_path):
    events = pd.DataFrame({"user": [1, 1, 2, 2], "item": [1, 2, 1, 3], "time": [1, 2, 1, 2], "age": [1, 1, 2, 2]})
    shown = pd.DataFrame({"user": [1, 3], "item": [3, 1], "time": [5, 5], "click": [1, 0], "city": ["x", "y"]})
    store = prepare(
        events, tmp_path / "s", user="user", item="item", time="time", user_attributes=["age", "city"],
        impressions=shown, label="click", test_fraction=0.0, valid_fraction=0.0,
    )  # fmt: skip
    assert raw(store, "city", store.users["city"]) == ["x", None, "y"]
    assert raw(store, "age", store.users["age"]) == [1, 2, None]
    assert isinstance(store, Store)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_column_without_any_value(engine, tmp_path):
    events = pd.DataFrame({"user": [1, 1, 2, 2], "item": [1, 2, 1, 3], "time": [1, 2, 1, 2], "kind": [5, 6, 5, 7]})
    shown = pd.DataFrame({"user": [1, 2], "item": [3, 1], "time": 5, "kind": pd.array([None, None], "Int64")})
    store = prepare(
        events, tmp_path / "s", **ROLES, impressions=shown.assign(y=1, place=None), label="y", context=["place"],
        test_fraction=0, valid_fraction=0, engine=engine,
    )  # fmt: skip
    field = store.samples("train").candidates.field
    assert (field["kind"].tolist(), field["place"].tolist()) == ([1, 1], [1, 1])
    assert len(store.vocabulary("place")) == 0


def test_a_day_of_which_nothing_is_known_is_noticed(tmp_path):
    frame = pd.DataFrame(
        {"user": list("aaabbb"), "item": [1, 2, 3] * 2, "time": range(6), "new": [True, False, True] * 2, "at": 7}
    )
    roles = {
        "user": "user",
        "item": "item",
        "time": "time",
        "attributes": ["new", "at"],
        "test_fraction": 0.0,
        "valid_fraction": 0.0,
    }
    first = prepare(frame, tmp_path / "first", **roles)
    day = frame.assign(at=8, new=frame["new"].astype(int))
    like = prepare(day, tmp_path / "like", **roles, like=first)
    np.testing.assert_array_equal(like.events["new"], first.events["new"])
    noticed = {reason: n for reason, n in like.info["noticed"].items() if n and "more than one" not in reason}
    assert noticed == {
        "values of at (every one) are unknown to the earlier store": 1,
        "values of new written unlike the earlier store's, such as 4 for 4.0, taken as the same": 2,
    }
