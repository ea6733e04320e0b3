"""Batches of one length each: groups samples by history length, and says which sample stands in which step."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import jax
import numpy as np

from dienjax.batch import Array, Batch
from dienjax.data.histories import gather, window_rows
from dienjax.data.negatives import CANDIDATE, HISTORY, How, Negatives, Own
from dienjax.data.store import Store
from dienjax.schema import Schema


class Dataset(Protocol):
    """What a loader reads: N samples, each with the length of its history and its user."""

    schema: Schema
    length_N: np.ndarray
    user_N: np.ndarray

    def rows(self, index_B: np.ndarray, T: int, epoch: int) -> Batch:
        """The samples `index_B` as a numpy batch of T history slots, the most recent T of each history."""


class StoreSplit:
    """One split of a store as a dataset; negatives are drawn anew each epoch.

    A split without stored candidates gives K = 1 + `candidates`: the event itself, label 1, then drawn negatives.
    Stored candidates of a sample share a row, or, where few samples have so many, several rows of equal history:
    `sample_N` says whose row it is.

    Args:
      max_len: behaviours of a history at most; older ones are cut.
      negatives: how negatives are drawn, see `Negatives`.
      own: whether a negative may be an item of the user.
      candidates: negatives per positive.
      auxiliary: whether to draw a negative for each behaviour.

    Raises:
      ValueError: a split or an option that does not exist.
    """

    def __init__(
        self,
        store: Store,
        split: str,
        *,
        max_len: int = 50,
        negatives: How = "popularity",
        own: Own = "allow",
        candidates: int = 1,
        auxiliary: bool = True,
        seed: int = 0,
    ) -> None:
        if max_len < 1 or candidates < 0:
            raise ValueError(
                f"StoreSplit: max_len={max_len}, candidates={candidates}; expected max_len >= 1, candidates >= 0"
            )
        samples, item = store.samples(split), store.schema.item
        self.store, self.shown, self.schema, self.auxiliary = store, samples.candidates, store.schema, auxiliary
        self.candidates, self.sample_N = candidates, np.arange(len(samples))
        if self.shown is not None:
            self.K, self.sample_N, self.from_N, self.to_N = cut_rows(self.shown.first)
        self.user_N, self.end_N = samples.user_N[self.sample_N], samples.end_N[self.sample_N]
        self.start_N = np.maximum(store.offsets[self.user_N], self.end_N - max_len)
        self.length_N = self.end_N - self.start_N
        size = store.schema.sizes()[item]
        self.negatives = Negatives(store.events[item], store.offsets, size, seed=seed, how=negatives, own=own)

    def rows(self, index_B: np.ndarray, T: int, epoch: int) -> Batch:
        store, item = self.store, self.schema.item
        user_B, end_B = self.user_N[index_B], self.end_N[index_B]
        row_BT, mask_BT = window_rows(self.start_N[index_B], end_B, T)
        history: dict[str, Array] = {name: gather(column, row_BT, mask_BT) for name, column in store.events.items()}
        negative: dict[str, Array] | None = None
        if self.auxiliary:
            # Slots count back from the end, so neither T nor max_len changes a draw.
            slot_BT = end_B[:, None] - row_BT
            drawn_BT = self.negatives.draw(epoch, HISTORY, index_B, user_B, slot_BT, np.asarray(history[item]))
            negative = {name: gather(column, drawn_BT, mask_BT) for name, column in store.events.items()}
        candidate, label_BK, mask_BK = self._candidates(index_B, user_B, end_B, epoch)
        return Batch(
            user={name: column[user_B] for name, column in store.users.items()},
            history=history,
            candidate=candidate,
            mask_BT=mask_BT,
            mask_BK=mask_BK,
            label_BK=label_BK,
            negative=negative,
            hist_label_BT=None if store.hist_label_E is None else gather(store.hist_label_E, row_BT, mask_BT),
        )

    def _candidates(
        self, index_B: np.ndarray, user_B: np.ndarray, end_B: np.ndarray, epoch: int
    ) -> tuple[dict[str, Array], np.ndarray, np.ndarray]:
        if self.shown is not None:
            row_BK, mask_BK = window_rows(self.from_N[index_B], self.to_N[index_B], self.K)
            field: dict[str, Array] = {n: gather(c, row_BK, mask_BK) for n, c in self.shown.field.items()}
            return field, gather(self.shown.label_C, row_BK, mask_BK), mask_BK
        positive_B = self.store.events[self.schema.item][end_B]
        slot_1N = np.arange(self.candidates)[None, :]
        item_BN = np.broadcast_to(positive_B[:, None], (len(index_B), self.candidates))
        negative_BN = self.negatives.draw(epoch, CANDIDATE, index_B, user_B, slot_1N, item_BN)
        row_BK = np.concatenate([end_B[:, None], negative_BN], axis=1)
        label_BK = np.zeros(row_BK.shape, np.float32)
        label_BK[:, 0] = 1
        events: dict[str, Array] = {name: column[row_BK] for name, column in self.store.events.items()}
        return events, label_BK, np.ones(row_BK.shape, bool)


def cut_rows(first: np.ndarray) -> tuple[int, np.ndarray, np.ndarray, np.ndarray]:
    """K, and per row its sample and its first and last-plus-one candidate, where sample n has first[n] to first[n + 1].

    K, a power of two or the largest number of candidates, is where rows of K candidates, each with a history that costs
    about as much as two candidates, are the least work: impressions of 200 do not make all others 200 wide.
    """
    count_N = np.diff(first)
    most = max(1, int(count_N.max(initial=1)))
    widths = [2**n for n in range((most - 1).bit_length())] + [most]
    K = min(widths, key=lambda K: int((-(-count_N // K)).sum()) * (K + 2))
    rows_N = -(-count_N // K)
    sample_R = np.repeat(np.arange(len(count_N)), rows_N)
    part_R = np.arange(len(sample_R)) - np.repeat(np.cumsum(rows_N) - rows_N, rows_N)
    from_R = first[:-1][sample_R] + part_R * K
    return K, sample_R, from_R, np.minimum(from_R + K, first[1:][sample_R])


@dataclass(frozen=True)
class Planned:
    """One step: which samples it takes, and how many history slots it has."""

    T: int
    index: np.ndarray


class Loader:
    """Cuts a dataset into batches of exactly `batch_size` rows; (seed, epoch, step) gives the batch.

    Samples are grouped by the smallest of `lengths` that holds their history, and a group's leftover moves to
    the next longer one, so an epoch has at most one ragged batch: its missing rows are all padding. Lengths
    beyond the longest history are cut to it, and it is added where none is long enough; None is that one length.

    Raises:
      ValueError: an empty dataset, a batch size below 1, a length below 1.
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int,
        lengths: Sequence[int] | None = (4, 8, 16, 32, 50),
        shuffle: bool = True,
        seed: int = 0,
    ) -> None:
        if len(dataset.length_N) == 0:
            raise ValueError("Loader: the dataset has no samples; expected at least one: choose another split")
        if batch_size < 1 or seed < 0 or any(T < 1 for T in lengths or ()):
            raise ValueError(
                f"Loader: batch_size={batch_size}, lengths={lengths}, seed={seed}; "
                "expected batch_size >= 1, each length >= 1, seed >= 0"
            )
        longest = max(1, int(np.max(dataset.length_N)))
        self.lengths = sorted({min(T, longest) for T in lengths or ()} | {longest})
        self.group_N = np.searchsorted(self.lengths, dataset.length_N)
        self.dataset, self.batch_size, self.shuffle, self.seed = dataset, batch_size, shuffle, seed

    def steps(self, epoch: int = 0) -> int:
        """The number of batches in an epoch."""
        return -(-len(self.group_N) // self.batch_size)

    def plan(self, epoch: int) -> list[Planned]:
        """The steps of an epoch in order; together they hold every sample once."""
        rng = np.random.default_rng((self.seed, epoch))
        order = rng.permutation(len(self.group_N)) if self.shuffle else np.arange(len(self.group_N))
        planned, rest = [], order[:0]
        for group, T in enumerate(self.lengths):
            index = np.concatenate([rest, order[self.group_N[order] == group]])
            full = len(index) - len(index) % self.batch_size
            planned += [Planned(T, part) for part in index[:full].reshape(-1, self.batch_size)]
            rest = index[full:]
        if len(rest):
            planned.append(Planned(self.lengths[-1], rest))
        return [planned[i] for i in rng.permutation(len(planned))] if self.shuffle else planned

    def batch(self, planned: Planned, epoch: int) -> Batch:
        """The batch of a planned step, filled up to `batch_size` rows."""
        batch = self.dataset.rows(planned.index, planned.T, epoch)
        missing = self.batch_size - len(planned.index)
        if not missing:
            return batch
        return jax.tree.map(lambda a: np.concatenate([a, np.zeros((missing, *a.shape[1:]), a.dtype)]), batch)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[tuple[Planned, Batch]]:
        """The steps of an epoch with their batches, from step `start` on."""
        for planned in self.plan(epoch)[start:]:
            yield planned, self.batch(planned, epoch)
