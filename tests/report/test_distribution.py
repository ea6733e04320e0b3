"""Histograms count every row once."""

from itertools import pairwise

import numpy as np
import pytest
from measured_runs import awkward_store, made_up

from dienjax.report.distribution import common_edges, counts, distribution


def test_every_row_is_counted_by_its_label(tmp_path):
    pytest.importorskip("altair")
    scored = made_up(awkward_store(tmp_path / "store"), tmp_path / "run")
    section = distribution({"run": scored})
    found = section.numbers["counts"]["run"]
    assert sum(found["positive"]) == scored.label_M.sum()
    assert sum(found["negative"]) == len(scored.label_M) - scored.label_M.sum()
    edges = np.array(section.numbers["edges"])
    mine = scored.logit_M[scored.label_M == 1].astype(float)
    inner = [int(((mine >= low) & (mine < high)).sum()) for low, high in pairwise(edges[1:-1])]
    assert found["positive"][1:-1] == inner


def test_outliers_are_in_the_outermost_bins():
    value = np.append(np.random.default_rng(0).normal(size=10_000), [-1e6, 1e6])
    edges = common_edges([value, value[:5000]])
    assert -5 < edges[0] < edges[-1] < 5
    assert counts(value, edges).sum() == len(value)
    same = common_edges([np.ones(3)])
    assert counts(np.ones(3), same).tolist()[0] == 3
