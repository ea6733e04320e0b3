"""What a store is said to hold, against loops over its samples."""

import json
import shutil
from dataclasses import asdict, replace

import numpy as np
import pandas as pd
import pytest

from dienjax.cli import main
from dienjax.data.store import Store
from dienjax.inspection import facts, integrity
from dienjax.inspection.facts import UnknownBefore
from dienjax.inspection.inspect import alarms, bars, bin_names, inspect, inspect_store, shown_time, summary, text
from dienjax.preparation.prepare import prepare
from dienjax.storage.manifest import manifest_of

EVENTS = {"user": "user", "item": "item", "time": "when", "attributes": ["kind"]}


@pytest.fixture(scope="module")
def shown() -> pd.DataFrame:
    """Impressions of 90 users with events and 10 without, 1 to 4 candidates each."""
    rng = np.random.default_rng(4)
    user = np.repeat(rng.integers(110, 210, 150), rng.integers(1, 5, 150))
    frame = pd.DataFrame({"user": user, "item": rng.integers(1, 60, len(user)), "when": rng.integers(0, 7, len(user))})
    frame["kind"], frame["age"], frame["page"] = frame["item"] % 7, frame["user"] % 5, rng.integers(0, 9, len(user))
    frame["price"], frame["click"] = rng.random(len(user)), rng.integers(0, 2, len(user))
    return frame


@pytest.fixture(scope="module")
def store_shown(log, shown, tmp_path_factory):
    """Protocol time."""
    return prepare(
        log, tmp_path_factory.mktemp("time") / "store", **EVENTS, user_attributes=["age"], impressions=shown,
        label="click", context=["page"], dense=["price"], test_fraction=0.2, valid_fraction=0.2,
    )  # fmt: skip


@pytest.fixture
def copy(store, tmp_path):
    shutil.copytree(store.path, tmp_path / "copy")
    return tmp_path / "copy"


def change(store, file, row, value):
    """As if prepare had written it so: the manifest fits."""
    column = np.load(store / file)
    column[row] = value
    np.save(store / file, column)
    with manifest_of(store):
        pass


@pytest.mark.parametrize("which", ["store", "store_all", "store_shown"])
@pytest.mark.parametrize("block", [7, 1 << 20])
def test_every_number_of_a_split_is_that_of_a_loop(which, block, request, monkeypatch):
    monkeypatch.setattr(facts, "BLOCK", block)
    monkeypatch.setattr(integrity, "BLOCK", block)
    store = request.getfixturevalue(which)
    found = inspect(store)
    assert list(found.splits) == store.splits
    for name, got in found.splits.items():
        samples = store.samples(name)
        shown = samples.candidates
        lengths, times, leaks, ties, without = [], [], 0, 0, set()
        unknown = {field: [] for field in store.events}
        for n in range(len(samples)):
            user, end = samples.user_N[n], samples.end_N[n]
            history = range(store.offsets[user], end)
            time = shown.time_N[n] if shown else store.time_E[end]
            lengths.append(len(history))
            times.append(time)
            leaks += any(store.time_E[e] > time for e in history)
            ties += any(store.time_E[e] == time for e in history)
            if not history:
                without.add(user)
            for field in unknown:
                unknown[field] += [store.events[field][e] == 1 for e in history]
        assert (got.samples, got.users) == (len(samples), len(set(samples.user_N)))
        assert (got.leaks, got.ties) == (leaks, ties)
        assert (got.empty, got.users_without_history) == (lengths.count(0), len(without))
        assert (got.first, got.last) == (min(times), max(times))
        for percent, length in got.history.items():
            assert length == np.percentile(lengths, int(percent), method="inverted_cdf")
        for i, count in enumerate(got.history_bins):
            assert count == sum(len(bin(length)) - 2 == i if length else i == 0 for length in lengths)
        assert sum(got.history_bins) == len(samples)
        assert got.unknown["history"] == {field: pytest.approx(np.mean(mask)) for field, mask in unknown.items()}
        candidate = {f: c[samples.end_N] for f, c in store.events.items()} if shown is None else shown.field
        assert got.unknown["candidate"] == {
            field: pytest.approx(np.mean(candidate[field] == 1)) for field in candidate if field != "price"
        }
        assert got.unknown["user"] == {
            f: pytest.approx(np.mean(c[samples.user_N] == 1)) for f, c in store.users.items()
        }
        if shown is None:
            assert got.candidates is got.k_max is got.label_mean is None
        else:
            assert (got.candidates, got.k_max) == (len(shown.label_C), np.diff(shown.first).max())
            assert got.label_mean == pytest.approx(shown.label_C.mean())


