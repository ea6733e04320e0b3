"""Tables of less memory: how far from float32 they may be, and what cannot be reduced."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dienjax.export.quantised import reduced_tables
from dienjax.models.embedding import ScaledRows, embed

TABLE_VD = (np.random.default_rng(0).normal(size=(40, 18)) * np.logspace(-30, 3, 40)[:, None]).astype(np.float32)
TABLE_VD[7] = 0
TABLE_VD[8] = 1e-40  # below what XLA tells from zero
TABLES = {"item": jnp.asarray(TABLE_VD)}


def bytes_of(tree):
    return sum(leaf.nbytes for leaf in jax.tree.leaves(tree))


def test_float32_is_the_tables_themselves():
    assert reduced_tables(TABLES, "float32")["item"] is TABLES["item"]


def test_float16_is_the_nearest():
    table_VD = reduced_tables(TABLES, "float16")["item"]
    assert (table_VD.dtype, table_VD.shape, table_VD.nbytes) == (jnp.float16, (40, 18), 40 * 18 * 2)
    error_VD = np.abs(np.asarray(table_VD, np.float64) - TABLE_VD)
    assert (error_VD <= np.maximum(2.0**-11 * np.abs(TABLE_VD), 2.0**-25)).all()  # 2⁻²⁵: numbers below 2⁻¹⁴
    assert not np.asarray(table_VD)[7].any()


def test_int8_is_the_nearest_multiple_of_the_scale_of_the_row():
    table = reduced_tables(TABLES, "int8")["item"]
    value_VD, scale_V = np.asarray(table.value_VD), np.asarray(table.scale_V)
    assert (value_VD.dtype, scale_V.dtype, value_VD.shape, scale_V.shape) == (np.int8, np.float32, (40, 18), (40,))
    assert bytes_of(table) == 40 * (18 + 4)
    zero_V = np.isin(np.arange(40), (7, 8))
    assert not value_VD[zero_V].any() and not scale_V[zero_V].any()
    assert (np.abs(value_VD[~zero_V]).max(axis=1) == 127).all()
    np.testing.assert_allclose(scale_V[~zero_V], np.abs(TABLE_VD[~zero_V]).max(axis=1) / 127, rtol=1e-6)
    error_VD = np.abs(value_VD.astype(np.float64) * scale_V[:, None] - TABLE_VD)[~zero_V]
    assert (error_VD <= scale_V[~zero_V, None] * (0.5 + 1e-5)).all()  # 1e-5: 127 float32 roundings of the quotient


def test_an_embedding_of_reduced_tables_is_near_that_of_the_full_ones(schema, batch):
    random = np.random.default_rng(0)
    tables = {t.name: jnp.asarray(random.normal(size=(t.size, t.dim)), jnp.float32) for t in schema.tables}
    full = embed(schema, tables, batch)
    for precision, bound in (("float16", 2.0**-11), ("int8", 0.5 / 127)):
        reduced = reduced_tables(tables, precision)
        largest = max(float(jnp.abs(table).max()) for table in tables.values())
        near = embed(schema, reduced, batch)
        assert all(isinstance(table, ScaledRows) == (precision == "int8") for table in reduced.values())
        for name in ("history_BTE", "candidate_BKE", "user_BU", "context_BKC", "negative_BTE"):
            np.testing.assert_allclose(getattr(near, name), getattr(full, name), atol=1.001 * bound * largest)
            assert not np.array_equal(getattr(near, name), getattr(full, name))
        assert bytes_of(reduced) < bytes_of(tables)


@pytest.mark.parametrize("precision", ["float16", "int8"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite(precision, bad):
    tables = TABLES | {"city": TABLES["item"].at[3, 2].set(bad)}
    with pytest.raises(ValueError, match=f"table 'city' has {bad} in row 3; expected finite numbers: export another"):
        reduced_tables(tables, precision)


def test_the_range_of_float16():
    fits, too_large = (TABLES["item"].at[3, 2].set(x) for x in (-65519.0, -65520.0))
    assert reduced_tables({"item": fits}, "float16")["item"][3, 2] == -65504
    with pytest.raises(ValueError, match="table 'item' has 65520 in row 3; float16 ends at 65504: choose float32 or"):
        reduced_tables({"item": too_large}, "float16")
    assert reduced_tables({"item": too_large}, "int8")["item"].value_VD[3, 2] == -127
