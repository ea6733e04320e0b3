"""The gradient of a batch as the sum over microbatches of its histories, each small enough to stay in a CPU's cache.

The tables are read before, and their gradients written after, for the whole batch at once; each microbatch adds its
part of the losses, whose denominators are counts of the whole batch, so that the sum is the gradient of the batch.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.extend.core import jaxpr_as_fun

from dienjax.models.parts import from_row

CACHED, SMALL, LEAST = 4096, 64, 32
"""The most pairs of a candidate and a history slot in a microbatch; twice as many where these are fewer histories than
the second, and any number where they are fewer than the third."""


def in_parts(model: nn.Module, batch_stats: Any) -> bool:
    """Whether the rows of a batch may be seen in parts.

    They may unless the model has statistics of batches, or an attribute `whole_batch` that is true.
    """
    return not (batch_stats or getattr(model, "whole_batch", False))


def microbatches(B: int, T: int, K: int) -> int:
    """Into how many microbatches B histories of T slots with K candidates are best divided on a CPU."""
    sizes = [size for size in range(LEAST, B + 1) if B % size == 0]
    small = [size for size in sizes if size * T * K <= CACHED and size >= SMALL]
    small = small or [size for size in sizes if size * T * K <= 2 * CACHED]
    return B // max(small, default=min(sizes, default=B))


def accumulated(
    gradient: Callable[[Any, Any], tuple[Any, Any]], count: int, vectors: Any, others: Any, first: Any = 0
) -> tuple[Any, Any]:
    """What `gradient(vectors, others) -> (summed, stacked)` returns, from `count` microbatches of its arrays [B, ...].

    Of what is summed the microbatches' are added up; what is stacked, [B, ...], is joined. `first` is the number of
    their first row.
    """
    B = jax.tree.leaves(vectors)[0].shape[0]
    if count == 1:
        with from_row(first, B):
            return gradient(vectors, others)

    def fold(x: jax.Array) -> jax.Array:
        return x.reshape(count, B // count, *x.shape[1:])

    parts = first + jnp.arange(0, B, B // count), *jax.tree.map(fold, (vectors, others))

    def one(start: Any, vectors: Any, others: Any) -> tuple[Any, Any]:
        with from_row(start, B):
            return gradient(vectors, others)

    # Traced once, for the shapes of the sums and for the loop: a second trace costs half a second.
    traced, shapes = jax.make_jaxpr(one, return_shape=True)(*jax.tree.map(lambda x: x[0], parts))

    def body(total: Any, part: Any) -> tuple[Any, Any]:
        leaves = jaxpr_as_fun(traced)(*jax.tree.leaves(part))
        summed, stacked = jax.tree.unflatten(jax.tree.structure(shapes), leaves)
        return jax.tree.map(jnp.add, total, summed), stacked

    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes[0])
    summed, stacked = jax.lax.scan(body, zeros, parts)
    return summed, jax.tree.map(lambda x: x.reshape(B, *x.shape[2:]), stacked)
