"""Splits, ids and candidates against the log itself."""

import re
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest

from dienjax.data.split import StoreSplit
from dienjax.data.store import Store
from dienjax.preparation.names import RESERVED
from dienjax.preparation.prepare import prepare
from dienjax.schema import UNKNOWN

SMALL = {"user": "u", "item": "i", "time": "t"}


def small(**columns) -> pd.DataFrame:
    return pd.DataFrame({"u": list("aaabbbccc"), "i": [1, 2, 3] * 3, "t": range(9)} | columns)


def raw(store, name, ids):
    """Values of ids, None where unknown."""
    value = dict(zip(*store.vocabulary(name)[["id", "value"]].to_numpy().T, strict=True))
    return [value.get(int(i)) for i in ids]


@pytest.fixture
def sequences(log):
    """Each user's items in order: time, then position in the log."""
    return {u: g.sort_values("when", kind="stable")["item"].tolist() for u, g in log.groupby("user")}


@pytest.mark.parametrize("which", ["store", "store_all"])
def test_events_are_the_log_by_user_and_time_with_ties_in_log_order(which, sequences, request):
    store = request.getfixturevalue(which)
    for row, user in enumerate(store.user_values()):
        part = slice(store.offsets[row], store.offsets[row + 1])
        assert (np.diff(store.time_E[part]) >= 0).all()
        for got, expected in zip(raw(store, "item", store.events["item"][part]), sequences[user], strict=True):
            assert got in (expected, None)


def test_attributes_of_event_and_user_stay_with_them(store, log):
    kind, item = raw(store, "kind", store.events["kind"]), raw(store, "item", store.events["item"])
    assert all(k == i % 7 for k, i in zip(kind, item, strict=True) if None not in (k, i))
    for row, user in enumerate(store.user_values()):
        liked = log[log["user"] == user].sort_values("when", kind="stable")["liked"].tolist()
        assert store.hist_label_E[store.offsets[row] : store.offsets[row + 1]].tolist() == liked
    age, user = raw(store, "age", store.users["age"]), store.user_values()
    assert all(a in (u % 5, None) for a, u in zip(age, user, strict=True))


def test_last_splits_users(store, sequences):
    eligible = {u for u, items in sequences.items() if len(items) > 1}
    values = store.user_values().to_numpy()
    users = {s: values[store.samples(s).user_N] for s in store.splits}
    parts = [set(users[s]) for s in ("train", "valid", "test")]
    assert sum(map(len, parts)) == len(set.union(*parts))
    assert set.union(*parts) == eligible
    assert len(parts[2]) == round(0.2 * len(eligible))
    assert len(parts[1]) == round(0.05 * (len(eligible) - len(parts[2])))
    for split in ("train", "valid", "test"):
        samples = store.samples(split)
        np.testing.assert_array_equal(samples.end_N, store.offsets[samples.user_N + 1] - 1)
        assert len(set(samples.user_N)) == len(samples)
    assert set(users["train_all"]) == parts[0]
    assert len(users["train_all"]) == sum(len(sequences[u]) - 1 for u in parts[0])
    assert store.info["left_out"] == {"users with one event, which have no history": len(sequences) - len(eligible)}


def test_last_knows_the_values_of_training_users_only(store, sequences):
    train = store.user_values().to_numpy()[store.samples("train").user_N]
    counts = pd.Series([i for u in train for i in sequences[u]]).value_counts()
    vocabulary = store.vocabulary("item").set_index("value")["count"]
    assert vocabulary.to_dict() == counts.to_dict()
    assert (store.events["item"] == 1).any()
    assert store.vocabulary("age")["count"].sum() == len(train)


def test_a_user_who_does_not_train_is_unknown(log, roles, tmp_path):
    store = prepare(log, tmp_path / "s", **roles, user_id=True)
    train = np.isin(np.arange(len(store.user_values())), store.samples("train").user_N)
    assert (store.users["user"][train] >= 2).all()
    assert (store.users["user"][~train] == 1).all()
    assert len(set(store.users["user"][train])) == train.sum()


def test_all_leaves_one_out(store_all, sequences):
    store = store_all
    values = store.user_values().to_numpy()
    expected = {"train": set(), "valid": set(), "test": set()}
    for user, items in sequences.items():
        for i in range(1, len(items)):
            expected[{1: "test", 2: "valid"}.get(len(items) - i, "train")].add((user, i))
    for split, pairs in expected.items():
        samples = store.samples(split)
        index_N = samples.end_N - store.offsets[samples.user_N]
        got = list(zip(values[samples.user_N].tolist(), index_N.tolist(), strict=True))
        assert len(got) == len(pairs)
        assert set(got) == pairs


