"""Logits of rows that come chunk after chunk, in a few padded shapes that stay the same from chunk to chunk."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from dienjax.data.arrays import PaddedArrays
from dienjax.serving.rows import Rows
from dienjax.training.config import DataConfig
from dienjax.training.evaluation import eval_loader
from dienjax.training.prediction import cut, few_lengths, logits_and_labels, masks_padding, power_of_two
from dienjax.training.run import Run

STEP = 1 << 13
"""The most candidates of a step: its largest arrays have T numbers of each attention unit for each of them."""

HISTORY = 4
"""What a history costs, in candidates: between 1 beside one and 13 beside many (T = 50, the shipped DIEN, a CPU)."""


def chunk_scorer(run: Run, variables: dict[str, Any], rows: int, longest: int = 1) -> Callable[[Rows], np.ndarray]:
    """A function from encoded rows to the logits [M] of their candidates; it compiles a program for each length.

    Rows are cut into pieces of equally many candidates, whatever the most of a row is: a piece has the row's history
    and up to K of its candidates. K is the power of two that costs least for the first rows; later ones keep it, unless
    another would halve what they cost.

    Args:
      rows: how many rows will come in all, so that few are not padded to whole batches.
      longest: the longest history that will come, which must be known where padding is not masked.
    """
    data, K = replace(run.config.data, max_len=run.max_len), 0

    def logits(rows_N: Rows) -> np.ndarray:
        nonlocal K, longest
        K = _width(rows_N.count_N, K)
        longest = max(longest, min(int(rows_N.length_N.max()), data.max_len))
        if masks_padding(run):
            lengths = _lengths(data, longest)
        else:
            lengths = (longest,) if isinstance(data.lengths, int) else (*data.lengths, longest)
        batch_size = min(data.batch_size, max(1, STEP // K), power_of_two(rows))
        loader = eval_loader(PaddedArrays(run.schema, _pieces(rows_N, K, data.max_len)), batch_size, lengths)
        return logits_and_labels(run, variables, loader)[0]

    return logits


def _lengths(data: DataConfig, longest: int) -> tuple[int, ...]:
    """As many lengths as `data.lengths` says, closer together where they are short; or those that it lists.

    They depend on the power of two that holds the longest history alone, and pad hardly more than the data's best.
    """
    few = few_lengths(data, longest)
    if not isinstance(data.lengths, int):
        return few
    last, n = few[-1], data.lengths
    return tuple(sorted({math.ceil(last * (i / n) ** 1.5) for i in range(1, n + 1)}))


def _width(count_N: np.ndarray, now: int) -> int:
    """How many candidates a piece has."""
    widths = [1 << n for n in range((min(STEP, int(count_N.max())) - 1).bit_length() + 1)]
    cost = {K: int((-(-count_N // K)).sum()) * (K + HISTORY) for K in {*widths, now} - {0}}
    best = min(widths, key=lambda K: cost[K])
    return now if now and cost[now] <= 2 * cost[best] else best


def _pieces(rows: Rows, K: int, max_len: int) -> dict[str, np.ndarray]:
    """The columns of `PaddedArrays` for P pieces: every row's candidates, K at a time, beside its history."""
    count_N = rows.count_N
    pieces_N = -(-count_N // K)
    row_P = np.repeat(np.arange(len(count_N)), pieces_N)
    first_P = np.arange(len(row_P)) - np.repeat(np.cumsum(pieces_N) - pieces_N, pieces_N)  # 0, 1, ... in each row
    end_N = np.cumsum(count_N)
    start_P = (end_N - count_N)[row_P] + K * first_P
    end_P = np.minimum(start_P + K, end_N[row_P])
    T = min(max(1, int(rows.length_N.max())), max_len)
    history_end_P, length_P = np.cumsum(rows.length_N)[row_P], rows.length_N[row_P]
    columns = {column.name: cut(column, history_end_P - length_P, history_end_P, T) for column in rows.history}
    columns |= {column.name: column.value_M[row_P] for column in rows.user}
    return columns | {column.name: cut(column, start_P, end_P, K) for column in rows.candidate}