def test_the_whole_log(store, store_shown, log):
    found = inspect(store)
    assert (found.users, found.events, found.impressions) == (200, len(log), None)
    assert (found.first, found.last, found.time_unit) == (0, 5, "numbers")
    assert sum(found.activity) == len(log)
    assert [n for n in found.activity if n] == log["when"].value_counts().sort_index().tolist()
    assert found.hist_label_mean == pytest.approx(log["liked"].mean())
    size = store.schema.table("item").size
    assert asdict(found.tables["item"]) == {"rows": size, "known": size - 2, "fields": ["item"]}
    assert found.left_out == store.info["left_out"] and found.noticed == store.info["noticed"]
    assert inspect(store_shown).hist_label_mean is None


def test_impressions(store_shown, shown, log):
    found = inspect(store_shown)
    assert found.impressions == len(shown)
    assert found.users_without_events == len(set(shown["user"]) - set(log["user"])) > 0
    assert sum(split.empty for split in found.splits.values()) > 0
    assert not alarms(found)
    assert f"{len(shown):,} impressions" in text(found)
    assert "users have impressions but no event" in text(found)
    assert "candidate page" in text(found) and "user age" in text(found)


def test_ties_are_an_alarm_only_where_the_history_is_strictly_before(store, store_shown, tmp_path):
    found = inspect(store)
    assert sum(split.ties for split in found.splits.values()) and not alarms(found)
    assert "not an error: of equal times" in " ".join(text(found).split())
    shutil.copytree(store_shown.path, tmp_path / "copy")
    samples = store_shown.samples("test")
    n = int(np.argmax(samples.end_N > store_shown.offsets[samples.user_N]))
    change(tmp_path / "copy", "splits/test/time.npy", n, store_shown.time_E[samples.end_N[n] - 1])
    (alarm,) = alarms(inspect_store(tmp_path / "copy"))
    assert f"1 of {len(samples)} histories hold an event at the time" in alarm


def test_a_leak_is_an_alarm(copy, store, capsys):
    time_N = store.samples("test").candidates.time_N
    change(copy, "splits/test/time.npy", slice(0, 2), -1)
    found = inspect_store(copy)
    assert found.splits["test"].leaks == 2 and found.splits["valid"].leaks == 0
    assert summary(Store.open(copy)).startswith("ALARM: split test: 2 of")
    assert text(found).count("ALARM") == 2 and "no leak" not in text(found)
    with pytest.raises(SystemExit) as stopped:
        main(["inspect", str(copy)])
    assert stopped.value.code == 1 and f"2 of {len(time_N)} histories" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("file", "row", "value", "message"),
    [
        ("time.npy", 0, 10**6, "time.npy: row 1 of user 0 is . after 1000000 .* ascend within a user"),
        ("events/item.npy", 3, 10**6, "events/item.npy: row 3 holds id 1000000; expected 1 to .*'item'"),
        ("events/kind.npy", 4, 0, "row 4 holds id 0"),
        ("users/age.npy", 5, -1, "users/age.npy: row 5 holds id -1"),
        ("splits/test/candidate/item.npy", 6, 10**6, "splits/test/candidate/item.npy: row 6"),
        ("splits/test/end.npy", 2, 10**6, "end.npy: sample 2 of user .* row 1000000, one of 1 such samples; expected"),
        ("splits/train/end.npy", 0, -1, "splits/train/end.npy: sample 0"),
        ("splits/train/user.npy", 1, 10**6, "sample 1 is of user 1000000; expected 0 to 199"),
        ("splits/test/first.npy", 1, 4, "first.npy: does not ascend"),
        ("splits/test/label.npy", 1, np.nan, "label.npy: row 1 is nan; expected finite"),
        ("offsets.npy", 1, 10**6, "offsets.npy: starts at 0, its smallest step is -"),
    ],
)
def test_damage_is_named(copy, file, row, value, message):
    change(copy, file, row, value)
    with pytest.raises(ValueError, match=message) as error:
        inspect_store(copy)
    assert "prepare the log again" in str(error.value)


def test_an_event_that_is_the_target_must_be_the_users_own(copy, store):
    change(copy, "splits/train/end.npy", 0, store.offsets[store.samples("train").user_N[0] + 1])
    with pytest.raises(ValueError, match="the user's events"):
        inspect_store(copy)


def test_an_empty_split(tmp_path):
    log = pd.DataFrame({"u": list("aaabbbccc"), "i": [1, 2, 3] * 3, "t": pd.date_range("2024-05-01", periods=9)})
    store = prepare(log, tmp_path / "s", user="u", item="i", time="t", valid_fraction=0)
    valid = inspect(store).splits["valid"]
    assert (valid.samples, valid.candidates, valid.k_max, valid.label_mean, valid.first) == (0, 0, 0, None, None)
    assert set(valid.history.values()) == {None} and valid.history_bins == []
    assert valid.unknown == {"candidate": {"i": None}, "history": {"i": None}, "user": {}}
    assert "events from 2024-05-01 to 2024-05-09\n" in text(inspect(store))
    json.dumps(asdict(inspect(store)), allow_nan=False)


