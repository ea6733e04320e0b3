"""Matrix products in float32 or bfloat16, whose gradients transpose no large array in memory, as JAX's own would.

The derivatives of `by_row` and `by_column` are products of arrays of two axes, which XLA multiplies as they lie. Of
these JAX derives the rest: forward and reverse mode, and higher derivatives.

In bfloat16 the two factors of a product are rounded, and its sum and result are float32: in a gradient too, where the
cotangent is a factor. Rounding counts as linear, with itself as its transpose: so a derivative rounds its result, not
the tangent, and what JAX derives from that rounds the cotangent, not the gradient.
"""

import math
from collections.abc import Callable
from functools import partial, reduce
from typing import Literal

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

Dtype = Literal["float32", "bfloat16"]
"""What the factors of matrix products are rounded to; float32 leaves them, and float64, as they are."""

Product = Callable[[jax.Array, jax.Array, Dtype], jax.Array]
Pair = tuple[jax.Array, jax.Array]


def rounded(x: jax.Array, dtype: Dtype) -> jax.Array:
    """x as a factor of a product in `dtype`; rounded numbers are still float32. Accelerators round as they multiply."""
    if dtype == "float32":
        return x
    to_bfloat16 = partial(jax.lax.reduce_precision, exponent_bits=8, mantissa_bits=7)
    return jax.lax.platform_dependent(x, cpu=to_bfloat16, default=lambda x: x)


def multiply(product: Callable[..., jax.Array], a: jax.Array, b: jax.Array, dtype: Dtype) -> jax.Array:
    """`product`, one of JAX's, of factors that are `rounded` already."""
    if dtype == "float32":
        return product(a, b)
    product = partial(product, preferred_element_type=jnp.float32)
    by_unit = partial(product, precision=jax.lax.DotAlgorithmPreset.BF16_BF16_F32)
    # On a CPU the algorithm rounds nothing where XLA knows it, and is an error in small products.
    return jax.lax.platform_dependent(a, b, cpu=product, default=by_unit)


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
    return jnp.einsum(equation, a, b) if dtype == "float32" else _rounded_einsum(equation, a, b, dtype)


@partial(jax.custom_jvp, nondiff_argnums=(0, 3))
def _rounded_einsum(equation: str, a: jax.Array, b: jax.Array, dtype: Dtype) -> jax.Array:
    return _bare_einsum(equation, rounded(a, dtype), rounded(b, dtype), dtype)


def _bare_einsum(equation: str, a: jax.Array, b: jax.Array, dtype: Dtype) -> jax.Array:
    return multiply(partial(jnp.einsum, equation), a, b, dtype)


def _flat_by_row(x: jax.Array, kernel_FG: jax.Array, dtype: Dtype) -> jax.Array:
    """-> [N, G]."""
    return multiply(jnp.matmul, x.reshape(math.prod(x.shape[:-1]), x.shape[-1]), kernel_FG, dtype)


def _flat_by_column(kernel_FG: jax.Array, x: jax.Array, dtype: Dtype) -> jax.Array:
    """-> [G, N]."""
    return multiply(jnp.matmul, kernel_FG.T, x.reshape(x.shape[0], math.prod(x.shape[1:])), dtype)


def _derivative(product: Product, bare: Product, dtype: Dtype, primals: Pair, tangents: Pair) -> Pair:
    """a·b and da·b + a·db, without the term of a tangent that is known to be 0; `bare` does not round its factors."""
    (a, b), (da, db) = primals, tangents
    out = product(a, b, dtype)
    pairs = (da, rounded(b, dtype)), (rounded(a, dtype), db)
    terms = [bare(*pair, dtype) for pair in pairs if not any(isinstance(x, SymbolicZero) for x in pair)]
    return out, rounded(reduce(jnp.add, terms), dtype).reshape(out.shape)


by_row.defjvp(partial(_derivative, by_row, _flat_by_row), symbolic_zeros=True)
by_column.defjvp(partial(_derivative, by_column, _flat_by_column), symbolic_zeros=True)


@partial(_rounded_einsum.defjvp, symbolic_zeros=True)
def _einsum_derivative(equation: str, dtype: Dtype, primals: Pair, tangents: Pair) -> Pair:
    both = partial(_rounded_einsum, equation), partial(_bare_einsum, equation)
    return _derivative(*both, dtype, primals, tangents)
