"""A sorted log cut into slices of whole users: what preparation holds of the events and impressions at one time."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from dienjax.preparation import splits
from dienjax.preparation.on_disk import blocks
from dienjax.preparation.splits import Split
from dienjax.preparation.tables import Sorted

ROWS = 1 << 20
"""Rows of a slice; a user with more is a slice alone."""

KEPT = 4
"""So many slices keep their split once it is known: that of a small log is found once."""


@dataclass(frozen=True)
class Part:
    """Some rows of a sorted table; a column is read when it is asked for.

    Attributes:
      start, end: the rows of the table.
      offsets: [u + 1] first row of each user of the slice, the first is 0.
    """

    table: Sorted
    start: int
    end: int
    offsets: np.ndarray

    @cached_property
    def time_R(self) -> np.ndarray:
        return self.table.time_R[self.start : self.end]

    @cached_property
    def user_R(self) -> np.ndarray:
        """The user of each row, counted from the first of the slice."""
        return np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))

    def code(self, name: str) -> np.ndarray:
        return self.table.code[name][self.start : self.end]

    def number(self, name: str) -> np.ndarray:
        return self.table.number[name][self.start : self.end]

    def column(self, name: str) -> np.ndarray:
        return self.table.column(name)[self.start : self.end]

    @cached_property
    def sessions(self) -> np.ndarray:
        """The first row of each sample of impressions, that is of each run of one user and time [N + 1]."""
        return splits.groups(self.user_R, self.time_R)

    def of_samples(self, index_n: np.ndarray) -> np.ndarray:
        """A mask [R] of the impressions of these samples."""
        return np.repeat(splits.marked(index_n, len(self.sessions) - 1), np.diff(self.sessions))


@dataclass(frozen=True)
class Slice:
    """The events and impressions of the users from `first` to `end` (without)."""

    first: int
    end: int
    log: Part
    shown: Part | None

    @cached_property
    def history_ends(self) -> np.ndarray:
        """For each sample of impressions [N], one past the last of the slice's events that is in its history."""
        assert self.shown is not None
        row_N = self.shown.sessions[:-1]
        return splits.history_ends(self.log.user_R, self.log.time_R, self.shown.user_R[row_N], self.shown.time_R[row_N])


class Slices:
    """All users of a log of events and, if there are any, impressions, slice by slice.

    Attributes:
      offsets: [U + 1] first event row of each user.
      shown_offsets: [U + 1] first impression row of each user; None without impressions.
    """

    def __init__(self, log: Sorted, shown: Sorted | None, user: str, U: int) -> None:
        self.log, self.shown, self.user = log, shown, user
        self.offsets = _offsets(log, user, U)
        self.shown_offsets = _offsets(shown, user, U) if shown else None
        rows = self.offsets if self.shown_offsets is None else self.offsets + self.shown_offsets
        self.cuts = [0]
        while self.cuts[-1] < U:
            fits = int(np.searchsorted(rows, rows[self.cuts[-1]] + ROWS, "right")) - 1
            self.cuts.append(max(fits, self.cuts[-1] + 1))

    def __iter__(self) -> Iterator[Slice]:
        return map(self.at, range(len(self.cuts) - 1))

    def at(self, i: int) -> Slice:
        first, end = self.cuts[i], self.cuts[i + 1]
        shown = None
        if self.shown is not None and self.shown_offsets is not None:
            shown = _part(self.shown, self.shown_offsets[first : end + 1])
        return Slice(first, end, _part(self.log, self.offsets[first : end + 1]), shown)


class Divided:
    """Slices, each with its split; iterating gives both.

    Args:
      begins: when validation and testing begin (protocol time); see `splits.times_of_parts`.
      part_U: the part of each user (protocols last and user); see `splits.parts_of_users`.
    """

    def __init__(
        self, slices: Slices, begins: tuple[float, float] | None = None, part_U: np.ndarray | None = None
    ) -> None:
        self.slices, self.begins, self.part_U = slices, begins, part_U
        self._at = lru_cache(KEPT)(self._divide)

    def __iter__(self) -> Iterator[tuple[Slice, Split]]:
        return map(self._at, range(len(self.slices.cuts) - 1))

    def _divide(self, i: int) -> tuple[Slice, Split]:
        part = self.slices.at(i)
        offsets, part_u = part.log.offsets, None if self.part_U is None else self.part_U[part.first : part.end]
        if part.shown is None:
            return part, splits.leave_one_out(offsets) if part_u is None else splits.last(offsets, part_u)
        row_N = part.shown.sessions[:-1]
        user_N, time_N = part.shown.user_R[row_N], part.shown.time_R[row_N]
        if self.begins is not None:
            return part, splits.by_time(offsets, part.log.time_R, user_N, time_N, self.begins)
        assert part_u is not None
        return part, splits.by_user(offsets, user_N, part_u)


def _offsets(table: Sorted, user: str, U: int) -> np.ndarray:
    offsets = np.zeros(U + 1, np.int64)
    for user_r in blocks(table.code[user]):
        first = int(user_r[0])
        count = np.bincount(user_r - first)
        offsets[first + 1 : first + 1 + len(count)] += count
    return np.cumsum(offsets, out=offsets)


def _part(table: Sorted, offsets: np.ndarray) -> Part:
    return Part(table, int(offsets[0]), int(offsets[-1]), offsets - offsets[0])
