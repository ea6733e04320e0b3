"""The scale and the edges of numbers, against NumPy."""

import numpy as np
import pytest

from dienjax.inputs.ids import between
from dienjax.preparation import numbers
from dienjax.preparation.numbers import Numbers
from dienjax.preparation.on_disk import write_columns
from dienjax.schema import Scale


def drawn(seed, missing=0.2):
    rng = np.random.default_rng(seed)
    number_R = np.float32(rng.normal(3, 2, 1000)).round(int(seed % 3))
    number_R[rng.random(1000) < missing] = np.nan
    return number_R


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("rows", [7, 1 << 20])
def test_the_scale_is_that_of_the_numbers_that_are_there(log, rows, tmp_path, monkeypatch):
    monkeypatch.setattr(numbers, "ROWS", rows)
    for seed in range(5):
        (column,) = write_columns([tmp_path / "c"], [[drawn(seed)]])
        known = drawn(seed).astype(np.float64)
        known = known[~np.isnan(known)]
        known = np.log1p(np.maximum(known, 0)) if log else known
        scale = Numbers(column).scale(log)
        assert (scale.mean, scale.std) == (pytest.approx(known.mean()), pytest.approx(known.std()))
        assert scale.log == log and scale == Numbers(drawn(seed)).scale(log)


@pytest.mark.parametrize("value", [0.1, -7, 0, 3e38, 1e-42])
def test_a_constant_divides_by_one(value):
    column = np.full(100_003, value, np.float32)
    column[::5] = np.nan
    assert Numbers(column).is_constant
    assert Numbers(column).scale(False).std == Numbers(column).scale(True).std == 1
    assert Numbers(column).scale(False).mean == pytest.approx(float(np.float32(value)))
    assert Numbers(column).edges(4) == (float(np.float32(value)),)


def test_no_numbers_at_all():
    for column in (np.zeros(0, np.float32), np.full(9, np.nan, np.float32)):
        assert Numbers(column).scale(False) == Scale(0, 1) and Numbers(column).edges(10) == (0.0,)
        assert not Numbers(column).is_constant


def test_numbers_whose_logarithms_are_all_the_same():
    assert Numbers(np.float32([-3, -2, 0])).scale(True) == Scale(0, 1, True)


@pytest.mark.parametrize("buckets", [2, 3, 10, 500])
def test_buckets_are_equally_full_but_for_ties(buckets, monkeypatch):
    monkeypatch.setattr(numbers, "ROWS", 300)
    for seed in range(3):
        known = np.sort(drawn(seed)[~np.isnan(drawn(seed))]).astype(np.float64)
        expected = {known[n * len(known) // buckets] for n in range(1, buckets)}
        edges = Numbers(drawn(seed)).edges(buckets)
        assert list(edges) == sorted(expected) and len(edges) < buckets
        count = np.bincount(between(known, edges) - 2, minlength=len(edges) + 1)
        ties = np.unique(known, return_counts=True)[1].max()
        assert count.sum() == len(known) and count.max() <= len(known) / buckets + ties + 1
