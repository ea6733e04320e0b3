"""Matrix products whose gradients transpose no large array in memory, as the gradients that JAX derives would.

Their derivatives are products of arrays of two axes, which XLA multiplies as they lie. Of these JAX derives the rest:
forward and reverse mode, and higher derivatives.
"""

import math
from collections.abc import Callable
from functools import partial, reduce
from itertools import starmap

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

Product = Callable[[jax.Array, jax.Array], jax.Array]
Pair = tuple[jax.Array, jax.Array]


@jax.custom_jvp
def by_row(x: jax.Array, kernel_FG: jax.Array) -> jax.Array:
    """x·kernel along the last axis: [..., F] -> [..., G]."""
    return jnp.tensordot(x, kernel_FG, 1)


@jax.custom_jvp
def by_column(kernel_FG: jax.Array, x: jax.Array) -> jax.Array:
    """kernelᵀ·x along the first axis: [F, ...] -> [G, ...]."""
    return jnp.tensordot(kernel_FG.T, x, 1)


def _flat_by_row(x: jax.Array, kernel_FG: jax.Array) -> jax.Array:
    """-> [N, G]."""
    return x.reshape(math.prod(x.shape[:-1]), x.shape[-1]) @ kernel_FG


def _flat_by_column(kernel_FG: jax.Array, x: jax.Array) -> jax.Array:
    """-> [G, N]."""
    return kernel_FG.T @ x.reshape(x.shape[0], math.prod(x.shape[1:]))


def _derivative(product: Product, flat: Product, primals: Pair, tangents: Pair) -> Pair:
    """a·b and da·b + a·db, without the term of a tangent that is known to be 0."""
    (a, b), (da, db) = primals, tangents
    terms = starmap(flat, [pair for pair in ((da, b), (a, db)) if not any(isinstance(x, SymbolicZero) for x in pair)])
    out = product(a, b)
    return out, reduce(jnp.add, terms).reshape(out.shape)


by_row.defjvp(partial(_derivative, by_row, _flat_by_row), symbolic_zeros=True)
by_column.defjvp(partial(_derivative, by_column, _flat_by_column), symbolic_zeros=True)
