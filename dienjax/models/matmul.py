"""Matrix products in float32 or bfloat16, whose gradients transpose no large array in memory, as JAX's own would.

The derivatives of `by_row` and `by_column` are products of arrays of two axes, which XLA multiplies as they lie. Of
these JAX derives the rest: forward and reverse mode, and higher derivatives.

In bfloat16 the two factors of a product are rounded, and its sum and result are float32: in a gradient too, where the
cotangent is a factor. Rounding counts as linear, with itself as its transpose: so a derivative rounds not the tangent
but its product, which is transposed to the rounding of the cotangent.
"""

import math
from collections.abc import Callable
from functools import partial, reduce
from itertools import starmap
from typing import Literal

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

Dtype = Literal["float32", "bfloat16"]
"""What the factors of matrix products are rounded to; float32 leaves them, and float64, as they are."""

Product = Callable[[jax.Array, jax.Array], jax.Array]
Pair = tuple[jax.Array, jax.Array]


def rounded(x: jax.Array, dtype: Dtype) -> jax.Array:
    """x as a factor of a product in `dtype`; rounded numbers are still float32."""
    return x if dtype == "float32" else jax.lax.reduce_precision(x, exponent_bits=8, mantissa_bits=7)


def multiply(product: Callable[..., jax.Array], a: jax.Array, b: jax.Array, dtype: Dtype) -> jax.Array:
    """`product`, one of JAX's, of two arrays that are `rounded` already, by the hardware's unit for that dtype."""
    if dtype == "float32":
        return product(a, b)
    product = partial(product, preferred_element_type=jnp.float32)
    by_unit = partial(product, precision=jax.lax.DotAlgorithmPreset.BF16_BF16_F32)
    return jax.lax.platform_dependent(a, b, cpu=product, default=by_unit)  # XLA refuses it for small ones on a CPU


@partial(jax.custom_jvp, nondiff_argnums=(2,))
def by_row(x: jax.Array, kernel_FG: jax.Array, dtype: Dtype = "float32") -> jax.Array:
    """x·kernel along the last axis: [..., F] -> [..., G]."""
    return multiply(partial(jnp.tensordot, axes=1), rounded(x, dtype), rounded(kernel_FG, dtype), dtype)


@partial(jax.custom_jvp, nondiff_argnums=(2,))
def by_column(kernel_FG: jax.Array, x: jax.Array, dtype: Dtype = "float32") -> jax.Array:
    """kernelᵀ·x along the first axis: [F, ...] -> [G, ...]."""
    return multiply(partial(jnp.tensordot, axes=1), rounded(kernel_FG, dtype).T, rounded(x, dtype), dtype)


def einsum(equation: str, a: jax.Array, b: jax.Array, dtype: Dtype = "float32") -> jax.Array:
    """`jnp.einsum` of two arrays."""
    return jnp.einsum(equation, a, b) if dtype == "float32" else _rounded_einsum(equation, a, b)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _rounded_einsum(equation: str, a: jax.Array, b: jax.Array) -> jax.Array:
    return _bare_einsum(equation, rounded(a, "bfloat16"), rounded(b, "bfloat16"))


def _bare_einsum(equation: str, a: jax.Array, b: jax.Array) -> jax.Array:
    return multiply(partial(jnp.einsum, equation), a, b, "bfloat16")


def _flat_by_row(x: jax.Array, kernel_FG: jax.Array, dtype: Dtype) -> jax.Array:
    """-> [N, G]."""
    return multiply(jnp.matmul, x.reshape(math.prod(x.shape[:-1]), x.shape[-1]), kernel_FG, dtype)


def _flat_by_column(kernel_FG: jax.Array, x: jax.Array, dtype: Dtype) -> jax.Array:
    """-> [G, N]."""
    return multiply(jnp.matmul, kernel_FG.T, x.reshape(x.shape[0], math.prod(x.shape[1:])), dtype)


def _derivative(product: Product, bare: Product, dtype: Dtype, primals: Pair, tangents: Pair) -> Pair:
    """a·b and da·b + a·db, without the term of a tangent that is known to be 0; `bare` does not round its factors."""
    (a, b), (da, db) = primals, tangents
    pairs = (da, rounded(b, dtype)), (rounded(a, dtype), db)
    terms = starmap(bare, [pair for pair in pairs if not any(isinstance(x, SymbolicZero) for x in pair)])
    out = product(a, b)
    return out, rounded(reduce(jnp.add, terms), dtype).reshape(out.shape)


@partial(by_row.defjvp, symbolic_zeros=True)
def _by_row_jvp(dtype: Dtype, primals: Pair, tangents: Pair) -> Pair:
    return _derivative(partial(by_row, dtype=dtype), partial(_flat_by_row, dtype=dtype), dtype, primals, tangents)


@partial(by_column.defjvp, symbolic_zeros=True)
def _by_column_jvp(dtype: Dtype, primals: Pair, tangents: Pair) -> Pair:
    return _derivative(partial(by_column, dtype=dtype), partial(_flat_by_column, dtype=dtype), dtype, primals, tangents)


@partial(_rounded_einsum.defjvp, symbolic_zeros=True)
def _einsum_jvp(equation: str, primals: Pair, tangents: Pair) -> Pair:
    both = partial(_rounded_einsum, equation), partial(_bare_einsum, equation)
    return _derivative(*both, "bfloat16", primals, tangents)
