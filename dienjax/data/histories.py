"""The history kernel: which event rows come before an end, and their values, right-padded with 0."""

import numpy as np


def window_rows(start_B: np.ndarray, end_B: np.ndarray, T: int) -> tuple[np.ndarray, np.ndarray]:
    """Event rows [B, T] (int64) of the most recent T events in [start, end), oldest first, and their mask [B, T].

    `start_B` is where the user's events begin, `end_B` one past the history's last event. A padded slot
    points at row 0, which every log has, so that a gather needs no branch.
    """
    end_B1 = np.asarray(end_B, np.int64)[:, None]
    row_BT = np.maximum(np.asarray(start_B, np.int64)[:, None], end_B1 - T) + np.arange(T)
    mask_BT = row_BT < end_B1
    np.copyto(row_BT, 0, where=~mask_BT)
    return row_BT, mask_BT


def gather(column_E: np.ndarray, row_BT: np.ndarray, mask_BT: np.ndarray) -> np.ndarray:
    """Values [B, T, ...] of a column [E, ...] at the rows, 0 where the mask is False; the column's dtype is kept."""
    value_BT = np.take(column_E, row_BT, axis=0)
    np.copyto(value_BT, 0, where=~mask_BT.reshape(mask_BT.shape + (1,) * (value_BT.ndim - mask_BT.ndim)))
    return value_BT


def scatter(value_M: np.ndarray, mask_BT: np.ndarray) -> np.ndarray:
    """Values [B, T, ...] of M in the places where the mask is True, in their order, and 0 elsewhere."""
    value_BT = np.zeros((*mask_BT.shape, *value_M.shape[1:]), value_M.dtype)
    value_BT[mask_BT] = value_M
    return value_BT


def windows(column_E: np.ndarray, start_B: np.ndarray, end_B: np.ndarray, T: int) -> np.ndarray:
    """Values [B, T] of the most recent T events in [start, end), oldest first, right-padded with 0."""
    return gather(column_E, *window_rows(start_B, end_B, T))