def test_all_knows_what_stands_before_the_last_two(store_all, sequences):
    seen = pd.Series([i for items in sequences.values() for i in items[:-2]]).value_counts()
    assert store_all.vocabulary("item").set_index("value")["count"].to_dict() == seen.to_dict()
    assert store_all.schema.table("user").size == 2 + sum(len(items) > 3 for items in sequences.values())


@pytest.mark.parametrize("which", ["store", "store_all"])
@pytest.mark.parametrize("split", ["valid", "test"])
def test_evaluation_candidates_are_the_event_and_another_item(which, split, request):
    store = request.getfixturevalue(which)
    samples = store.samples(split)
    candidate = {name: value_C.reshape(-1, 2) for name, value_C in samples.candidates.field.items()}
    item_NK = candidate["item"]
    assert item_NK.shape == (len(samples), 2)
    np.testing.assert_array_equal(samples.candidates.label_C, np.tile([1, 0], len(samples)))
    np.testing.assert_array_equal(samples.candidates.first, 2 * np.arange(len(samples) + 1))
    for name, value_NK in candidate.items():
        np.testing.assert_array_equal(value_NK[:, 0], store.events[name][samples.end_N])
    assert ((item_NK[:, 1] != item_NK[:, 0]) | (item_NK[:, 1] == UNKNOWN)).all()
    pairs = set(zip(store.events["item"].tolist(), store.events["kind"].tolist(), strict=True))
    assert set(map(tuple, np.stack([item_NK[:, 1], candidate["kind"][:, 1]], 1).tolist())) <= pairs


@pytest.mark.parametrize("protocol", ["last", "all"])
def test_negatives_are_as_often_unknown_as_positives(protocol, tmp_path):
    """Else "unknown" would tell the label on a log that holds no information at all."""
    rng = np.random.default_rng(5)
    user = np.repeat(np.arange(4000), 6)
    item = (rng.random(len(user)) ** 2 * 3000).astype(int)
    noise = pd.DataFrame({"u": user, "i": item, "t": np.arange(len(user))})
    store = prepare(noise, tmp_path / "s", **SMALL, protocol=protocol, min_count=6, test_fraction=0.5)
    positive_N, negative_N = (store.samples("test").candidates.field["i"] == UNKNOWN).reshape(-1, 2).T
    assert 0.2 < positive_N.mean() < 0.8
    assert abs(positive_N.mean() - negative_N.mean()) < 0.05
    batch = StoreSplit(store, "train").rows(np.arange(1000), 5, 0)
    for positive, negative in (
        (batch.candidate["i"][:, 0], batch.candidate["i"][:, 1]),
        (batch.history["i"], batch.negative["i"]),
    ):
        assert abs((positive == UNKNOWN).mean() - (negative == UNKNOWN).mean()) < 0.05


def test_the_store_tells_unknown_items_apart(log, roles, tmp_path):
    store = prepare(log, tmp_path / "s", **roles, min_count=10)
    unknown_E = store.events["item"] == UNKNOWN
    rare = log["item"].value_counts().pipe(lambda n: n[n < 5]).index
    assert unknown_E.sum() > 100
    assert len(np.unique(store.raw_item_E[unknown_E])) >= len(rare)
    pairs = np.unique(np.stack([store.raw_item_E, store.events["item"]]), axis=1)
    assert len(pairs.T) == len(np.unique(store.raw_item_E)) == log["item"].nunique()
    train_user = np.zeros(len(store.offsets) - 1, bool)
    train_user[store.samples("train").user_N] = True
    assert store.train_row.tolist() == np.flatnonzero(np.repeat(train_user, np.diff(store.offsets))).tolist()


def test_negatives_come_from_the_whole_log_where_the_rest_is_of_one_item(tmp_path):
    log = pd.DataFrame({"u": list("aabbcc"), "i": [1, 2, 1, 2, 1, 2], "t": range(6)})
    store = prepare(log, tmp_path / "s", **SMALL, test_fraction=0.34, valid_fraction=0)
    assert (store.samples("test").candidates.field["i"].reshape(-1, 2)[:, 1] >= 2).all()
    log["i"] = [1, 1, 1, 1, 1, 2]
    store = prepare(log, tmp_path / "t", **SMALL, test_fraction=0.34, valid_fraction=0, seed=2)
    assert len(store.train_row) in (4, 6)


def test_a_user_meets_different_negatives_in_valid_and_test(store_all):
    valid, test = store_all.samples("valid"), store_all.samples("test")
    both = np.isin(test.user_N, valid.user_N)
    same = valid.candidates.field["item"][1::2] == test.candidates.field["item"][1::2][both]
    # Two draws from this skewed log agree in about a fifth of the cases; one draw used twice nearly always.
    assert same.mean() < 0.6


