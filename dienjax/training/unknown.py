"""Ids that a training step hides as unknown, so that the embedding of id 1 is trained to stand for any other value.

Otherwise that embedding would never be trained if every value of the training rows is known, and a value first met
after training would get an arbitrary vector. As is usual for the out-of-vocabulary rows of CTR systems, a small share
of the values is hidden, here by a hash of (step, table, id): within a step a value is hidden in histories, candidates
and negatives alike, whatever the batch, the rows in memory or the number of devices.
"""

from collections.abc import Mapping
from dataclasses import replace

import jax
import jax.numpy as jnp

from dienjax.batch import Array, Batch
from dienjax.schema import FIRST_ID, UNKNOWN, Schema


def hide(batch: Batch, schema: Schema, share: float, key: jax.Array, row_R: Mapping[str, Array] | None = None) -> Batch:
    """The batch with id 1 in place of a share of the real values, chosen by `key` for each table.

    Args:
      row_R: by table name, the ids that the batch's positions stand for; position 1 is then id 1. None: they are ids.
    """
    if not share:
        return batch
    salts = dict(zip([t.name for t in schema.tables], jax.random.bits(key, (len(schema.tables),)), strict=True))
    table_of = {field.name: field.table for field in schema.id_fields}
    limit = jnp.uint32(min(round(share * 2**32), 2**32 - 1))

    def hidden(arrays: Mapping[str, Array]) -> dict[str, Array]:
        return {name: ids if name not in table_of else without(table_of[name], ids) for name, ids in arrays.items()}

    def without(table: str, position: Array) -> jax.Array:
        ids = position if row_R is None else jnp.take(row_R[table], position, mode="clip")
        return jnp.where((ids >= FIRST_ID) & (mixed(ids.astype(jnp.uint32) ^ salts[table]) < limit), UNKNOWN, position)

    return replace(
        batch,
        user=hidden(batch.user),
        history=hidden(batch.history),
        candidate=hidden(batch.candidate),
        negative=None if batch.negative is None else hidden(batch.negative),
    )


def mixed(x: jax.Array) -> jax.Array:
    """The finaliser of MurmurHash3 (Appleby), on uint32."""
    x = (x ^ (x >> 16)) * jnp.uint32(0x85EBCA6B)
    x = (x ^ (x >> 13)) * jnp.uint32(0xC2B2AE35)
    return x ^ (x >> 16)
