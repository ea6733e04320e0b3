"""Whether one candidate field alone separates the labels, as a column written after the label would."""

import numpy as np

from dienjax.data.mapped import BLOCK, release
from dienjax.data.store import Candidates, Store
from dienjax.inspection.integrity import id_fields
from dienjax.schema import UNKNOWN

BINS = 256
"""Numbers are ranked by the label mean of this many equally filled bins."""

MIN_LABELS, MIN_LABELS_UNKNOWN = 50, 400
"""With fewer labels than MIN_LABELS of either class an AUC says nothing; from MIN_LABELS_UNKNOWN on, chance moves the
AUC of one bit by less than 0.05."""


def aucs(store: Store, shown: Candidates) -> tuple[dict[str, float | None], dict[str, float | None]]:
    """The AUC of each candidate field alone, and of whether its id is unknown; None if labels are too few or not 0/1.

    A field ranks by the label mean of its value in every other sample, and is measured on the remaining samples: so a
    field of many values gains nothing by chance.
    """
    alone: dict[str, float | None] = {}
    unknown: dict[str, float | None] = {}
    sizes = store.schema.sizes()
    for name in [*store.events, *(f.name for f in id_fields(store, "candidate"))]:
        tally_HLV = _tallies(shown, shown.field[name], sizes[name])
        alone[name] = _auc(_label_mean(tally_HLV[0]), tally_HLV[1], MIN_LABELS)
        unknown[name] = _auc(np.arange(sizes[name]) == UNKNOWN, tally_HLV.sum(axis=0), MIN_LABELS_UNKNOWN)
    for name in (f.name for f in store.schema.dense if f.of == "candidate"):
        value_C = shown.field[name]
        some = value_C[:: max(1, len(value_C) // BLOCK)]
        edges = np.unique(np.quantile(some, np.linspace(0, 1, BINS + 1), method="lower")) if len(some) else some
        tally_HLV = _tallies(shown, value_C, len(edges) + 1, edges)
        alone[name] = _auc(_label_mean(tally_HLV[0]), tally_HLV[1], MIN_LABELS)
    return alone, unknown


def _tallies(shown: Candidates, value_C: np.ndarray, size: int, edges: np.ndarray | None = None) -> np.ndarray:
    """How often each value occurs [half of the samples, label, value]; all 0 if a label is neither 0 nor 1."""
    tally = np.zeros(2 * 2 * size, np.int64)
    for start in range(0, len(shown.first) - 1, BLOCK):
        first = shown.first[start : start + BLOCK + 1]
        part = slice(int(first[0]), int(first[-1]))
        label_c = shown.label_C[part]
        if not ((label_c == 0) | (label_c == 1)).all():
            return np.zeros((2, 2, size), np.int64)
        value_c = value_C[part] if edges is None else np.searchsorted(edges, value_C[part], side="right")
        half_c = np.repeat(np.arange(len(first) - 1) % 2, np.diff(first))
        tally += np.bincount((half_c * 2 + label_c.astype(np.int64)) * size + value_c, minlength=len(tally))
        release(shown.first, shown.label_C, value_C)
    return tally.reshape(2, 2, size)


def _label_mean(tally_LV: np.ndarray) -> np.ndarray:
    """The label mean of each value, shrunk towards the overall mean by one additional label."""
    count_V = tally_LV.sum(axis=0)
    return (tally_LV[1] + tally_LV[1].sum() / max(1, count_V.sum())) / (count_V + 1)


def _auc(score_V: np.ndarray, tally_LV: np.ndarray, least: int) -> float | None:
    """The probability that a value of label 1 scores above one of label 0, ties counting one half."""
    negatives, positives = tally_LV.sum(axis=1).tolist()
    if min(negatives, positives) < least:
        return None
    _, group_V = np.unique(score_V, return_inverse=True)
    negative_G, positive_G = (np.bincount(group_V, tally_V) for tally_V in tally_LV)
    return float(positive_G @ (negative_G.cumsum() - negative_G / 2) / (positives * negatives))
