"""Calibration of logits to probabilities, fitted on logits and labels that training did not see."""

from collections.abc import Callable
from typing import Literal

import numpy as np

Method = Literal["platt", "isotonic"]

Scale = Callable[[np.ndarray], np.ndarray]
"""Logits [N] to probabilities [N], float64."""


def fit_scale(method: Method, logit_N: np.ndarray, label_N: np.ndarray) -> Scale:
    """The scale that `method` fits: `platt` or `isotonic`.

    Raises:
      ValueError: an unknown method, labels of one class or other than 0 and 1, logits that are not finite, or (platt)
        positives whose logits are not higher than those of negatives.
    """
    fits = {"platt": platt, "isotonic": isotonic}
    if method not in fits:
        raise ValueError(f"calibrate is {method!r}; expected 'platt' or 'isotonic'")
    if not np.isin(label_N, (0, 1)).all() or len(np.unique(label_N)) < 2:
        raise ValueError(f"calibrate: the labels are {np.unique(label_N)[:5].tolist()}; expected both 0 and 1")
    if not np.isfinite(logit_N).all():
        raise ValueError(f"calibrate: {np.sum(~np.isfinite(logit_N))} logits are not finite; did the training diverge?")
    return fits[method](logit_N.astype(np.float64), label_N)


def platt(logit_N: np.ndarray, label_N: np.ndarray) -> Scale:
    """sigmoid(slope · logit + intercept), fitted by maximum likelihood (Platt 1999, without smoothed targets).

    The order of the logits is kept.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    # Centred and of unit deviation, so that the penalty, small as it is, does not depend on the logits' size.
    fitted = make_pipeline(StandardScaler(), LogisticRegression(C=1e9, tol=1e-8, max_iter=1000))
    fitted.fit(logit_N[:, None], label_N)
    if fitted[-1].coef_[0, 0] <= 0:
        raise ValueError(
            "calibrate: positives have no higher logits than negatives, and a scale cannot change the order; train "
            "longer, or take another model"
        )
    return lambda logit: fitted.predict_proba(logit.astype(np.float64)[:, None])[:, 1]


def isotonic(logit_N: np.ndarray, label_N: np.ndarray) -> Scale:
    """Isotonic regression of the labels on the logits, interpolated linearly; it is non-decreasing, so ties may arise.

    Probabilities are within [1 / (N + 2), 1 − 1 / (N + 2)] (rule of succession): N samples cannot show that an event
    never happens.
    """
    from sklearn.isotonic import IsotonicRegression

    least = 1 / (len(logit_N) + 2)
    fitted = IsotonicRegression(y_min=least, y_max=1 - least, out_of_bounds="clip").fit(logit_N, label_N)
    return lambda logit: fitted.predict(logit.astype(np.float64))
