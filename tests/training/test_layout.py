"""Where arrays live: the number of devices, the rows that each of them holds, and the mistakes in asking for them."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import builders
from dienjax.models.embedding import initial_part, initial_rows
from dienjax.schema import Behaviour, Schema, Table
from dienjax.training.layout import DevicesConfig, Layout, table_of

SCHEMA = Schema(tables=(Table("item", 10, 3), Table("shop", 3, 2)), behaviours=(Behaviour("item"), Behaviour("shop")))


def layout(n, tables="rows", small=4):
    return Layout(SCHEMA, tuple(range(n)), tables, small)


def key(*names):
    return [SimpleNamespace(key=name) for name in names]


def test_a_single_device_changes_nothing():
    one = Layout(SCHEMA)
    tree = {"embedder": {"item": jax.ShapeDtypeStruct((10, 3), jnp.float32)}}
    assert not one.divided and one.spread == frozenset() and one.share == (0, 1)
    assert one.stored(tree)["embedder"]["item"].shape == (10, 3) and one.everywhere is None
    assert one.shape(key("embedder", "item"), tree["embedder"]["item"]) == (10, 3)


@pytest.mark.parametrize(("n", "stored", "held"), [(2, 10, 5), (3, 12, 4), (4, 12, 3), (8, 16, 2)])
def test_rows_that_no_number_of_devices_divides(n, stored, held):
    of = layout(n)
    assert of.spread == {"item"}, "a small table stands on every device"
    assert (of.stored_rows("item"), of.stored_rows("shop")) == (stored, 3)
    assert of.rows_here() == {"item": held, "shop": 3}
    leaf = jax.ShapeDtypeStruct((stored, 3), jnp.float32)
    assert of.shape(key("mu", "embedder", "item"), leaf) == (10, 3)
    assert tuple(of.spec(key("mu", "embedder", "item"), leaf)) == ("batch",)
    assert tuple(of.spec(key("tower", "kernel"), leaf)) == ()


def test_replicated_tables_are_nowhere_divided():
    assert layout(2, "replicated").spread == frozenset()
    assert layout(2, "replicated").stored_rows("item") == 10


def test_leaves_with_a_row_for_each_of_a_table():
    rows = {"item": 10}
    assert table_of(key("embedder", "item"), np.zeros((10, 3)), rows) == "item"
    assert table_of(key("nu", "embedder", "item"), np.zeros(10), rows) == "item"
    assert table_of(key("embedder", "item"), np.zeros((9, 3)), rows) is None
    assert table_of(key("embedder", "shop"), np.zeros((10, 3)), rows) is None
    assert table_of(key("item"), np.zeros((10, 3)), rows) is None


def test_more_devices_than_there_are():
    with pytest.raises(ValueError, match=r"devices.count is 7, but there are 1 devices in 1 process.*expected 0"):
        Layout.of(DevicesConfig(count=7), SCHEMA, 14)


def test_devices_must_divide_the_batch(monkeypatch):
    devices = [SimpleNamespace(process_index=0, id=i, platform="cpu") for i in range(8)]
    monkeypatch.setattr(jax, "devices", lambda: devices)
    assert Layout.of(DevicesConfig(), SCHEMA, 16).devices == tuple(devices)
    assert Layout.of(DevicesConfig(count=2), SCHEMA, 6).devices == tuple(devices[:2])
    with pytest.raises(ValueError, match=r"data.batch_size is 12, which 8 devices do not divide.*such as 8 or 16"):
        Layout.of(DevicesConfig(), SCHEMA, 12)


def test_a_rule_that_does_not_exist():
    with pytest.raises(ValueError, match=r"devices.tables is 'columns'; expected 'replicated'.*'rows'"):
        DevicesConfig(tables="columns")


@pytest.mark.parametrize("V", [5, 2**16, 2**16 + 1, 2**17 + 3])
@pytest.mark.parametrize("n", [1, 2, 3])
def test_parts_of_a_table_are_drawn_as_in_the_whole(V, n):
    count = -(-V // n)
    whole = np.asarray(jax.jit(initial_rows, static_argnums=1)(jax.random.key(1), (V, 2)))
    part = jax.jit(initial_part, static_argnums=(1, 3))
    parts = np.concatenate([part(jax.random.key(1), (V, 2), i * count, count) for i in range(n)])
    np.testing.assert_array_equal(parts[:V], whole)
    assert not parts[V:].any() and not whole[1].any()


def test_the_batch_of_the_builders_fits(batch):
    assert Layout(builders.SCHEMA).put(batch).mask_BT.shape == batch.mask_BT.shape
