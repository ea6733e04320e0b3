"""Scores of encoded rows: those with histories of one length together, so that no history is padded."""

from collections.abc import Callable, Iterator

import numpy as np

from dienjax.serving.rows import Rows
from dienjax.serving.scorer import Arrays

STEP = 1024
"""The most candidates of a call, unless a single row has more: in calls of more, arrays outgrow the cache."""


def row_scores(
    rows: Rows, max_len: int, encode: Callable[[Arrays], Arrays], score: Callable[[Arrays, Arrays], np.ndarray]
) -> np.ndarray:
    """The scores [M] of all candidates, row after row.

    Args:
      encode: the user encoder, of histories [B, T] and users [B].
      score: the candidate scorer, of what the encoder gives and candidates [B, K].
    """
    length_N, count_N = np.minimum(rows.length_N, max_len), rows.count_N
    history_end_N, end_N = np.cumsum(rows.length_N), np.cumsum(count_N)
    score_M = np.empty(count_N.sum(), np.float32)
    for row_B in _calls(length_N, count_N):
        T, K = length_N[row_B[0]], count_N[row_B[0]]
        event_BT = history_end_N[row_B, None] - T + np.arange(T)
        mask_BK = np.arange(K) < count_N[row_B, None]
        at_BK = np.where(mask_BK, (end_N - count_N)[row_B, None] + np.arange(K), 0)
        histories = {column.name: column.value_M[event_BT] for column in rows.history}
        users = {column.name: column.value_M[row_B] for column in rows.user}
        candidates = {column.name: column.value_M[at_BK] for column in rows.candidate}
        score_M[at_BK[mask_BK]] = score(encode(histories | users), candidates)[mask_BK]
    return score_M


def _calls(length_N: np.ndarray, count_N: np.ndarray) -> Iterator[np.ndarray]:
    """The rows of each call: of one history length, with similarly many candidates, the most in the first."""
    order = np.lexsort((-count_N, length_N))
    for same in np.split(order, np.flatnonzero(np.diff(length_N[order])) + 1):
        while len(same):
            B = max(1, STEP // int(count_N[same[0]]))
            yield same[:B]
            same = same[B:]
