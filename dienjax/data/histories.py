"""The history kernel: which event rows come before an end, and their values, right-padded with 0."""

from dataclasses import dataclass

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


@dataclass(frozen=True)
class ChannelRows:
    """The events of each channel in a log, of which a history has the most recent `most_C`, merged in time.

    Attributes:
      row_C: for each channel the rows of its events, ascending; 4 bytes each in a log of up to 2**32 events.
    """

    row_C: list[np.ndarray]
    most_C: list[int]

    @classmethod
    def of(cls, number_E: np.ndarray, most_C: list[int]) -> "ChannelRows":
        """Those of a log, given the number of each event's channel, below 0 for one of no channel."""
        dtype = np.uint32 if len(number_E) < 2**32 else np.int64
        return cls([np.flatnonzero(number_E == c).astype(dtype) for c in range(len(most_C))], most_C)

    def lengths(self, start_N: np.ndarray, end_N: np.ndarray) -> np.ndarray:
        """How many events the histories have, of events in [start, end)."""
        return sum((end - first for first, end in self._bounds(start_N, end_N)), np.zeros(len(end_N), np.int64))

    def window_rows(self, start_B: np.ndarray, end_B: np.ndarray, T: int) -> tuple[np.ndarray, np.ndarray]:
        """As `window_rows`, for the most recent T of each history."""
        of_channels = [np.full((len(end_B), T), -1)]
        for row_c, most, (first, end) in zip(self.row_C, self.most_C, self._bounds(start_B, end_B), strict=True):
            if len(row_c):
                at, mask = window_rows(first, end, most)
                of_channels.append(np.where(mask, row_c[at].astype(np.int64), -1))
        row_BT = np.sort(np.concatenate(of_channels, axis=1), axis=1)[:, -T:]  # -1, no event, comes first
        length_B1 = (row_BT >= 0).sum(axis=1, keepdims=True)
        mask_BT = np.arange(T) < length_B1
        return np.take_along_axis(row_BT, (np.arange(T) + T - length_B1) * mask_BT, axis=1) * mask_BT, mask_BT

    def _bounds(self, start_N: np.ndarray, end_N: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        """Where the events of each channel begin and end in `row_C` that the histories have."""
        # In the rows' own dtype: otherwise each search would copy them to another.
        ends = [np.searchsorted(row_c, np.asarray(end_N, row_c.dtype)) for row_c in self.row_C]
        starts = [np.searchsorted(row_c, np.asarray(start_N, row_c.dtype)) for row_c in self.row_C]
        return [(np.maximum(s, e - most), e) for s, e, most in zip(starts, ends, self.most_C, strict=True)]
