"""Batches of one length each: groups samples by history length, and says which samples each step takes."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol

import jax
import numpy as np

from dienjax.batch import Batch
from dienjax.schema import Schema

AHEAD = 2
"""How many batches are prepared while the consumer works on another."""


class Dataset(Protocol):
    """What a loader reads: N samples, each with the length of its history and its user."""

    schema: Schema
    length_N: np.ndarray
    user_N: np.ndarray

    def rows(self, index_B: np.ndarray, T: int, epoch: int) -> Batch:
        """The samples `index_B` as a NumPy batch of T history slots, the most recent T of each history."""


@dataclass(frozen=True)
class Planned:
    """One step: which samples it takes, and how many history slots it has."""

    T: int
    index: np.ndarray


class Loader:
    """Cuts a dataset into batches of exactly `batch_size` rows; (seed, epoch, step) gives the batch.

    Samples are grouped by the smallest of the lengths that holds their history, and a group's leftover moves to
    the next longer one, so an epoch has at most one ragged batch: its missing rows are all padding.

    Args:
      lengths: a number: at most that many lengths, chosen so that the fewest slots are padding (see `fewest_slots`); 1
        pads to the longest history. A tuple: exactly these, as far as they are needed, and the longest history if none
        holds it; (50,) always pads to 50. The attribute `lengths` holds the result.
      share: (i, n): of each batch only the i-th of n equal parts of its rows is read, for one of several processes.

    Raises:
      ValueError: an empty dataset, a batch size below 1, no length or one below 1.
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int,
        lengths: int | tuple[int, ...] = 8,
        shuffle: bool = True,
        seed: int = 0,
        share: tuple[int, int] = (0, 1),
    ) -> None:
        if len(dataset.length_N) == 0:
            raise ValueError("Loader: the dataset has no samples; expected at least one: choose another split")
        if batch_size < 1 or seed < 0:
            raise ValueError(f"Loader: batch_size={batch_size}, seed={seed}; expected batch_size >= 1, seed >= 0")
        self.lengths = _resolve(lengths, dataset.length_N)
        self.group_N = np.searchsorted(self.lengths, dataset.length_N)
        self.dataset, self.batch_size, self.shuffle, self.seed = dataset, batch_size, shuffle, seed
        self.first, self.rows = share[0] * (batch_size // share[1]), batch_size // share[1]

    def steps(self, epoch: int = 0) -> int:
        """The number of batches in an epoch."""
        return -(-len(self.group_N) // self.batch_size)

    def plan(self, epoch: int) -> list[Planned]:
        """The steps of an epoch in order; together they hold every sample once."""
        rng = np.random.default_rng((self.seed, epoch))
        order = rng.permutation(len(self.group_N)) if self.shuffle else np.arange(len(self.group_N))
        group_N, planned, rest = self.group_N[order], [], order[:0]
        for group, T in enumerate(self.lengths):
            index = np.concatenate([rest, order[group_N == group]])
            full = len(index) - len(index) % self.batch_size
            planned += [Planned(T, part) for part in index[:full].reshape(-1, self.batch_size)]
            rest = index[full:]
        if len(rest):
            planned.append(Planned(self.lengths[-1], rest))
        return [planned[i] for i in rng.permutation(len(planned))] if self.shuffle else planned

    def shared(self, planned: Planned) -> np.ndarray:
        """The samples of this process's share of a step; all of them where there is one process."""
        return planned.index[self.first : self.first + self.rows]

    def batch(self, planned: Planned, epoch: int) -> Batch:
        """The batch of a planned step, or this process's share of it, filled up with rows of padding."""
        index = self.shared(planned)
        batch = self.dataset.rows(index, planned.T, epoch)
        missing = self.rows - len(index)
        if not missing:
            return batch
        return jax.tree.map(lambda a: np.concatenate([a, np.zeros((missing, *a.shape[1:]), a.dtype)]), batch)

    def epoch(
        self, epoch: int, start: int = 0, prepare: Callable[[Batch], Any] | None = None
    ) -> Iterator[tuple[Planned, Any]]:
        """The steps of an epoch with their batches, from step `start` on; `AHEAD` are prepared in a thread.

        `prepare` is applied to each batch in that thread, and its result replaces the batch. An error there is raised
        here, in the batch's turn. A generator that is closed or dropped ends its thread.
        """

        def ready(planned: Planned) -> tuple[Planned, Any]:
            batch = self.batch(planned, epoch)
            return planned, batch if prepare is None else prepare(batch)

        pool = ThreadPoolExecutor(1, thread_name_prefix="loader")
        try:
            submitted = (pool.submit(ready, planned) for planned in self.plan(epoch)[start:])
            waiting = deque(islice(submitted, AHEAD))
            while waiting:
                following = waiting.popleft().result()
                waiting.extend(islice(submitted, 1))
                yield following
        finally:
            pool.shutdown(cancel_futures=True)


def _resolve(lengths: int | tuple[int, ...], length_N: np.ndarray) -> tuple[int, ...]:
    """The history lengths of a loader, ascending; the last holds every history."""
    if not lengths or np.min(lengths) < 1:
        raise ValueError(
            f"Loader: lengths={lengths}; expected a number >= 1 of lengths to choose (1 pads to the longest history), "
            "or the lengths themselves, each >= 1, such as (8, 50), or (50,) for one fixed length"
        )
    if isinstance(lengths, int):
        return fewest_slots(length_N, lengths)
    longest = max(1, int(length_N.max()))
    given = sorted({*lengths, longest} if max(lengths) < longest else set(lengths))
    return tuple(given[: np.searchsorted(given, longest) + 1])


def fewest_slots(length_N: np.ndarray, n: int) -> tuple[int, ...]:
    """At most n lengths, ascending, that need the fewest slots if each history takes the smallest that holds it.

    The longest history is always among them. Exact, by dynamic programming over the L distinct lengths: O(n L^2).
    """
    count = np.bincount(np.maximum(length_N, 1))
    length_L = np.flatnonzero(count)
    first = np.arange(len(length_L) + 1)
    total = np.concatenate([[0], np.cumsum(count[length_L])])
    cost = np.concatenate([[0], length_L])  # of a row of that length
    # step[i, j]: what the histories from the i-th distinct length to before the j-th cost as one group; never if i > j.
    step = np.where(first[:, None] <= first, cost * (total - total[:, None]), np.inf)
    least, chosen = step[0], [np.zeros_like(first)]
    for _ in range(1, min(n, len(length_L))):
        through = least[:, None] + step
        chosen.append(np.argmin(through, axis=0))
        least = through.min(axis=0)
    lengths, j = set(), len(length_L)
    for before in reversed(chosen):
        if j:
            lengths.add(int(length_L[j - 1]))
        j = before[j]
    return tuple(sorted(lengths))