def test_known_answers_of_a_day(tmp_path, monkeypatch):
    """Unix seconds without dates are read as such, and it says so."""
    day = 86400
    log = pd.DataFrame({"u": list("aaaabbbb"), "i": [1, 2, 3, 1, 1, 2, 1, 3]})
    log["t"] = 1_400_000_000 // day * day + day * np.array([0, 1, 1, 1, 0, 1, 2, 3])
    log["c"] = [4, 4, 4, 5, 4, 4, 4, 4]
    store = prepare(log, tmp_path / "s", user="u", item="i", time="t", attributes=["c"], protocol="all")
    found = inspect(store)
    assert found.time_unit == "unix seconds" and "read here as seconds since 1970" in " ".join(text(found).split())
    assert [found.splits[name].history["100"] for name in ("train", "valid", "test")] == [1, 2, 3]
    assert [found.splits[name].ties for name in ("train", "valid", "test")] == [0, 1, 1]
    assert found.splits["test"].history_bins == [0, 0, 2]
    lines = summary(store).splitlines()
    assert lines[0] == "2 users, 8 events; values known in training: 2 of i, 1 of c"
    assert lines[1:6:4] == [
        "split  samples  candidates  K  mean label  unknown i",
        "history at  10 %  50 %  90 %  99 %  100 %",
    ]
    assert (lines[2].split(), lines[6].split()) == (["train", "2", "drawn", "-", "-", "0", "%"], ["train", *"11111"])
    monkeypatch.chdir(tmp_path)
    assert summary(store).splitlines()[9:] == [
        "noticed: 1 items with more than one c; each event keeps its own",
        f"written to s, schema {store.schema.hash}",
        "next: dienjax train dien --store s --run runs/s",
    ]
    assert "written" not in text(found) and text(found).endswith("\n\nnext: dienjax train dien --store s --run runs/s")


@pytest.mark.parametrize("which", ["store", "store_all", "store_shown"])
def test_lines_fit_a_terminal(which, request, monkeypatch):
    store = request.getfixturevalue(which)
    monkeypatch.chdir(store.path.parent)
    found = inspect(store)
    long = replace(found.splits["test"], history_bins=[5] * 16, auc_alone={"price": 0.99}, leaks=3, samples=1_234_567)
    for held in (found, replace(found, splits=found.splits | {"a_longer_name": long}, noticed={"word " * 40: 3})):
        assert max(map(len, text(held).splitlines())) <= 80
    assert max(map(len, summary(store).splitlines())) <= 80


def test_percentiles_of_counts():
    assert facts.percentiles(np.array([0, 3, 0, 27])) == {"10": 1, "50": 3, "90": 3, "99": 3, "100": 3}


def test_bars():
    assert bars([0, 1, 4, 8], height=1) == [" ▁▄█"]
    assert bars([1, 1000], width=2, gap=1, height=2) == ["   ██", "▁▁ ██"]
    assert bars([0], height=1) == [""]
    assert bin_names(1) == ["0"] and bin_names(4) == ["0", "1", "2-3", "4-7"]


def test_times():
    assert shown_time(86400, "dates") == "1970-01-02"
    assert shown_time(-0.5, "dates") == "1969-12-31 23:59"
    assert shown_time(1234567, "numbers") == "1,234,567"
    assert shown_time(None, "dates") == "-"


def test_the_command_prints_json(store_shown, capsys):
    main(["inspect", str(store_shown.path), "--json"])
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(asdict(inspect(store_shown))))


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_the_picture(ending, store, tmp_path, capsys):
    main(["inspect", str(store.path), "--picture", str(tmp_path / f"p.{ending}")])
    assert "events over time" in capsys.readouterr().out
    start = (tmp_path / f"p.{ending}").read_bytes()[:200]
    assert {"png": b"PNG", "svg": b"<?xml", "pdf": b"%PDF"}[ending] in start
    assert len(list(tmp_path.iterdir())) == 1


def test_a_picture_that_cannot_be(store, tmp_path, capsys):
    for path, message in ((tmp_path / "p.gif", "expected .png, .svg, .pdf"), (tmp_path / "no" / "p.png", "no folder")):
        with pytest.raises(SystemExit) as stopped:
            main(["inspect", str(store.path), "--picture", str(path)])
        assert stopped.value.code == 2 and message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_unknown_ids_before_a_row(monkeypatch):
    rng = np.random.default_rng(0)
    monkeypatch.setattr("dienjax.data.mapped.BLOCK", 64)
    for E in (1, 63, 64, 65, 128, 1000):
        id_E = rng.integers(1, 4, E).astype(np.int32)
        expected = np.append(0, np.cumsum(id_E == 1))
        rows = rng.permutation(E + 1)
        np.testing.assert_array_equal(UnknownBefore(id_E).row(rows), expected[rows])
