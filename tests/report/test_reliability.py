"""Bins hold equally many rows, and what is said of them is counted."""

import numpy as np
import pytest
from measured_runs import awkward_store, made_up

from dienjax.report.bootstrap import Bootstrap
from dienjax.report.reliability import equal_counts, reliability


def test_equal_counts():
    value = np.random.default_rng(0).permutation(100) / 7
    bin_M = equal_counts(value)
    assert np.bincount(bin_M).tolist() == [10] * 10
    assert (np.diff(bin_M[np.argsort(value)]) >= 0).all()
    ties = np.repeat([0.1, 0.2, 0.3], [80, 15, 5])
    assert {tuple(np.unique(ties[equal_counts(ties) == g])) for g in range(2)} == {(0.1,), (0.2, 0.3)}
    assert equal_counts(np.array([0.5])).tolist() == [0]


def test_bins_are_counted(tmp_path):
    pytest.importorskip("altair")
    scored = made_up(awkward_store(tmp_path / "store"), tmp_path / "run")
    bins = reliability({"run": scored}, Bootstrap.of(scored.user_M, 50)).numbers["run"]
    bin_M = equal_counts(scored.prediction_M)
    assert sum(row["rows"] for row in bins) == len(bin_M)
    for g, row in enumerate(bins):
        assert row["predicted"] == pytest.approx(scored.prediction_M[bin_M == g].mean())
        assert row["observed"].value == pytest.approx(scored.label_M[bin_M == g].mean())
        assert row["observed"].low <= row["observed"].value <= row["observed"].high
