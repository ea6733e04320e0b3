"""A scale gives probabilities that add up to the positives it was fitted on, and keeps the order."""

import numpy as np
import pytest

from dienjax.training.calibration import fit_scale
from dienjax.training.metrics import auc, logloss

METHODS = ("platt", "isotonic")


def sample(N=20_000, seed=0):
    """True logits, many of them equal, and labels drawn from them."""
    rng = np.random.default_rng(seed)
    logit_N = rng.normal(-1, 1.5, N).round(2)
    return logit_N, (rng.random(N) < 1 / (1 + np.exp(-logit_N))).astype(np.float32)


def as_logit(probability):
    return np.log(probability) - np.log1p(-probability)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("slope", "intercept"), [(3, 0), (1e-4, 2), (1e4, -5e3)])
def test_a_wrong_scale_is_mended(method, slope, intercept):
    true_N, label_N = sample()
    logit_N = slope * true_N + intercept
    probability_N = fit_scale(method, logit_N, label_N)(logit_N)
    assert probability_N.sum() == pytest.approx(label_N.sum(), rel=1e-3)
    assert logloss(as_logit(probability_N), label_N) < logloss(true_N, label_N) + 1e-4 < logloss(logit_N, label_N)
    fresh_N, fresh_label_N = sample(seed=1)
    fresh = fit_scale(method, logit_N, label_N)(slope * fresh_N + intercept)
    assert logloss(as_logit(fresh), fresh_label_N) == pytest.approx(logloss(fresh_N, fresh_label_N), abs=2e-3)


def test_platt_is_two_numbers():
    true_N, label_N = sample(N=300_000)
    scale = fit_scale("platt", ((true_N + 2) / 0.3).astype(np.float32), label_N)
    low, high = as_logit(scale(np.array([0, 10], np.float32)))
    assert (high - low) / 10 == pytest.approx(0.3, abs=0.01) and low == pytest.approx(-2, abs=0.05)
    logit_N = np.random.default_rng(2).normal(0, 4, 100)
    np.testing.assert_allclose(as_logit(scale(logit_N)), low + (high - low) / 10 * logit_N, rtol=1e-6)
    assert auc(scale(true_N), label_N) == auc(true_N, label_N)


def test_isotonic_pools_what_is_out_of_order():
    logit_N, label_N = np.array([0, 1, 1, 2, 3, 3, 4.0]), np.array([0, 1, 1, 0, 1, 1, 1])
    scale = fit_scale("isotonic", logit_N, label_N)
    np.testing.assert_allclose(scale(np.arange(5)), [1 / 9, 2 / 3, 2 / 3, 8 / 9, 8 / 9])
    np.testing.assert_allclose(scale(np.array([-9, 0.5, 9])), [1 / 9, (1 / 9 + 2 / 3) / 2, 8 / 9])


@pytest.mark.parametrize("method", METHODS)
def test_samples_that_are_told_apart_stay_finite(method):
    logit_N = np.arange(10.0)
    probability_N = fit_scale(method, logit_N, logit_N > 4)(np.linspace(-50, 50, 9))
    assert np.isfinite(probability_N).all() and (np.diff(probability_N) >= 0).all()


@pytest.mark.parametrize(
    ("method", "logit_N", "label_N", "message"),
    [
        ("beta", [0, 1], [0, 1], "calibrate is 'beta'; expected 'platt' or 'isotonic'"),
        ("platt", [0, 1], [1, 1], r"the labels are \[1\.?0?\]; expected both 0 and 1"),
        ("isotonic", [0, 1], [0, 0.5], "expected both 0 and 1"),
        ("platt", [], [], r"the labels are \[\]"),
        ("platt", [0, np.nan], [0, 1], "1 logits are not finite"),
        ("platt", [0, 1, 2, 3], [1, 0, 1, 0], "positives have no higher logits"),
        ("platt", [2, 2, 2, 2], [1, 0, 1, 0], "positives have no higher logits"),
    ],
)
def test_what_cannot_be_fitted(method, logit_N, label_N, message):
    with pytest.raises(ValueError, match=message):
        fit_scale(method, np.array(logit_N, np.float32), np.array(label_N))
