"""A batch whose rows are divided over devices: what a layer needs that looks at more than one row.

Inside of `jax.shard_map` each device sees its part of the batch, and the mesh says so. Elsewhere a batch is whole, and
these functions change nothing. In a divided step the loss is the sum of what each device computes, so that the gradient
of a sum over parts is a sum over parts.
"""

import math

import jax


def sum_of_parts(x: jax.Array) -> jax.Array:
    """The sum of x over the devices that share the batch."""
    axes = jax.sharding.get_abstract_mesh().manual_axes
    return jax.lax.psum(x, axes) if axes else x


def bernoulli(key: jax.Array, p: float, shape: tuple[int, ...]) -> jax.Array:
    """True with probability p: of what one device would draw for the whole batch, the rows [B, ...] of this part."""
    mesh = jax.sharding.get_abstract_mesh()
    if not mesh.manual_axes:
        return jax.random.bernoulli(key, p, shape)
    B, parts = shape[0], math.prod(mesh.shape[axis] for axis in mesh.manual_axes)
    whole = jax.random.bernoulli(key, p, (B * parts, *shape[1:]))
    return jax.lax.dynamic_slice_in_dim(whole, jax.lax.axis_index(mesh.manual_axes) * B, B)
