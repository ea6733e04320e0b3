"""What is learnt of a column of numbers from its training rows: its scale, or the edges of its buckets."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from dienjax.preparation.on_disk import OnDisk
from dienjax.preparation.splits import smallest
from dienjax.schema import Scale

ROWS = 1 << 20
"""Numbers that are added up together: always the same, so that equal logs give equal sums, to the bit."""


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
        ranks = [n * self.count // buckets for n in range(1, buckets)] if self.count else []
        return tuple(sorted({smallest(self.known, rank) + 0.0 for rank in ranks})) or (0.0,)
