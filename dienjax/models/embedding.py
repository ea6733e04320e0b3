"""Embedding: the tables, the look-up of a batch's ids in them, and rows that take less memory than float32."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import struct

from dienjax.batch import Array, Batch
from dienjax.schema import PADDING, UNKNOWN, Dense, Field, Pool, Scale, Schema, Side


@struct.dataclass
class ScaledRows:
    """A table of whole numbers, int8 [V, D], with one scale for each row, float32 [V]."""

    value_VD: jax.Array
    scale_V: jax.Array

    @property
    def shape(self) -> tuple[int, ...]:
        return self.value_VD.shape


Tables = Mapping[str, jax.Array | ScaledRows]
"""[V, D] by table name."""


@struct.dataclass
class Embedded:
    """A batch after the tables: all that a net sees. E is the width of all behaviours side by side.

    Of a schema with channels, `channel_BT` has the number of each event's.
    """

    history_BTE: jax.Array
    candidate_BKE: jax.Array
    user_BU: jax.Array
    context_BKC: jax.Array
    mask_BT: jax.Array
    mask_BK: jax.Array
    negative_BTE: jax.Array | None = None
    channel_BT: jax.Array | None = None


def embed(schema: Schema, tables: Tables, batch: Batch) -> Embedded:
    """Look every field of a batch up in its table; fields of one table share its rows."""
    return Embedded(
        history_BTE=events(schema, tables, batch.history),
        candidate_BKE=events(schema, tables, batch.candidate),
        user_BU=features(schema, tables, "user", batch.user, batch.mask_BK.shape[:1]),
        context_BKC=features(schema, tables, "candidate", batch.candidate, batch.mask_BK.shape),
        mask_BT=batch.mask_BT,
        mask_BK=batch.mask_BK,
        negative_BTE=None if batch.negative is None else events(schema, tables, batch.negative),
        channel_BT=batch.channel_BT,
    )


def events(schema: Schema, tables: Tables, arrays: Mapping[str, Array]) -> jax.Array:
    """The vectors of events [..., E], their fields side by side, from the ids and numbers [...] of each field."""
    return jnp.concatenate([vectors(tables, f, arrays[f.name]) for f in schema.event_fields], axis=-1)


def features(
    schema: Schema, tables: Tables, of: Side, arrays: Mapping[str, Array], shape: tuple[Any, ...]
) -> jax.Array:
    """The sparse and dense features of one side, side by side, [*shape, F]; F = 0 where there are none."""
    parts = [vectors(tables, f, arrays[f.name]) for f in schema.side(of)]
    return jnp.concatenate(parts, axis=-1) if parts else jnp.zeros((*shape, 0))


def vectors(tables: Tables, field: Field, array: Array) -> jax.Array:
    """What a model sees of a field, [..., D]: the row of an id, the pooled rows of a set, or a number."""
    if isinstance(field, Dense):
        return number(array, field.scale)
    rows = look_up(tables[field.table], array)
    return pooled(rows, array != PADDING, field.pool) if field.most else rows


def number(array: Array, scale: Scale | None) -> jax.Array:
    """A number as it is, [..., 1]; with a scale the scaled number, 0 if it is missing, and whether it is, [..., 2]."""
    if scale is None:
        return array[..., None]
    missing = jnp.isnan(array)
    known = jnp.where(missing, 0, array)  # so that no NaN reaches a gradient
    known = jnp.log1p(jnp.maximum(known, 0)) if scale.log else known
    return jnp.stack([jnp.where(missing, 0, (known - scale.mean) / scale.std), missing.astype(known.dtype)], axis=-1)


def pooled(rows: jax.Array, mask: Array, pool: Pool) -> jax.Array:
    """The mean, sum or maximum [..., D] of rows [..., M, D] where the mask [..., M] is True; 0 where it never is."""
    mask = mask[..., None]
    if pool == "max":
        most = jnp.max(jnp.where(mask, rows, jnp.finfo(rows.dtype).min), axis=-2)
        return jnp.where(mask.any(axis=-2), most, 0)
    total = jnp.sum(jnp.where(mask, rows, 0), axis=-2)
    return total if pool == "sum" else total / jnp.maximum(mask.sum(axis=-2), 1)


def look_up(table: jax.Array | ScaledRows, ids: Array) -> jax.Array:
    """The rows [..., D] of ids [...], in float32 at least.

    An id outside the table counts as unknown (id 1), under jit as in an exported graph.
    """
    in_range = (ids >= 0) & (ids < table.shape[0])
    known = jnp.where(in_range, ids, UNKNOWN)
    if isinstance(table, ScaledRows):
        return _rows(table.value_VD, known) * _rows(table.scale_V, known)[..., None]
    return _rows(table, known)


def _rows(table: jax.Array, ids: jax.Array) -> jax.Array:
    return jnp.take(table, ids, axis=0, mode="clip").astype(jnp.promote_types(table.dtype, jnp.float32))


Initial = Callable[[jax.Array, tuple[int, int]], jax.Array]
"""(key, (V, D)) -> the first values of a table."""


class FeatureEmbedder(nn.Module):
    """The tables of a schema, and the look-up of a batch in them."""

    schema: Schema

    @nn.compact
    def __call__(self, batch: Batch, initial: Initial | None = None) -> Embedded:
        """`initial` draws the first values of each table, in place of `initial_rows`."""
        tables = {t.name: self.param(t.name, initial or initial_rows, (t.size, t.dim)) for t in self.schema.tables}
        return embed(self.schema, tables, batch)


BLOCK = 2**16
"""Rows of a table that are drawn at once: a large one drawn as a whole takes four times its memory meanwhile."""


def initial_rows(key: jax.Array, shape: tuple[int, int]) -> jax.Array:
    """The first values of a table [V, D]: N(0, 1/√D), and 0 for unknown, which is no value in particular."""
    return _drawn(_keys(key, shape[0]), shape)[: shape[0]].at[UNKNOWN].set(0)


def initial_part(key: jax.Array, shape: tuple[int, int], start: jax.Array, count: int) -> jax.Array:
    """The rows start to start + count of `initial_rows`, drawn alone; those from V on are 0."""
    V, height = shape[0], min(shape[0], BLOCK)
    key_N, first = _keys(key, V), start // height
    some = key_N[jnp.minimum(first + jnp.arange(-(-count // height) + 1), len(key_N) - 1)]
    part = jax.lax.dynamic_slice_in_dim(_drawn(some, shape), start - first * height, count)
    row = start + jnp.arange(count)
    return jnp.where(((row < V) & (row != UNKNOWN))[:, None], part, 0)


def _keys(key: jax.Array, V: int) -> jax.Array:
    """A key for each block of a table of V rows."""
    return jax.random.split(key, -(-V // BLOCK)) if V > BLOCK else key[None]


def _drawn(key_N: jax.Array, shape: tuple[int, int]) -> jax.Array:
    """The rows of the blocks with these keys."""
    V, D = shape
    blocks = jax.lax.map(lambda key: jax.random.normal(key, (min(V, BLOCK), D)) * D**-0.5, key_N)
    return blocks.reshape(-1, D)
