"""Ids without a vocabulary: edges are half-open, hashes are stable and spread."""

import numpy as np
import pytest

from dienjax.inputs.ids import between, hashed

FROZEN = [475, 755, 45, 1, 812]


def test_between_edges():
    numbers = [[-np.inf, -1.0, 0.0], [0.5, 1.0, np.inf], [np.nan, 0.999, 7]]
    assert between(np.array(numbers), (0.0, 1.0)).tolist() == [[2, 2, 3], [3, 4, 4], [1, 3, 4]]
    assert between(np.array([3, -3], np.int64), (0.0,)).dtype == np.int32
    assert between(np.zeros(0), (0.0,)).shape == (0,)


def test_hashes_are_those_of_the_text():
    """Frozen: stores on disk carry them."""
    assert hashed(["a", "b", "", None, 4], 1002, 0).tolist() == FROZEN
    assert hashed([4, 4.0, np.int64(4), np.float32(4), "4"], 1002, 0).tolist() == FROZEN[4:] * 5
    assert len({*hashed([True, 1, np.True_], 1002, 0).tolist()}) == 1
    assert hashed(["a"], 1002, 1).tolist() != FROZEN[:1] and hashed([], 1002, 0).shape == (0,)


@pytest.mark.parametrize("size", [3, 10, 1_000_002])
def test_hashes_are_spread_over_the_real_ids(size):
    id_N = hashed(range(20_000), size, 5)
    assert id_N.min() >= 2 and id_N.max() < size
    count = np.bincount(id_N, minlength=size)[2:]
    assert count.max() - 20_000 / (size - 2) < 6 * max(1, np.sqrt(20_000 / (size - 2)))
