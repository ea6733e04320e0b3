"""Sets, numbers and tables without a vocabulary: what inspection says of them, and which damage it finds."""

import json
from dataclasses import asdict
from typing import get_args

import numpy as np
import pandas as pd
import pytest

from dienjax.inspection import kinds
from dienjax.inspection.inspect import inspect, inspect_store, summary, text
from dienjax.preparation.prepare import prepare
from dienjax.schema import Behaviour, Channel, Schema, Table, Time
from dienjax.storage.manifest import manifest_of

ROLES = {
    "user": "u", "item": "i", "time": "t", "attributes": ["g"], "numbers": ["p", "d:3", "r:raw"],
    "user_attributes": ["h|"], "user_numbers": ["a"], "hash": {"i": 30}, "set_quantile": 1.0, "min_count": 8,
}  # fmt: skip


def log(rows=400):
    rng = np.random.default_rng(0)
    user = rng.integers(0, 30, rows)
    frame = pd.DataFrame({"u": user, "i": rng.integers(0, 20, rows), "t": rng.integers(0, 50, rows)})
    frame["g"] = [rng.permutation(30)[: rng.integers(0, 4)].tolist() for _ in range(rows)]
    frame["p"] = np.where(rng.random(rows) < 0.2, np.nan, rng.normal(size=rows))
    frame["d"], frame["r"] = np.where(rng.random(rows) < 0.1, np.nan, rng.random(rows)), rng.random(rows)
    frame["h"] = ["x|y" if u % 3 else None for u in user]
    return frame.assign(a=np.where(user % 4 == 0, np.nan, user))


@pytest.fixture
def shown(tmp_path):
    """Protocol time; whether the price is missing, and the first tag, tell the label."""
    frame = log(3000)
    frame["y"] = np.where(frame["p"].isna(), 1, [int(row[:1] > [14]) for row in frame["g"]])
    return prepare(log(), tmp_path / "s", **ROLES, impressions=frame, label="y", test_fraction=0.5)


def test_shares_of_what_is_unknown_or_missing(shown):
    found = inspect(shown)
    for name, split in found.splits.items():
        samples = shown.samples(name)
        field = samples.candidates.field
        assert split.unknown["candidate"] == {
            "i": 0, "g": pytest.approx((field["g"] == 1).any(axis=1).mean()),
            "d": pytest.approx((field["d"] == 1).mean()), "p": pytest.approx(np.isnan(field["p"]).mean()),
        }  # fmt: skip
        starts = shown.offsets[samples.user_N]
        rows = np.concatenate([np.arange(a, b) for a, b in zip(starts, samples.end_N, strict=True)])
        assert split.unknown["history"]["p"] == pytest.approx(np.isnan(shown.events["p"][rows]).mean())
        assert split.unknown["history"]["g"] == pytest.approx((shown.events["g"][rows] == 1).any(axis=1).mean())
        assert split.unknown["user"]["a"] == pytest.approx(np.isnan(shown.users["a"][samples.user_N]).mean())
    json.dumps(asdict(found), allow_nan=False)


def test_each_kind_is_described(shown, monkeypatch):
    monkeypatch.chdir(shown.path.parent)
    found = inspect(shown)
    assert found.tables["i"].known is found.tables["d"].known is None and found.tables["g"].known > 5
    said = text(found)
    for name, how in found.kinds.items():
        assert f"{name}: {how}"[:60] in said
    assert found.kinds["i"] == "hashed with seed 0, no value is kept" and found.kinds["r"] == "a number as it is"
    assert found.kinds["g"] == "a set of up to 3 ids, the mean of their vectors"
    assert found.kinds["d"].startswith("in 3 buckets, from 0.3")
    assert found.kinds["p"].startswith("a number, standardised by mean ")
    assert f"values known in training: {found.tables['g'].known} of g, 2 of h" in " ".join(summary(shown).split())
    assert max(map(len, said.splitlines())) <= 80 and kinds.described(shown.schema) == found.kinds


def test_a_missing_number_and_a_set_can_tell_the_label(shown):
    split = inspect(shown).splits["train"]
    assert split.auc_alone["g"] > 0.6 and split.auc_alone["p"] > 0.6 and split.auc_unknown["p"] > 0.55
    assert abs(split.auc_alone["r"] - 0.5) < 0.1 and abs(split.auc_unknown["d"] - 0.5) < 0.1
    assert "whether p is unknown (id 1) separates the labels" in " ".join(summary(shown).split())


@pytest.mark.parametrize(
    ("file", "row", "value", "message"),
    [
        ("events/g.npy", (3, 0), 10**6, r"events/g.npy: row 3 holds id 1000000; expected 1 to \d+, table 'g', and 0"),
        ("events/g.npy", 4, [0, 2, 0], "events/g.npy: row 4 holds id 2; expected .*, and 0 after them"),
        ("events/g.npy", 5, [2, 0, -1], "events/g.npy: row 5 holds id -1"),
        ("events/p.npy", 6, np.inf, "events/p.npy: row 6 is inf; expected finite numbers, or NaN where"),
        ("events/r.npy", 7, np.nan, "events/r.npy: row 7 is nan; expected finite numbers[.]"),
        ("users/a.npy", 1, -np.inf, "users/a.npy: row 1 is -inf"),
        ("users/h.npy", 1, [0, 3], "users/h.npy: row 1 holds id 3"),
        ("splits/test/candidate/r.npy", 2, np.nan, "splits/test/candidate/r.npy: row 2 is nan"),
        ("splits/test/candidate/d.npy", 2, 0, "splits/test/candidate/d.npy: row 2 holds id 0; expected 1 to 4"),
    ],
)
def test_damage_is_named(file, row, value, message, tmp_path):
    store = prepare(log(), tmp_path / "s", **ROLES).path
    column = np.load(store / file)
    column[row] = value
    np.save(store / file, column)
    with manifest_of(store):
        pass
    with pytest.raises(ValueError, match=message):
        inspect_store(store)


def test_times_and_channels_are_described():
    schema = Schema(
        (Table("item", 9), Table("type", 9), Table("gap", 5, edges=(1.0, 60.0))),
        (Behaviour("item"), Behaviour("type"), Behaviour("gap", time="gap")),
        type="type",
        channels=(Channel("cart+wish", (2, 3), most=7),),
    )
    assert kinds.described(schema) == {
        "gap": "the time from an event to the candidate, in 3 buckets, from 1, 60 on",
        "channel cart+wish": "the last 7 events of this type",
    }
    assert set(kinds.TIMES) == set(get_args(Time))
