"""The schema: its JSON, its fingerprint, what it says differs, and everything that it refuses."""

import json
from dataclasses import replace

import pytest

from builders import CHANNELS, EVERY_KIND, SCHEMA
from dienjax.schema import Behaviour, Channel, Dense, Scale, Schema, Sparse, Table

ITEM = Table("item", 10)
FIELDS = {"tables": (ITEM,), "behaviours": (Behaviour("item"),)}


@pytest.mark.parametrize("schema", [SCHEMA, EVERY_KIND, CHANNELS], ids=["ids", "every kind", "channels"])
def test_json_round_trip(schema):
    schema = replace(schema, tables=(replace(schema.tables[0], digest="abc"), *schema.tables[1:]))
    text = json.dumps(schema.to_json())
    assert Schema.from_json(json.loads(text)) == schema
    assert Schema.from_json(json.loads(text)).hash == schema.hash


def test_what_it_answers():
    assert SCHEMA.item == "item"
    assert SCHEMA.field_names == ["item", "category", "city", "slot", "age", "price"]
    assert SCHEMA.sizes() == {"item": 12, "category": 9, "city": 8, "slot": 8}
    assert SCHEMA.table("slot") == Table("slot", 8, 2)


def test_a_field_reads_the_table_of_its_name_or_another():
    schema = Schema((ITEM,), (Behaviour("item"),), (Sparse("last_item", "item"),))
    assert [f.table for f in (*schema.behaviours, *schema.sparse)] == ["item", "item"]
    assert schema.sizes()["last_item"] == 10


def test_with_dims():
    assert [t.dim for t in SCHEMA.with_dims(7).tables] == [7, 7, 7, 7]
    assert [t.dim for t in SCHEMA.with_dims({"city": 1}).tables] == [3, 2, 1, 2]
    with pytest.raises(ValueError, match=r"no table 'citty'; did you mean 'city'\?"):
        SCHEMA.with_dims({"citty": 1})
    with pytest.raises(ValueError, match="dim 0"):
        SCHEMA.with_dims(0)


def with_table(**changes):
    return replace(SCHEMA, tables=(replace(SCHEMA.tables[0], **changes), *SCHEMA.tables[1:]))


# what changed, and the difference it makes
DIFFERENCES = {
    "dims": (SCHEMA.with_dims(64), ""),
    "table order": (replace(SCHEMA, tables=SCHEMA.tables[::-1]), ""),
    "size": (
        with_table(size=13),
        "- table item: 12 rows, vocabulary not given\n+ table item: 13 rows, vocabulary not given",
    ),
    "vocabulary": (
        with_table(digest="abc"),
        "- table item: 12 rows, vocabulary not given\n+ table item: 12 rows, vocabulary abc",
    ),
    "fewer fields": (replace(SCHEMA, dense=SCHEMA.dense[:1]), "- dense price: of candidate"),
    "more fields": (replace(SCHEMA, dense=(*SCHEMA.dense, Dense("hour"))), "+ dense hour: of user"),
    "side": (
        replace(SCHEMA, dense=(Dense("age"), Dense("price"))),
        "- dense price: of candidate\n+ dense price: of user",
    ),
    "edges": (
        with_table(edges=tuple(range(9))),
        "- table item: 12 rows, vocabulary not given\n"
        "+ table item: 12 rows, between the edges 0, 1, 2, 3, 4, 5, 6, 7, 8",
    ),
    "hashed": (
        with_table(seed=7),
        "- table item: 12 rows, vocabulary not given\n+ table item: 12 rows, hashed with seed 7",
    ),
    "a set": (
        replace(SCHEMA, behaviours=(SCHEMA.behaviours[0], replace(SCHEMA.behaviours[1], most=3, pool="max"))),
        "- behaviour 1 category: reads category\n+ behaviour 1 category: reads category, up to 3 ids, their max",
    ),
    "a scale": (
        replace(SCHEMA, dense=(Dense("age", scale=Scale(1.0, 2.0)), SCHEMA.dense[1])),
        "- dense age: of user\n+ dense age: of user, Scale(mean=1.0, std=2.0, log=False)",
    ),
    "behaviour order": (
        replace(SCHEMA, behaviours=SCHEMA.behaviours[::-1]),
        "+ behaviour 0 category: reads category\n- behaviour 0 item: reads item\n"
        "- behaviour 1 category: reads category\n+ behaviour 1 item: reads item",
    ),
}


