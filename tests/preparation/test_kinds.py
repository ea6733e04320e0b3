"""Sets, numbers, buckets and hashes of a prepared log, against a plain reader of it."""

import re

import numpy as np
import pandas as pd
import pytest
from test_kernel import ENGINES, KINDS, given, random_logs

from dienjax.cli import main
from dienjax.data.split import StoreSplit
from dienjax.data.store import Store
from dienjax.inputs.ids import between, hashed
from dienjax.inspection.inspect import inspect, text
from dienjax.preparation.prepare import prepare
from dienjax.schema import UNKNOWN, Behaviour, Dense, Scale, Sparse

SMALL = {"user": "u", "item": "i", "time": "t"}
ROLES = {"user": "user", "item": "item", "time": "time", "protocol": "all"}
WHOLE = {"test_fraction": 0, "valid_fraction": 0}


def small(**columns) -> pd.DataFrame:
    return pd.DataFrame({"u": list("aaabbbccc"), "i": [1, 2, 3] * 3, "t": range(9)} | columns)


def plain(values):
    """The values of a list, those that are missing left out, each once."""
    return list(dict.fromkeys(v for v in values if v is not None)) if isinstance(values, list) else []


def values_of(store, table, ids):
    """The values of ids of any shape: None where unknown, nothing where padding."""
    known = dict(store.vocabulary(table)[["id", "value"]].itertuples(index=False, name=None))
    return [[known.get(i) for i in row if i] for row in np.atleast_2d(ids).tolist()]


def matches(got, expected, known, most):
    """Whether the ids of a set are those of its first values, unknown where training does not know one."""
    return got == [v if v in known else None for v in expected[:most]]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("form", ["frame", "arrow", "csv", "parquet"])
