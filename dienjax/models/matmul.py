"""Matrix products whose gradients transpose no large array in memory, as the gradients that JAX derives would."""

import jax
import jax.numpy as jnp


@jax.custom_vjp
def by_row(x: jax.Array, kernel_FG: jax.Array) -> jax.Array:
    """x·kernel along the last axis: [..., F] -> [..., G]."""
    return jnp.tensordot(x, kernel_FG, 1)


@jax.custom_vjp
def by_column(kernel_FG: jax.Array, x: jax.Array) -> jax.Array:
    """kernelᵀ·x along the first axis: [F, ...] -> [G, ...]."""
    return jnp.tensordot(kernel_FG.T, x, 1)


def _by_row_backward(saved: tuple[jax.Array, jax.Array], grad: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, kernel_FG = saved
    x_NF, grad_NG = x.reshape(-1, x.shape[-1]), grad.reshape(-1, grad.shape[-1])
    return (grad_NG @ kernel_FG.T).reshape(x.shape), jnp.einsum("nf,ng->fg", x_NF, grad_NG)


def _by_column_backward(saved: tuple[jax.Array, jax.Array], grad: jax.Array) -> tuple[jax.Array, jax.Array]:
    kernel_FG, x = saved
    x_FN, grad_GN = x.reshape(x.shape[0], -1), grad.reshape(grad.shape[0], -1)
    return jnp.einsum("fn,gn->fg", x_FN, grad_GN), (kernel_FG @ grad_GN).reshape(x.shape)


by_row.defvjp(lambda x, kernel_FG: (by_row(x, kernel_FG), (x, kernel_FG)), _by_row_backward)
by_column.defvjp(lambda kernel_FG, x: (by_column(kernel_FG, x), (kernel_FG, x)), _by_column_backward)
