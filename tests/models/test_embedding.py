"""The look-up of a batch in its tables: shared rows, unknown ids, rows of reduced precision."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import builders
from dienjax.models.embedding import FeatureEmbedder, ScaledRows, embed, initial_rows, look_up


def test_embedding_tables_and_widths(schema, batch):
    variables = jax.jit(FeatureEmbedder(schema).init)(jax.random.key(0), batch)
    shapes = {"item": (12, 3), "category": (9, 2), "city": (8, 2), "slot": (8, 2)}
    assert jax.tree.map(np.shape, variables["params"]) == shapes
    e = builders.apply(FeatureEmbedder(schema), variables, batch)
    assert e.history_BTE.shape == e.negative_BTE.shape == (6, 4, 5)
    assert (e.candidate_BKE.shape, e.user_BU.shape, e.context_BKC.shape) == ((6, 3, 5), (6, 3), (6, 3, 3))
    item_VD, category_VD = variables["params"]["item"], variables["params"]["category"]
    for ids, embedded in [(batch.history, e.history_BTE), (batch.negative, e.negative_BTE)]:
        expected = np.concatenate([item_VD[ids["item"]], category_VD[ids["category"]]], axis=-1)
        np.testing.assert_array_equal(embedded, expected)
    np.testing.assert_array_equal(e.user_BU[:, 2], batch.user["age"])
    np.testing.assert_array_equal(e.context_BKC[:, :, 2], batch.candidate["price"])


def test_embedding_starts_at_unit_length_on_average():
    schema = builders.SCHEMA.with_dims(16)
    params = jax.jit(FeatureEmbedder(schema).init)(jax.random.key(0), builders.make_batch())["params"]
    rows = np.concatenate(jax.tree.leaves(params))
    assert np.mean(np.sum(rows**2, axis=1)) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("bad", [-1, -7, 12, 10**9])
def test_an_id_outside_the_table_counts_as_unknown(schema, batch, bad):
    embedder, real = FeatureEmbedder(schema), batch.mask_BT
    variables = builders.random_variables(embedder, batch)
    got = builders.apply(embedder, variables, batch.replace(history=builders.with_ids(batch.history, real, bad)))
    unknown = builders.apply(embedder, variables, batch.replace(history=builders.with_ids(batch.history, real, 1)))
    np.testing.assert_array_equal(got.history_BTE, unknown.history_BTE)


def test_a_large_table_is_drawn_in_blocks_that_differ():
    rows = np.asarray(jax.jit(initial_rows, static_argnums=1)(jax.random.key(0), (2**17 + 3, 4)))
    assert rows.shape == (2**17 + 3, 4) and rows.std() == pytest.approx(0.5, rel=0.01)
    assert len(np.unique(rows[:, 0])) > 0.95 * len(rows)


IDS = np.array([[0, 1, 5], [11, -1, 12]], np.int32)


def test_rows_of_float16_are_looked_up_as_float32():
    table_VD = np.random.default_rng(0).normal(size=(12, 3)).astype(np.float16)
    rows = jax.jit(look_up)(jnp.asarray(table_VD), IDS)
    assert rows.dtype == jnp.float32
    np.testing.assert_array_equal(rows, table_VD.astype(np.float32)[[[0, 1, 5], [11, 1, 1]]])


def test_scaled_rows_are_whole_numbers_times_the_scale_of_their_row():
    random = np.random.default_rng(0)
    value_VD, scale_V = random.integers(-127, 128, (12, 3), dtype=np.int8), random.random(12, np.float32)
    rows = jax.jit(look_up)(ScaledRows(jnp.asarray(value_VD), jnp.asarray(scale_V)), IDS)
    np.testing.assert_array_equal(rows, (value_VD * scale_V[:, None])[[[0, 1, 5], [11, 1, 1]]])


def test_embedding_takes_tables_of_any_kind(schema, batch):
    """Ones in every form: the vectors are all ones, whatever their tables are."""
    ones = {
        name: jnp.ones((size, dim), jnp.float16) for name, size, dim in ((t.name, t.size, t.dim) for t in schema.tables)
    }
    ones["item"] = ScaledRows(jnp.full((12, 3), 127, jnp.int8), jnp.full(12, 1 / 127))
    e = embed(schema, ones, batch)
    np.testing.assert_allclose(e.history_BTE, np.ones((6, 4, 5)), rtol=1e-6)
    assert {a.dtype for a in (e.history_BTE, e.user_BU, e.context_BKC)} == {np.dtype("float32")}
