"""Thinned curves keep the shape of the whole ones."""

from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.metrics import auc, roc_auc_score

from dienjax.report.ranking import POINTS, precision_recall, roc, thinned

RNG = np.random.default_rng(0)
LABEL = (RNG.random(20_000) < 0.05).astype(np.float32)
SCORED = SimpleNamespace(label_M=LABEL, logit_M=RNG.normal(size=20_000) + 1.5 * LABEL)


def test_roc_goes_from_nothing_to_everything_and_has_the_area_of_the_auc():
    x, y = roc(SCORED)
    thin_x, thin_y = thinned((x, y))
    assert (thin_x[0], thin_y[0], thin_x[-1], thin_y[-1]) == (0, 0, 1, 1)
    assert len(thin_x) <= POINTS < len(x)
    assert auc(thin_x, thin_y) == pytest.approx(roc_auc_score(LABEL, SCORED.logit_M), abs=1e-3)


@pytest.mark.parametrize("curve", [roc, precision_recall])
def test_no_point_is_far_from_the_thinned_curve(curve):
    x, y = curve(SCORED)
    assert (np.diff(x) >= 0).all()
    thin_x, thin_y = thinned((x, y))
    length = np.sum(np.abs(np.diff(x)) + np.abs(np.diff(y)))
    nearest = np.min(np.abs(x[:, None] - thin_x) + np.abs(y[:, None] - thin_y), axis=1)
    assert nearest.max() <= length / (POINTS - 1) + 1e-9 < 0.06


def test_short_curves_are_left_as_they_are():
    x = y = np.linspace(0, 1, POINTS)
    assert thinned((x, y)) == (x, y)
    flat = np.zeros(1000)
    assert len(thinned((flat, flat))[0]) == 1
