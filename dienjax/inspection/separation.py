"""Whether one candidate field alone separates the labels, as a column written after the label would."""

from collections.abc import Callable
from functools import partial

import numpy as np

from dienjax.data.mapped import BLOCK, release
from dienjax.data.store import Candidates, Store
from dienjax.inputs.ids import between
from dienjax.inspection.kinds import candidate_fields, may_be_unknown, unknown
from dienjax.schema import FIRST_ID, UNKNOWN, Dense, Field, Schema

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
    of_unknown: dict[str, float | None] = {}
    for field in candidate_fields(store):
        size, key = _keys(store.schema, field, shown.field[field.name])
        tally_HLV = _tallies(shown, shown.field[field.name], size, key)
        alone[field.name] = _auc(_label_mean(tally_HLV[0]), tally_HLV[1], MIN_LABELS)
        if may_be_unknown(field):
            is_unknown_V = np.arange(size) == UNKNOWN
            of_unknown[field.name] = _auc(is_unknown_V, tally_HLV.sum(axis=0), MIN_LABELS_UNKNOWN)
    return alone, of_unknown


def _keys(schema: Schema, field: Field, value_C: np.ndarray) -> tuple[int, Callable[[np.ndarray], np.ndarray]]:
    """How many keys a field's values have, and the keys of some of them: UNKNOWN for what is unknown or missing.

    An id is its own key, that of a set is its first; a number has that of its bin.
    """
    if isinstance(field, Dense):
        some = value_C[:: max(1, len(value_C) // BLOCK)]
        some = some[~np.isnan(some)]
        edges = np.unique(np.quantile(some, np.linspace(0, 1, BINS + 1), method="lower")) if len(some) else some
        return FIRST_ID + len(edges) + 1, partial(between, edges=tuple(edges))
    size = schema.table(field.table).size
    if not field.most:
        return size, lambda id_c: id_c
    return size, lambda id_cM: np.where(unknown(id_cM), UNKNOWN, id_cM[:, 0])


def _tallies(shown: Candidates, value_C: np.ndarray, size: int, key: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """How often each key occurs [half of the samples, label, key]; all 0 if a label is neither 0 nor 1."""
    tally = np.zeros(2 * 2 * size, np.int64)
    for start in range(0, len(shown.first) - 1, BLOCK):
        first = shown.first[start : start + BLOCK + 1]
        part = slice(int(first[0]), int(first[-1]))
        label_c = shown.label_C[part]
        if not ((label_c == 0) | (label_c == 1)).all():
            return np.zeros((2, 2, size), np.int64)
        half_c = np.repeat(np.arange(len(first) - 1) % 2, np.diff(first))
        at_c = (half_c * 2 + label_c.astype(np.int64)) * size + key(value_C[part])
        tally += np.bincount(at_c, minlength=len(tally))
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