@pytest.mark.parametrize("name", DIFFERENCES)
def test_difference_and_hash(name):
    other, expected = DIFFERENCES[name]
    assert SCHEMA.difference(other) == expected
    assert (SCHEMA.hash == other.hash) == (expected == "")


def test_the_hash_is_stable():
    """Frozen: stores and checkpoints on disk carry it."""
    assert SCHEMA.hash == "bebe46d0f6bd4ea2"


def of_channels(*channels, type="item"):
    return {"type": type, "channels": channels}


def test_channels_are_part_of_what_a_schema_means():
    assert "type" in CHANNELS.to_json() and Schema.from_json(CHANNELS.to_json()) == CHANNELS
    plain = replace(CHANNELS, type="", channels=())
    assert plain.hash != CHANNELS.hash
    assert plain.difference(CHANNELS).splitlines()[0] == (
        "+ channel 0 click: the last 4 events whose type has id 5, 6"
    )  # fmt: skip
    before = {name: value for name, value in plain.to_json().items() if name not in ("type", "channels")}
    assert Schema.from_json(before) == plain
    assert (CHANNELS.longest(50), plain.longest(50)) == (17, 50)


def of_time(time):
    return Behaviour("item"), Behaviour("x", "item", time=time)


# what is wrong, and what the error says
REFUSED = {
    "no behaviours": ({"behaviours": ()}, "behaviours is empty; expected at least the item"),
    "table twice": ({"tables": (ITEM, ITEM)}, "table 'item' occurs 2 times; give each its own name"),
    "field twice": ({"dense": (Dense("item"),)}, "field 'item' occurs 2 times; give each its own name"),
    "misspelt side": ({"dense": (Dense("age", "usr"),)}, r"field 'age' is of 'usr'; expected one of \('user', 'cand"),
    "misspelt table": ({"sparse": (Sparse("x", "itm"),)}, r"table 'itm', which is not declared; did you mean 'item'\?"),
    "unknown table": ({"sparse": (Sparse("x", "zzz"),)}, "table 'zzz', which is not declared; known names: item"),
    "unread table": ({"tables": (ITEM, Table("city", 5))}, "no field reads table 'city'; remove it or name it"),
    "capitals": ({"dense": (Dense("Item"),)}, "field 'Item' and 'item' differ only in case: rename one"),
    "a size that is no number": ({"tables": (Table("item", 2.5),)}, "size 2.5 and dim 18"),
    "true": ({"tables": (Table("item", 5, True),)}, "size 5 and dim True"),
    "a size beyond int32": ({"tables": (Table("item", 2**31),)}, "whole numbers up to 2147483647"),
    "a width beyond all": ({"tables": (Table("item", 5, 10**12),)}, "whole numbers up to 2147483647"),
    "a set as the item": ({"behaviours": (Behaviour("item", most=3),)}, "the item 'item' is a set of ids"),
    "misspelt pool": ({"sparse": (Sparse("x", "item", most=2, pool="men"),)}, r"most=2, pool='men'; .*'mean', 'sum'"),
    "less than none": ({"sparse": (Sparse("x", "item", most=-1),)}, "most=-1, pool='mean'; expected a whole number"),
    "an event's id": ({"sparse": (Sparse("x", "item", "event"),)}, "field 'x' is of 'event'; expected one of"),
    "edges out of order": ({"tables": (Table("item", 5, edges=(1.0, 0.0)),)}, r"edges \(1.0, 0.0\) .*ascending finite"),
    "an edge at infinity": ({"tables": (Table("item", 4, edges=(float("inf"),)),)}, "expected ascending finite edges"),
    "edges without ids": ({"tables": (Table("item", 5, edges=(1.0,)),)}, "size 5, edges .*an id for each"),
    "no room for hashes": ({"tables": (Table("item", 2, seed=0),)}, "size 2, edges .* room for hashed values"),
    "a time without edges": (
        {"behaviours": (Behaviour("item"), Behaviour("x", "item", time="gap"))},
        "'x', a gap, .*edges",
    ),
    "misspelt time": (
        {"behaviours": (Behaviour("item"), Behaviour("x", "item", time="gab"))},
        "time='gab'; expected one",
    ),
    "a type alone": ({"type": "item"}, "type='item' and 0 channels; expected both or neither"),
    "channels alone": (of_channels(Channel("a", (2,)), type=""), "type='' and 1 channels"),
    "a type that is no behaviour": (of_channels(Channel("a", (2,)), type="itm"), "'itm' .* did you mean 'item'"),
    "an id in two channels": (
        of_channels(Channel("a", (2, 3)), Channel("b", (3,))),
        "id 3 of 'item' is in the channels 'a' and 'b'",
    ),
    "a channel of padding": (
        of_channels(Channel("a", (0,))),
        r"ids=\(0,\) .*; expected ids of 'item', 1 to 9",
    ),
    "a channel beyond": (of_channels(Channel("a", (10,))), r"channel 'a' has ids=\(10,\)"),
    "a channel of nothing": (of_channels(Channel("a", ())), r"channel 'a' has ids=\(\)"),
    "a channel of no length": (of_channels(Channel("a", (2,), 0)), "most=0; expected .* at least one event"),
    "channels of one name": (of_channels(Channel("a", (2,)), Channel("a", (3,))), "channel 'a' occurs 2 times"),
    "no spread": ({"dense": (Dense("x", scale=Scale(1.0, 0.0)),)}, r"Scale\(mean=1.0, std=0.0.*std above 0"),
    "no room": ({"tables": (Table("item", 1),)}, "size 1 and dim 18; expected size >= 2"),
    "no width": ({"tables": (Table("item", 5, 0),)}, "size 5 and dim 0; expected size >= 2 .* and dim >= 1"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refuses(name):
    changes, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        Schema(**FIELDS | changes)


def test_the_smallest_table_is_padding_and_unknown():
    assert Schema((Table("item", 2, 1),), (Behaviour("item"),)).sizes() == {"item": 2}


@pytest.mark.parametrize("data", [{}, {"tables": [{"name": "item", "rows": 3}]}])
def test_json_of_something_else(data):
    with pytest.raises(ValueError, match="not a schema"):
        Schema.from_json(data)


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        ".item",
        "../../pwned",
        "/tmp/pwned",
        "a/b",
        "a\\b",
        "a\0",
        "a\n",
        "\x9b2J",
        "\ud800",
        "ü" * 101,
        5,
    ],
)
@pytest.mark.parametrize("of", ["table", "behaviour", "sparse", "dense"])
def test_a_name_that_cannot_be_a_file(name, of):
    fields = {
        "table": {"tables": (Table(name, 5),), "behaviours": (Behaviour("item", name),)},
        "behaviour": {"behaviours": (Behaviour(name, "item"),)},
        "sparse": {"sparse": (Sparse(name, "item"),)},
        "dense": {"dense": (Dense(name),)},
    }
    with pytest.raises(ValueError, match=r"cannot be the name of a file; expected 1 to 200 bytes"):
        Schema(**FIELDS | fields[of])


@pytest.mark.parametrize("name", ["item id", "categoría", "a.b", "price (€)", "CON:1", "ü" * 100, "a..b", "-rf"])
def test_names_of_columns_are_free_otherwise(name):
    assert Schema((Table(name, 5),), (Behaviour(name),)).item == name


@pytest.mark.parametrize("data", [None, [], 3, {"tables": 5, "behaviours": [], "sparse": [], "dense": []}])
def test_json_of_another_shape(data):
    with pytest.raises(ValueError, match="not a schema"):
        Schema.from_json(data)