def test_an_unknown_item_keeps_its_category(tmp_path):
    frame = pd.DataFrame({"u": list("aaaabbbb"), "i": [1, 2, 3, 99, 1, 2, 98, 1], "t": range(8), "c": 7})
    store = prepare(frame, tmp_path / "s", **SMALL, attributes=["c"], protocol="all")
    assert store.vocabulary("i")["value"].tolist() == [1, 2]
    samples = store.samples("test")
    assert samples.candidates.field["i"][::2].tolist() == [1, 2]
    assert samples.candidates.field["c"].tolist() == [2, 2, 2, 2]


def test_a_missing_attribute_is_unknown(tmp_path):
    store = prepare(small(c=["x", None, "y"] * 3), tmp_path / "s", **SMALL, attributes=["c"])
    assert store.events["c"].reshape(3, 3)[:, 1].tolist() == [1, 1, 1]
    assert set(store.vocabulary("c")["value"]) == {"x", "y"}


def test_the_same_seed_gives_the_same_store_whatever_the_order_of_users(log, roles, store, tmp_path):
    shuffled = log.sort_values("user", ascending=False, kind="stable")
    before = shuffled.copy()
    again = prepare(shuffled, tmp_path / "s", **roles, hist_label="liked", test_fraction=0.2)
    pd.testing.assert_frame_equal(shuffled, before)
    assert again.schema == store.schema
    for split in store.splits:
        np.testing.assert_array_equal(again.samples(split).end_N, store.samples(split).end_N)
    np.testing.assert_array_equal(
        again.samples("test").candidates.field["item"], store.samples("test").candidates.field["item"]
    )
    other = prepare(log, tmp_path / "other", **roles, test_fraction=0.2, seed=1)
    assert set(other.samples("test").user_N) != set(store.samples("test").user_N)


@pytest.mark.parametrize("as_text", [False, True])
def test_dates_become_seconds(tmp_path, as_text):
    days = pd.date_range("2014-01-01", periods=9, freq="D")[::-1]
    frame = small(t=days.strftime("%Y-%m-%d") if as_text else days)
    store = prepare(frame, tmp_path / "s", **SMALL)
    assert store.time_E.min() == pd.Timestamp("2014-01-01").timestamp()
    np.testing.assert_array_equal(np.diff(store.time_E[:3]), 86400)


@pytest.mark.parametrize(
    ("columns", "changes", "message"),
    [
        ({}, {"item": "ii"}, "events: column 'ii' is missing; did you mean 'i'"),
        ({"t": [1.0, None] + [2.0] * 7}, {}, "time column 't' holds no value in row 1"),
        ({"t": ["1", "soon"] + ["2"] * 7}, {}, "time column 't' holds 'soon' in row 1"),
        ({"u": [None, *"aabbbccc"]}, {}, "column 'u' has no value in row 0"),
        ({"i": [1.0, None] + [2.0] * 7}, {}, "column 'i' has no value in row 1"),
        ({"i": 1}, {}, r"1 item\(s\) to draw from"),
        ({"u": list("abcdefghi")}, {}, "no training samples under protocol 'last'"),
        ({}, {"protocol": "all", "user": "i"}, "two roles"),
        ({"u": range(9)}, {"protocol": "all"}, "'all' with at least 4"),
        ({}, {"protocol": "first"}, "protocol='first'"),
        ({}, {"test_fraction": 1.0}, "test_fraction=1.0"),
        ({}, {"seed": -1}, "seed=-1"),
        ({"y": range(9)}, {"user_attributes": ["y"]}, "'y' changes within user 'a'"),
        ({"y": [2] * 9}, {"hist_label": "y"}, "'y' is '2' in row 0; expected 0 to 1"),
    ],
)
def test_wrong_input(tmp_path, columns, changes, message):
    with pytest.raises(ValueError, match=message):
        prepare(small(**columns), tmp_path / "s", **(SMALL | changes))
    assert list(tmp_path.iterdir()) == []


def test_an_empty_log_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no rows; expected at least one event"):
        prepare(small().iloc[:0], tmp_path / "s", **SMALL)
    with pytest.raises(TypeError, match="expected a DataFrame"):
        prepare([1, 2], tmp_path / "s", **SMALL)


def test_two_runs_into_one_folder_leave_one_whole_store(tmp_path):
    frames = [small(i=[k, k + 1, k + 2] * 3) for k in (10, 20)]
    start = threading.Barrier(2)

    def attempt(frame):
        start.wait()
        try:
            return prepare(frame, tmp_path / "s", **SMALL)
        except FileExistsError:
            return None

    with ThreadPoolExecutor(2) as pool:
        stores = list(pool.map(attempt, frames))
    (k,) = [k for k, store in zip((10, 20), stores, strict=True) if store is not None]
    assert set(Store.open(tmp_path / "s").vocabulary("i")["value"]) == {k, k + 1, k + 2}
    assert [p.name for p in tmp_path.iterdir()] == ["s"]


