"""Sums and draws over a batch that devices share; where nothing is shared they change nothing.

Several devices are in tests/training/test_divided.py: here a mesh has one, whose part is the whole.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.sharding import Mesh, PartitionSpec

from dienjax.models.layers import Dropout
from dienjax.models.parts import bernoulli, sum_of_parts

KEY = jax.random.key(0)


def on_a_mesh(function):
    mesh = Mesh(np.array(jax.devices()[:1]), ("batch",))
    rows = PartitionSpec("batch")
    return jax.shard_map(function, mesh=mesh, in_specs=rows, out_specs=rows, check_vma=False)


def test_a_whole_batch_is_its_own_sum():
    x = jnp.arange(3.0)
    assert sum_of_parts(x) is x
    np.testing.assert_array_equal(on_a_mesh(sum_of_parts)(x), x)


def test_draws_are_those_of_jax():
    drawn = bernoulli(KEY, 0.3, (4, 5))
    np.testing.assert_array_equal(drawn, jax.random.bernoulli(KEY, 0.3, (4, 5)))
    np.testing.assert_array_equal(on_a_mesh(lambda x: bernoulli(KEY, 0.3, x.shape))(jnp.zeros((4, 5))), drawn)


def test_dropout_is_that_of_flax():
    x = jnp.arange(12.0).reshape(3, 4) + 1

    class Both(nn.Module):
        ours: bool

        @nn.compact
        def __call__(self, x):
            if self.ours:
                return Dropout(0.4, name="dropout")(x, True)
            return nn.Dropout(0.4, deterministic=False, name="dropout")(x)

    ours, flax = (Both(which).apply({}, x, rngs={"dropout": KEY}) for which in (True, False))
    np.testing.assert_array_equal(ours, flax)
    assert (ours == 0).any() and (ours != 0).any()
    for share, train in ((0.4, False), (0.0, True)):
        np.testing.assert_array_equal(partial(Dropout(share).apply, {})(x, train), x)
