"""The gradients of matrix products written out by hand, against those that JAX derives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dienjax.models.matmul import by_column, by_row


def plain_row(x, kernel):
    return jnp.einsum("...f,fg->...g", x, kernel)


def plain_column(kernel, x):
    return jnp.einsum("fg,f...->g...", kernel, x)


@pytest.mark.parametrize("axes", [(), (4,), (2, 5), (2, 1, 3), (0, 3)])
@pytest.mark.parametrize("side", ["row", "column"])
def test_values_and_gradients(side, axes):
    rng = np.random.default_rng(0)
    kernel = jnp.asarray(rng.normal(size=(3, 6)), jnp.float32)
    x = jnp.asarray(rng.normal(size=(*axes, 3) if side == "row" else (3, *axes)), jnp.float32)
    ours, plain = (by_row, plain_row) if side == "row" else (by_column, plain_column)
    arguments = (x, kernel) if side == "row" else (kernel, x)

    def loss(f):
        return lambda *given: jnp.sum(jnp.sin(f(*given)))

    np.testing.assert_allclose(ours(*arguments), plain(*arguments), atol=1e-5)
    got, expected = (jax.grad(loss(f), (0, 1))(*arguments) for f in (ours, plain))
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