FULL_DISK = """
import resource, sys
import numpy as np, pandas as pd
from dienjax.preparation.prepare import prepare
from dienjax.schema import UNKNOWN

frame = pd.DataFrame({"u": np.arange(90_000) // 3, "i": np.arange(90_000) % 9, "t": 1})
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
for engine in ("memory", "duckdb"):
    try:
        prepare(frame, sys.argv[1], user="u", item="i", time="t", engine=engine)
    except OSError as error:
        print(error)
"""


def test_a_full_disk_leaves_nothing(tmp_path):
    done = subprocess.run([sys.executable, "-c", FULL_DISK, tmp_path / "s"], capture_output=True, text=True, check=True)
    assert done.stdout.count("was not written, and nothing is left of it") == 2, done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label": "y"}, "impressions and label go together"),
        ({"impressions": small(), "label": None}, "impressions and label go together"),
        (
            {"impressions": small(), "label": "y", "protocol": "last"},
            "'last' with impressions; expected 'time' or 'user'",
        ),
        ({"protocol": "time"}, "'time' without impressions"),
        ({"context": ["c"]}, "context and dense are columns of the impressions"),
        ({"impressions": small(), "label": "y", "dense": ["label"]}, "rename it"),
        ({"grow": True}, "name it: like=STORE"),
        ({"min_count": 0}, "min_count=0"),
        ({"engine": "sparks"}, "engine='sparks'; did you mean 'spark'"),
        ({"impressions": small(), "label": "y"}, "impressions: column 'y' is missing|known names"),
        (
            {"impressions": small(y=["no"] * 9), "label": "y"},
            "impressions: 'y' is 'no' in row 0; expected a finite number",
        ),
        (
            {"impressions": small(y=1, t=pd.Timestamp("2020-01-01")), "label": "y"},
            "events: numbers, impressions: dates",
        ),
        ({"user_attributes": ["city"]}, "events: column 'city' is missing"),
    ],
)
def test_arguments_that_do_not_fit_together(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        prepare(small(), tmp_path / "s", **(SMALL | changes))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "name", ["hist_length", "hist_label", "probability", "prediction", "interest_states", "hist_i"]
)
@pytest.mark.parametrize("role", ["attributes", "user_attributes", "context", "dense"])
def test_a_name_that_would_fail_after_training_is_refused(name, role, tmp_path):
    """In predict, in an export, or without a word: a column of PaddedArrays or an output has it."""
    shown = {"impressions": small(y=1, **{name: 1}), "label": "y"} if role in ("context", "dense") else {}
    with pytest.raises(ValueError, match=f"column '{name}' cannot be a field, its name is .*: rename the column"):
        prepare(small(**{name: 1}), tmp_path / "s", **SMALL, **shown, **{role: [name]})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["length", "label"])
def test_a_behaviour_whose_history_has_a_reserved_name_is_refused(name, tmp_path):
    for roles in (SMALL | {"attributes": [name]}, SMALL | {"item": name}):
        with pytest.raises(
            ValueError, match=f"column '{name}' cannot be a field, the name 'hist_{name}' of its history"
        ):
            prepare(small(**{name: [1, 2, 3] * 3}), tmp_path / "s", **roles)
    prepare(small(**{name: list("xxxyyyzzz")}), tmp_path / "s", **SMALL, user_attributes=[name])


def test_all_names_that_exports_take_are_reserved():
    from dienjax.export.graphs import MASK, OUTPUT, STATES, USER

    assert {MASK, STATES, USER, *OUTPUT.values()} <= RESERVED


@pytest.mark.parametrize(
    ("roles", "label", "column"),
    [
        ({"attributes": ["r"]}, "r >= 4", "r"),
        ({"context": ["r"]}, "r >= 4 and p > 0", "r"),
        ({"dense": ["p"]}, "r >= 4 and p > 0", "p"),
        ({"dense": ["r"]}, "r", "r"),
        ({"user_attributes": ["p"]}, "p > 0", "p"),
        ({}, "i in [1, 2]", "i"),
        ({"user_id": True}, "u == 'a'", "u"),
    ],
)
def test_a_label_that_a_field_tells_is_refused(roles, label, column, tmp_path):
    frame = small(r=[5, 4, 3] * 3, p=1)
    with pytest.raises(ValueError, match=re.escape(f"label {label!r} reads column {column!r}, which is also a field")):
        prepare(frame, tmp_path / "s", **SMALL, impressions=frame, label=label, **roles)
    assert list(tmp_path.iterdir()) == []
