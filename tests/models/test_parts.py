"""Sums and draws over a batch that devices share; where nothing is shared they change nothing.

Several devices are in tests/training/test_divided.py: here a mesh has one, whose part is the whole.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, PartitionSpec

from dienjax.models.layers import Dropout
from dienjax.models.parts import bernoulli, from_row, sum_of_parts

KEY = jax.random.key(0)


def on_a_mesh(function):
    mesh = Mesh(np.array(jax.devices()[:1]), ("batch",))
    rows = PartitionSpec("batch")
    return jax.shard_map(function, mesh=mesh, in_specs=rows, out_specs=rows, check_vma=False)


def test_a_whole_batch_is_its_own_sum():
    x = jnp.arange(3.0)
    assert sum_of_parts(x) is x
    np.testing.assert_array_equal(on_a_mesh(sum_of_parts)(x), x)


def test_a_row_draws_the_same_wherever_it_is_seen():
    whole = bernoulli(KEY, 0.3, (6, 50))
    np.testing.assert_array_equal(on_a_mesh(lambda x: bernoulli(KEY, 0.3, x.shape))(jnp.zeros((6, 50))), whole)
    with from_row(jnp.asarray(4), 6):
        np.testing.assert_array_equal(bernoulli(KEY, 0.3, (2, 50)), whole[4:])
    assert 0.2 < whole.mean() < 0.4 and len(np.unique(whole, axis=0)) == 6


def test_dropout_keeps_the_mean():
    x = jnp.ones((500, 40))
    dropped = Dropout(0.4).apply({}, x, True, rngs={"dropout": KEY})
    assert set(np.unique(dropped)) == {0.0, np.float32(1 / 0.6)}
    assert dropped.mean() == pytest.approx(1, abs=0.02)
    for share, train in ((0.4, False), (0.0, True)):
        np.testing.assert_array_equal(partial(Dropout(share).apply, {})(x, train), x)