def test_columns_are_those_of_a_plain_reader(engine, form, tmp_path):
    for seed in range(3):
        events, _ = random_logs(seed)
        store = prepare(
            given(events, form, tmp_path / "events"), tmp_path / "s", **ROLES | KINDS, engine=engine, force=True
        )
        ordered = events.astype({"user": str} if seed % 2 else {}).sort_values(["user", "time"], kind="stable")
        by_user = ordered.groupby("user", sort=True)
        train = ordered[by_user.cumcount(ascending=False) >= 2]
        schema, users = store.schema, store.user_values().tolist()
        tags, fields = schema.behaviours[2], {f.name: f for f in (*schema.sparse, *schema.dense)}

        lengths = [len(plain(row)) for row in train["tags"] if plain(row)]
        assert tags == Behaviour(
            "tags",
            "tags",
            most=max(1, int(np.quantile(lengths, 0.8, method="inverted_cdf"))),
            pool="sum",
            separator=KINDS["attributes"][1][4:],
        )
        known = pd.Series([v for row in train["tags"] for v in plain(row)]).value_counts()
        assert store.vocabulary("tags").set_index("value")["count"].to_dict() == known.to_dict()
        for got, row in zip(values_of(store, "tags", store.events["tags"]), ordered["tags"], strict=True):
            assert matches(got, plain(row), known, tags.most)

        of_user = {user: plain(rows["hobbies"].iloc[0]) for user, rows in by_user}
        trains = [user for user, rows in by_user if len(rows) >= 4]
        known, most = {v for user in trains for v in of_user[user]}, fields["hobbies"].most
        for got, user in zip(values_of(store, "hobbies", store.users["hobbies"]), users, strict=True):
            assert matches(got, of_user[user], known, most)

        cost = np.log1p(np.float32(train["cost"].dropna()).astype(np.float64))
        assert fields["cost"] == Dense(
            "cost", "event", Scale(pytest.approx(cost.mean()), pytest.approx(cost.std()), True)
        )
        np.testing.assert_array_equal(store.events["cost"], np.float32(ordered["cost"]))
        height = by_user["height"].first().reindex(users)
        np.testing.assert_array_equal(store.users["height"], np.float32(height))
        seen = np.float32(height[trains].dropna()).astype(np.float64)
        if len(set(seen)) > 1:
            assert fields["height"].scale.std == pytest.approx(seen.std())

        dwell = np.sort(np.float32(train["dwell"])).astype(np.float64)
        edges = sorted({dwell[len(dwell) // 3], dwell[2 * len(dwell) // 3]})
        assert schema.table("dwell").edges == tuple(edges) and schema.behaviours[3] == Behaviour("dwell", "dwell")
        np.testing.assert_array_equal(store.events["dwell"], between(np.float32(ordered["dwell"]), edges))

        assert schema.table("kind").seed == 0 and schema.table("kind").size == 40
        np.testing.assert_array_equal(store.events["kind"], hashed(ordered["kind"].tolist(), 40, 0))
        with pytest.raises(ValueError, match="keeps no values of the table 'kind'"):
            store.vocabulary("kind")


@pytest.mark.parametrize("protocol", ["last", "all", "time", "user"])
@pytest.mark.parametrize("own", ["allow", "exclude"])
def test_batches_fit_the_schema_and_negatives_are_whole_events(protocol, own, tmp_path):
    events, impressions = random_logs(3)
    roles = ROLES | KINDS | {"protocol": protocol, "test_fraction": 0.3, "hash": {"item": 5}}
    if protocol in ("time", "user"):
        roles |= {"impressions": impressions, "label": "click", "context": ["place"], "dense": ["price:3"]}
    store = prepare(events, tmp_path / "s", **roles)
    assert "kind" in inspect(store).kinds or inspect(store).kinds["item"].startswith("hashed")
    names = list(store.events)
    drawn = {tuple(np.concatenate([np.ravel(store.events[n][e]) for n in names])) for e in range(len(store.time_E))}
    for split in store.splits:
        data = StoreSplit(store, split, own=own)
        if not len(data.user_N):
            continue
        batch = data.rows(np.arange(len(data.user_N)), 7, 0)
        batch.check(store.schema)
        for b, t in np.argwhere(batch.mask_BT):
            row = [np.ravel(batch.negative[n][b, t]) for n in names]
            assert any(np.array_equal(np.concatenate(row), event, equal_nan=True) for event in drawn)


def test_hashed_items_that_share_an_id_are_told_apart(tmp_path):
    """A negative is another item of the log, though its id may be the same."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"u": np.repeat(range(60), 6), "i": rng.integers(0, 30, 360), "t": range(360)})
    store = prepare(frame, tmp_path / "s", **SMALL, protocol="all", hash={"i": 6}, seed=4)
    assert store.schema.table("i").seed == 4 and set(store.events["i"]) <= {2, 3, 4, 5}
    assert len(np.unique(store.raw_item_E)) == frame["i"].nunique()
    samples = store.samples("test").candidates
    pairs = samples.field["i"].reshape(-1, 2)
    assert (pairs[:, 0] == pairs[:, 1]).any()
    data = StoreSplit(store, "train")
    _, item_B1 = data.negatives.draw(
        0, 1, np.arange(60), data.user_N[:60], np.zeros((1, 1), int), store.raw_item_E[data.end_N[:60]][:, None]
    )
    assert (item_B1[:, 0] != store.raw_item_E[data.end_N[:60]]).all()


def test_a_hashed_value_has_its_id_whether_training_knows_it_or_not(tmp_path):
    frame = small(c=["x", None, "y"] * 3)
    store = prepare(frame, tmp_path / "s", **SMALL, attributes=["c"], hash={"c": 100}, min_count=50)
    assert store.events["c"].reshape(3, 3).tolist() == [hashed(["x", None, "y"], 100, 0).tolist()] * 3
    assert not (tmp_path / "s/vocab/c.parquet").exists()
    assert "known c" not in store.info["counts"]


def test_rare_values_of_a_set_are_unknown(tmp_path):
    tags = [["a", "b"], ["a"], ["a", "c", "c"]] * 3
    tags[0] = ["rare", "a", "odd"]
    store = prepare(small(g=tags), tmp_path / "s", **SMALL, **WHOLE, attributes=["g"], min_count=2)
    assert store.vocabulary("g")["value"].tolist() == ["a", "c", "b"]
    assert store.vocabulary("g")["count"].tolist() == [9, 3, 2]  # doubled in a list, a value counts once
    assert store.events["g"][0].tolist() == [UNKNOWN, 2, UNKNOWN]


def test_what_was_cut_is_said(tmp_path):
    tags = [[1], [1, 2], [3], [1, 2, 3, 4], None, [], [2], [2, None], [4]]
    roles = SMALL | WHOLE | {"attributes": ["g"]}
    store = prepare(small(g=tags), tmp_path / "s", **roles, set_quantile=0.8)
    assert store.schema.behaviours[1].most == 2
    said = " ".join(text(inspect(store)).split())
    assert "noticed: 1 training rows have more than 2 g; the first 2 count" in said
    assert "noticed: 2 events without g, which are empty sets" in said
    assert "g: a set of up to 2 ids, the mean of their vectors" in said
    assert store.events["g"][4].tolist() == store.events["g"][5].tolist() == [0, 0]
    assert prepare(small(g=tags), tmp_path / "t", **roles, set_quantile=1).schema.behaviours[1].most == 4


@pytest.mark.parametrize("tags", [[None] * 9, [[]] * 9, [[None]] * 9, [""] * 9])
def test_sets_without_any_value(tags, tmp_path):
    name = "g|" if tags[0] in ("", None) else "g"
    store = prepare(small(g=tags), tmp_path / "s", **SMALL, attributes=[name])
    assert store.schema.behaviours[1] == Behaviour("g", "g", most=1, separator=name[1:])
    assert not store.events["g"].any() and store.events["g"].shape == (9, 1)
    StoreSplit(store, "train").rows(np.arange(1), 3, 0).check(store.schema)


@pytest.mark.parametrize(
    ("column", "how", "expected"),
    [
        ([5.0] * 9, "x", Scale(5, 1)),
        ([None] * 9, "x", Scale(0, 1)),
        ([True, False, None] * 3, "x", Scale(0.5, 0.5)),
        (["1", " 2.5 ", None] * 3, "x", Scale(1.75, 0.75)),
        ([-1, 0, 1] * 3, "x:log", Scale(pytest.approx(np.log(2) / 3), pytest.approx(np.log(2) * 2**0.5 / 3), True)),
        ([np.nan, 1, 3] * 3, "x:standard", Scale(2, 1)),
        ([np.nan, 1, 3] * 3, "x:3", (1, 3)),
        ([7] * 9, "x:10", (7,)),
        ([None] * 9, "x:10", (0,)),
        ([7, 8, 9] * 3, "x:raw", None),
    ],
)
def test_odd_numbers(column, how, expected, tmp_path):
    frame = small(x=pd.Series(column, dtype=object if isinstance(column[0], str | bool) else None), y=column[0])
    store = prepare(frame, tmp_path / "s", **SMALL, **WHOLE, numbers=[how])
    if isinstance(expected, tuple):
        assert store.schema.table("x").edges == expected
    else:
        assert store.schema.dense == (Dense("x", "event", expected),)
    StoreSplit(store, "train").rows(np.arange(3), 4, 0).check(store.schema)
    noticed = {reason: n for reason, n in store.info["noticed"].items() if n}
    assert noticed == (
        {"training rows have one and the same x": 9} if column[0] in (5, 7) and len({*column}) == 1 else {}
    )


def test_dense_numbers_of_impressions_have_the_same_choices(tmp_path):
    rng = np.random.default_rng(2)
    shown = small(y=[0, 1, 0] * 3, a=rng.normal(size=9), b=rng.random(9), c=rng.random(9), d=range(9), p=rng.random(9))
    shown.loc[::4, ["b", "c"]] = np.nan
    store = prepare(
        small(p=rng.random(9)), tmp_path / "s", **SMALL, impressions=shown, label="y", numbers=["p"],
        dense=["a", "b:standard", "c:2", "d:log"], test_fraction=0.3, valid_fraction=0,
    )  # fmt: skip
    train = store.samples("train").candidates
    assert [f.name for f in store.schema.dense] == ["p", "a", "b", "d"]
    assert store.schema.sparse == (Sparse("c", "c", of="candidate"),)
    assert {f.name: f.scale is not None for f in store.schema.dense} == {"p": True, "a": False, "b": True, "d": True}
    known = train.field["b"][~np.isnan(train.field["b"])].astype(np.float64)
    assert store.schema.dense[2].scale == Scale(pytest.approx(known.mean()), pytest.approx(known.std()))
    events_known = np.float32(store.events["p"])[store.train_row].astype(np.float64)
    both = np.concatenate([events_known, train.field["p"]])
    assert store.schema.dense[0].scale.mean == pytest.approx(both.mean())
    for split in store.splits:
        data = StoreSplit(store, split)
        data.rows(np.arange(len(data.user_N)), 3, 0).check(store.schema)


def test_new_days_keep_what_was_learnt(tmp_path):
    events, _ = random_logs(1)
    first = prepare(events, tmp_path / "first", **ROLES | KINDS, seed=3)
    later = events.assign(
        tags=[None if row is None else [f * 2 for f in row if f is not None] * 2 for row in events["tags"]],
        cost=events["cost"] * 100, dwell=events["dwell"] + 50, height=events["height"] + 7,
    )  # fmt: skip
    roles = ROLES | KINDS | {"set_quantile": 1.0}
    like = prepare(later, tmp_path / "like", **roles, like=tmp_path / "first")
    assert like.schema == first.schema
    np.testing.assert_array_equal(like.events["kind"], first.events["kind"])
    grown = prepare(later, tmp_path / "grown", **roles, like=first, grow=True)
    assert grown.schema.behaviours == first.schema.behaviours and grown.schema.dense == first.schema.dense
    assert grown.schema.table("dwell") == first.schema.table("dwell")
    before, after = first.vocabulary("tags"), grown.vocabulary("tags")
    assert after["value"][: len(before)].tolist() == before["value"].tolist() and len(after) > len(before)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"numbers": ["cost", "dwell:3"]}, r"(?s)- dense cost: of event, Scale.*log=False.*\+ dense cost: .*log=True"),
        ({"numbers": ["cost:log", "dwell"]}, r"(?s)\+ behaviour 3 dwell"),
        ({"hash": {}}, "field 'kind' is not so in the earlier store: .* keeps no values of the table 'kind'"),
        ({"hash": {"kind": 41}}, r"(?s)- table kind: 41 rows, hashed with seed 0\n\+ table kind: 40 rows, hashed"),
        ({"hash": {"kind": 40, "item": 9}}, r"(?s)- table item: 9 rows, hashed.*\+ table item: \d+ rows, vocabulary"),
        (
            {"pool": {}},
            r"(?s)- behaviour 2 tags: reads tags, up to \d ids, their mean\n\+ behaviour 2 tags: .*their sum",
        ),
        ({"attributes": ["kind"], "pool": {}}, r"(?s)\+ behaviour 2 tags"),
    ],
)
def test_other_roles_than_those_of_the_earlier_store(changes, message, tmp_path):
    events, _ = random_logs(1)
    prepare(events, tmp_path / "first", **ROLES | KINDS)
    with pytest.raises(ValueError, match=message):
        prepare(events, tmp_path / "like", **ROLES | KINDS | changes, like=tmp_path / "first")


@pytest.mark.parametrize(
    ("columns", "roles", "message"),
    [
        ({"i": [[1], [2], [3]] * 3}, {}, "column 'i' holds list<.*>; expected one value per row"),
        ({"g": [[[1]]] * 9}, {"attributes": ["g"]}, "column 'g' holds list<.*>; expected one value per row"),
        ({"g": [[1], 2, 3] * 3}, {"attributes": ["g"]}, "column 'g' holds mixed types"),
        ({"x": ["a"] * 9}, {"numbers": ["x"]}, "'x' is 'a' in row 0; expected a finite number"),
        ({"x": [[1.0]] * 9}, {"numbers": ["x"]}, "column 'x' holds list<.*>; expected numbers"),
        ({"x": [1.0, np.inf, 2.0] * 3}, {"numbers": ["x"]}, "'x' is 'inf' in row 1; expected a finite number"),
        ({"x": [1.0, None, 2.0] * 3}, {"numbers": ["x:raw"]}, "column 'x' has no value in row 1"),
        ({"x": range(9)}, {"user_numbers": ["x"]}, "user attribute 'x' changes within user 'a'"),
        ({"x": 1}, {"numbers": ["x"], "attributes": ["x"]}, "'x' is given two roles"),
        ({"x": 1}, {"numbers": ["x", "x:log"]}, "'x' of numbers is given twice"),
        ({"x": 1}, {"numbers": ["x:1"]}, "'x:1' asks for 1 bucket"),
        ({"hist_i": 1}, {"numbers": ["hist_i"]}, "'hist_i' cannot be a field"),
        ({"label": 1}, {"numbers": ["label"]}, "'hist_label' of its history is reserved"),
        ({"label": 1}, {"user_numbers": ["label"]}, "cannot be called 'label'"),
        ({}, {"hash": {"j": 9}}, "hash names 'j', which has no values; did you mean|hash names 'j'"),
        ({}, {"hash": {"i": 2}}, "the size 2; expected a whole number from 3"),
        ({}, {"hash": {"i": True}}, "the size True"),
        ({}, {"pool": {"i": "mean"}}, "pool names 'i', which holds no sets"),
        ({"g": [[1]] * 9}, {"attributes": ["g"], "pool": {"g": "most"}}, "pool of 'g' is 'most'"),
        ({}, {"set_quantile": 0}, "set_quantile=0"),
        ({}, {"set_quantile": 1.1}, "set_quantile=1.1"),
        ({"g": [["a\x1fb"]] * 9}, {"attributes": ["g"]}, r"column 'g' holds 'a\\x1fb' in row 0"),
    ],
)
def test_wrong_input(columns, roles, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        prepare(small(**columns), tmp_path / "s", **SMALL, **roles)
    assert list(tmp_path.iterdir()) == []


def test_lists_beside_values_in_another_table(tmp_path):
    shown = small(y=[0, 1, 0] * 3, g=["a|b", "c", ""] * 3)
    roles = SMALL | {"impressions": shown, "label": "y"}
    with pytest.raises(ValueError, match=re.escape("column 'g' holds lists in one place and values in another")):
        prepare(small(g=[["a"]] * 9), tmp_path / "s", **roles, attributes=["g"])
    store = prepare(small(g=[["a"]] * 9), tmp_path / "s", **roles, attributes=["g|"], set_quantile=1)
    assert set(store.vocabulary("g")["value"]) == {"a", "b", "c"} and store.events["g"].shape == (9, 2)


def test_a_raw_number_of_a_user_who_has_none(tmp_path):
    shown = pd.DataFrame({"u": ["a", "z"], "i": [1, 2], "t": 20, "y": [0, 1]})
    roles = SMALL | {"impressions": shown, "label": "y", **WHOLE}
    with pytest.raises(ValueError, match="user number 'h' is missing for user 'z'; expected one for each user"):
        prepare(small(h=1.5), tmp_path / "s", **roles, user_numbers=["h:raw"])
    store = prepare(small(h=1.5), tmp_path / "s", **roles, user_numbers=["h"])
    assert store.users["h"].tolist()[:3] == [1.5] * 3 and np.isnan(store.users["h"][3])


def test_the_command_line(tmp_path, capsys):
    frame = small(g=["a|b", "", "c"] * 3, x=[1.5, np.nan, 3.0] * 3, h=2)
    frame.to_csv(tmp_path / "log.csv", index=False)
    roles = {"attributes": ["g|"], "numbers": ["x:log"], "user_numbers": ["h:raw"], "hash": {"i": 9}}
    store = prepare(tmp_path / "log.csv", tmp_path / "s", **SMALL, **roles, pool={"g": "max"}, set_quantile=0.5)
    given = ["prepare", "--events", f"{tmp_path}/log.csv", "--user", "u", "--item", "i", "--time", "t", "--quiet"]
    rich = ["--attribute", "g|", "--number", "x:log", "--user-number", "h:raw", "--hash", "i=9", "--pool", "g=max"]
    main([*given, *rich, "--set-quantile", "0.5", "--out", f"{tmp_path}/t"])
    assert Store.open(tmp_path / "t").digest == store.digest
    assert "values known in training: 3 of g" in capsys.readouterr().out
    for wrong, message in ((["--hash", "i=x"], "--hash i=x: invalid literal"), (["--pool", "max"], "COLUMN=VALUE")):
        with pytest.raises(SystemExit) as stopped:
            main([*given, *wrong, "--out", f"{tmp_path}/u"])
        assert stopped.value.code == 2 and message in capsys.readouterr().err
