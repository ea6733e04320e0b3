"""A batch whose rows are divided: over devices, what a layer needs that looks at more than one row; or one by one.

Inside of `jax.shard_map` each device sees its part of the batch, and the mesh says so. Elsewhere a batch is whole, and
`sum_of_parts` changes nothing. In a divided step the loss is the sum of what each device computes, so that the gradient
of a sum over parts is a sum over parts. A part may be seen in microbatches, one after the other (`from_row`).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import jax
import jax.numpy as jnp

_seen: ContextVar[tuple[Any, int] | None] = ContextVar("seen", default=None)


def sum_of_parts(x: jax.Array) -> jax.Array:
    """The sum of x over the devices that share the batch."""
    axes = jax.sharding.get_abstract_mesh().manual_axes
    return jax.lax.psum(x, axes) if axes else x


@contextmanager
def from_row(first: jax.Array, count: int) -> Iterator[None]:
    """What is traced meanwhile sees rows from `first` on, of a part that has `count`."""
    token = _seen.set((first, count))
    try:
        yield
    finally:
        _seen.reset(token)


def bernoulli(key: jax.Array, p: float, shape: tuple[int, ...]) -> jax.Array:
    """True with probability p. What a row [...] draws depends on the key and on its number in the whole batch."""
    axes = jax.sharding.get_abstract_mesh().manual_axes
    first, count = _seen.get() or (0, shape[0])
    first += jax.lax.axis_index(axes) * count if axes else 0

    def row(number: jax.Array) -> jax.Array:
        return jax.random.bernoulli(jax.random.fold_in(key, number), p, shape[1:])

    return jax.vmap(row)(first + jnp.arange(shape[0]))
