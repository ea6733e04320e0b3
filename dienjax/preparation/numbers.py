"""What is learnt of a column of numbers from its training rows: its scale, or the edges of its buckets."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from dienjax.preparation.on_disk import OnDisk
from dienjax.schema import Scale

ROWS = 1 << 20
"""Numbers that are added up together: always the same, so that equal logs give equal sums, to the bit."""

SIGN = np.uint32(1 << 31)


@dataclass(frozen=True)
class Numbers:
    """The numbers of the training rows [R] (float32), NaN where one is missing."""

    number_R: np.ndarray | OnDisk

    def known(self) -> Iterator[np.ndarray]:
        """Those that are not missing, in float64."""
        for start in range(0, len(self.number_R), ROWS):
            number_r = self.number_R[start : start + ROWS].astype(np.float64)
            yield number_r[~np.isnan(number_r)]

    @cached_property
    def count(self) -> int:
        """How many are not missing."""
        return sum(map(len, self.known()))

    @cached_property
    def is_constant(self) -> bool:
        """Whether all that are not missing are the same."""
        ends = [(part.min(), part.max()) for part in self.known() if len(part)]
        return len({*map(min, ends), *map(max, ends)}) == 1

    def scale(self, log: bool) -> Scale:
        """Mean and standard deviation, of log(1 + x) where `log`, in which a number below 0 counts as 0.

        The deviation of a constant, or of no numbers, is taken as 1.
        """

        def seen() -> Iterator[np.ndarray]:
            return (np.log1p(np.maximum(part, 0)) if log else part for part in self.known())

        mean = sum(float(part.sum()) for part in seen()) / max(1, self.count)
        variance = sum(float(((part - mean) ** 2).sum()) for part in seen()) / max(1, self.count)
        return Scale(mean, float(np.sqrt(variance)) if variance > 0 and not self.is_constant else 1.0, log)

    def edges(self, buckets: int) -> tuple[float, ...]:
        """The ascending edges between buckets with about equally many numbers; equal ones are merged.

        An edge is the first number of its bucket. Without any number there is one, at 0: a table has at least one.
        """
        if not self.count:
            return (0.0,)
        rank_Q = np.arange(1, buckets) * self.count // buckets
        return tuple(np.unique(self._sorted_at(rank_Q) + 0.0).tolist())

    def _sorted_at(self, rank_Q: np.ndarray) -> np.ndarray:
        """The numbers [Q] at these places of all in ascending order, found by counting, 16 bits at a time."""
        count_D = np.zeros(1 << 16, np.int64)
        for key in self._keys():
            count_D += np.bincount(key >> 16, minlength=1 << 16)
        below_D = np.cumsum(count_D)
        digit_Q = np.searchsorted(below_D, rank_Q, "right")
        digit_q, at_Q = np.unique(digit_Q, return_inverse=True)
        count_qD = np.zeros((len(digit_q), 1 << 16), np.int64)  # of the lower 16 bits, below these upper ones
        for key in self._keys():
            at = np.minimum(np.searchsorted(digit_q, key >> 16), len(digit_q) - 1)
            here = digit_q[at] == key >> 16
            np.add.at(count_qD, (at[here], key[here] & 0xFFFF), 1)
        rest_Q = rank_Q - (below_D - count_D)[digit_Q]
        low_Q = [np.searchsorted(np.cumsum(count_qD[at]), rest, "right") for at, rest in zip(at_Q, rest_Q, strict=True)]
        key_Q = (digit_Q << 16 | np.array(low_Q)).astype(np.uint32)
        return np.where(key_Q & SIGN, key_Q ^ SIGN, ~key_Q).view(np.float32).astype(np.float64)

    def _keys(self) -> Iterator[np.ndarray]:
        """Whole numbers (int64) in the order of the numbers that are not missing."""
        for part in self.known():
            bits = part.astype(np.float32).view(np.uint32)
            yield np.where(bits & SIGN, ~bits, bits ^ SIGN).astype(np.int64)
