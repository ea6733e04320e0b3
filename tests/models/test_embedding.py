"""The look-up of a batch in its tables: shared rows, unknown ids, rows of reduced precision."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import builders
from dienjax.models.embedding import FeatureEmbedder, ScaledRows, embed, initial_rows, look_up, number, pooled
from dienjax.schema import Dense, Scale


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


def test_sets_are_pooled_and_numbers_scaled():
    """Every kind of field beside a loop in NumPy."""
    schema, batch = builders.EVERY_KIND, builders.make_batch(schema=builders.EVERY_KIND)
    variables = builders.random_variables(FeatureEmbedder(schema), batch)
    e = builders.apply(FeatureEmbedder(schema), variables, batch)
    table = {name: rows.astype(np.float64) for name, rows in variables["params"].items()}
    over = {"mean": np.mean, "sum": np.sum, "max": np.max}

    def vector(field, value):
        if isinstance(field, Dense) and field.scale is None:
            return [value]
        if isinstance(field, Dense):
            x = np.log1p(max(value, 0)) if field.scale.log else value
            return [0, 1] if np.isnan(value) else [(x - field.scale.mean) / field.scale.std, 0]
        if not field.most:
            return table[field.table][value]
        rows = [table[field.table][id] for id in value if id != 0]
        return over[field.pool](rows, axis=0) if rows else np.zeros(table[field.table].shape[1])

    def joined(fields, arrays, *at):
        return np.concatenate([vector(field, arrays[field.name][at]) for field in fields])

    missing = empty = 0
    for b, t in np.argwhere(batch.mask_BT):
        for arrays, found in ((batch.history, e.history_BTE), (batch.negative, e.negative_BTE)):
            np.testing.assert_allclose(found[b, t], joined(schema.event_fields, arrays, b, t), rtol=1e-5)
            missing += np.isnan(arrays["price"][b, t])
            empty += not arrays["tags"][b, t].any()
    assert missing and empty
    for b, k in np.argwhere(batch.mask_BK):
        np.testing.assert_allclose(e.candidate_BKE[b, k], joined(schema.event_fields, batch.candidate, b, k), rtol=1e-5)
        np.testing.assert_allclose(
            e.context_BKC[b, k], joined(schema.side("candidate"), batch.candidate, b, k), rtol=1e-5
        )
        np.testing.assert_allclose(e.user_BU[b], joined(schema.side("user"), batch.user, b), rtol=1e-5)
    assert e.history_BTE.shape[-1] == sum(map(schema.width, schema.event_fields)) == 3 + 2 + 2 + 2 + 1


@pytest.mark.parametrize("pool", ["mean", "sum", "max"])
def test_the_order_and_the_padding_of_a_set_change_nothing(pool):
    rows = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    mask = np.array([True, True, False, True])
    expected = pooled(rows, mask, pool)
    others = np.where(mask[:, None], rows, 7.0)[[3, 2, 0, 1]]
    np.testing.assert_allclose(pooled(others, mask[[3, 2, 0, 1]], pool), expected, rtol=1e-6)
    gradient = jax.grad(lambda rows: pooled(rows, np.zeros(4, bool), pool).sum())(rows)
    np.testing.assert_array_equal(gradient, np.zeros_like(rows))


def test_a_missing_number_has_a_finite_gradient():
    def seen(x):
        return number(x, Scale(1.0, 2.0, log=True)).sum()

    np.testing.assert_allclose(jax.grad(seen)(np.array([np.nan, 1.0, -3.0], np.float32)), [0, 0.25, 0], atol=1e-6)


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
