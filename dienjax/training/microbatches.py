"""The gradient of a batch as the sum over microbatches of its histories, each small enough to stay in a CPU's cache.

The tables are read before, and their gradients written after, for the whole batch at once; each microbatch adds its
part of the losses, whose denominators are counts of the whole batch, so that the sum is the gradient of the batch.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from dienjax.models.parts import from_row

CACHED, LEAST = 4096, 64
"""The most pairs of a candidate and a history slot in a microbatch, unless these are fewer histories than the least."""


def in_parts(model: nn.Module, batch_stats: Any) -> bool:
    """Whether the rows of a batch may be seen in parts.

    They may unless the model has statistics of batches, or an attribute `whole_batch` that is true.
    """
    return not (batch_stats or getattr(model, "whole_batch", False))


def microbatches(B: int, T: int, K: int) -> int:
    """Into how many microbatches B histories of T slots with K candidates are best divided on a CPU."""
    sizes = [size for size in range(LEAST, B + 1) if B % size == 0]
    small = [size for size in sizes if size * T * K <= CACHED]
    return B // (max(small) if small else min(sizes, default=B))


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

    def body(total: Any, part: Any) -> tuple[Any, Any]:
        start, vectors, others = part
        with from_row(start, B):
            summed, stacked = gradient(vectors, others)
        return jax.tree.map(jnp.add, total, summed), stacked

    parts = first + jnp.arange(0, B, B // count), *jax.tree.map(fold, (vectors, others))
    shapes, _ = jax.eval_shape(gradient, *jax.tree.map(lambda x: x[0], parts[1:]))
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    summed, stacked = jax.lax.scan(body, zeros, parts)
    return summed, jax.tree.map(lambda x: x.reshape(B, *x.shape[2:]), stacked)
