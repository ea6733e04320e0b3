"""One split of a store as a data set: the history, the drawn negatives and the candidates of any sample."""

import numpy as np

from dienjax.batch import Array, Batch
from dienjax.data.histories import ChannelRows, gather, scatter, window_rows
from dienjax.data.negatives import CANDIDATE, HISTORY, How, Negatives, Own
from dienjax.data.store import Store
from dienjax.inputs.channels import numbers
from dienjax.inputs.time_fields import candidate_ids, history_ids
from dienjax.schema import PADDING


class StoreSplit:
    """One split of a store as a dataset; negatives are drawn anew each epoch.

    A split without stored candidates gives K = 1 + `candidates`: the event itself, label 1, then drawn negatives.
    Fields of time are computed here (`dienjax.inputs.time_fields`): a history's from the times of its own events and of
    the candidate, so from nothing later; a candidate's from its time alone; a negative has those of its behaviour.

    Stored candidates of a sample share a row or, if few samples have so many, several rows with the same history;
    `sample_N` is the sample of each row.

    Args:
      max_len: the most behaviours of a history; older ones are cut. Channels have lengths of their own.
      negatives: how negatives are drawn; see `Negatives`.
      own: whether a negative may be an item of the user.
      candidates: negatives per positive.
      auxiliary: whether to draw a negative for each behaviour.

    Raises:
      ValueError: an unknown split or option.
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
        samples = store.samples(split)
        self.store, self.shown, self.schema, self.auxiliary = store, samples.candidates, store.schema, auxiliary
        self.candidates, self.sample_N = candidates, np.arange(len(samples))
        if self.shown is not None:
            self.K, self.sample_N, self.from_N, self.to_N = cut_rows(self.shown.first)
        self.user_N, self.end_N = samples.user_N[self.sample_N], samples.end_N[self.sample_N]
        start_N, self.max_len, self.channels = store.offsets[self.user_N], max_len, None
        if store.schema.channels:
            self.number_V = numbers(store.schema)
            most_C = [channel.most for channel in store.schema.channels]
            self.channels = ChannelRows.of(self.number_V[store.events[store.schema.type]], most_C)
            self.length_N = self.channels.lengths(start_N, self.end_N)
        else:
            self.length_N = np.minimum(self.end_N - start_N, max_len)
        if auxiliary or self.shown is None:
            self.negatives = Negatives(
                store.raw_item_E, store.offsets, store.train_row, seed=seed, how=negatives, own=own
            )
        if auxiliary:
            item_E = store.events[store.schema.item]
            self.id_I = np.zeros(len(self.negatives.place_I), item_E.dtype)
            self.id_I[store.raw_item_E] = item_E

    def rows(self, index_B: np.ndarray, T: int, epoch: int) -> Batch:
        store = self.store
        user_B, end_B = self.user_N[index_B], self.end_N[index_B]
        now_B = self.now(index_B)
        row_BT, mask_BT = self.event_rows(user_B, end_B, T)
        history: dict[str, Array] = {name: gather(column, row_BT, mask_BT) for name, column in store.events.items()}
        times: dict[str, Array] = self.times(row_BT, mask_BT, now_B)
        negative: dict[str, Array] | None = None
        if self.auxiliary:
            # Slots count back from the end, so neither T nor max_len changes a draw; padded ones need none.
            row_M, sample_M = row_BT[mask_BT], np.repeat(np.arange(len(index_B)), mask_BT.sum(axis=1))
            slot_M1, item_M1 = (end_B[sample_M] - row_M)[:, None], np.take(store.raw_item_E, row_M)[:, None]
            drawn = self.negatives.draw(epoch, HISTORY, index_B[sample_M], user_B[sample_M], slot_M1, item_M1)
            negative = {name: scatter(value, mask_BT) for name, value in self._fields(*drawn).items()} | times
        candidate, label_BK, mask_BK = self._candidates(index_B, user_B, end_B, epoch)
        candidate |= {name: id_B[:, None] * mask_BK for name, id_B in candidate_ids(self.schema, now_B).items()}
        return Batch(
            user={name: column[user_B] for name, column in store.users.items()},
            history=history | times,
            candidate=candidate,
            mask_BT=mask_BT,
            mask_BK=mask_BK,
            label_BK=label_BK,
            negative=negative,
            hist_label_BT=None if store.hist_label_E is None else gather(store.hist_label_E, row_BT, mask_BT),
            channel_BT=self.number_V[history[self.schema.type]] if self.channels else None,
        )

    def event_rows(self, user_B: np.ndarray, end_B: np.ndarray, T: int) -> tuple[np.ndarray, np.ndarray]:
        """The rows [B, T] of the most recent T events of users' histories that end before `end_B`, and their mask."""
        start_B = self.store.offsets[user_B]
        if self.channels:
            return self.channels.window_rows(start_B, end_B, T)
        return window_rows(np.maximum(start_B, end_B - self.max_len), end_B, T)

    def now(self, index_B: np.ndarray) -> np.ndarray:
        """When the candidates of samples are: the time of the target, or of the impression."""
        if self.shown is not None:
            return self.shown.time_N[self.sample_N[index_B]]
        return self.store.time_E[self.end_N[index_B]]

    def times(self, row_BT: np.ndarray, mask_BT: np.ndarray, now_B: np.ndarray) -> dict[str, np.ndarray]:
        """The fields of time [B, T] of the past events in these rows; what comes after the last one is now."""
        if not self.schema.time_fields:
            return {}
        now_BT, at_BT = np.broadcast_to(now_B[:, None], row_BT.shape), np.take(self.store.time_E, row_BT)
        place_BT = mask_BT.sum(axis=1, keepdims=True) - np.arange(row_BT.shape[1])
        next_BT = np.where(place_BT == 1, now_BT, np.roll(at_BT, -1, axis=1))
        ids = history_ids(self.schema, at_BT, next_BT, place_BT, now_BT)
        return {name: np.where(mask_BT, id_BT, np.int32(PADDING)) for name, id_BT in ids.items()}

    def _fields(self, row_M1: np.ndarray, item_M1: np.ndarray) -> dict[str, np.ndarray]:
        """The fields [M] of drawn events; the items' ids from a table of all items, which is smaller than the log."""
        fields = {name: column for name, column in self.store.events.items() if name != self.schema.item}
        ids = {self.schema.item: np.take(self.id_I, item_M1[:, 0])}
        return ids | {name: np.take(column, row_M1[:, 0], axis=0) for name, column in fields.items()}

    def _candidates(
        self, index_B: np.ndarray, user_B: np.ndarray, end_B: np.ndarray, epoch: int
    ) -> tuple[dict[str, Array], np.ndarray, np.ndarray]:
        if self.shown is not None:
            row_BK, mask_BK = window_rows(self.from_N[index_B], self.to_N[index_B], self.K)
            field: dict[str, Array] = {n: gather(c, row_BK, mask_BK) for n, c in self.shown.field.items()}
            return field, gather(self.shown.label_C, row_BK, mask_BK), mask_BK
        positive_B = self.store.raw_item_E[end_B]
        slot_1N = np.arange(self.candidates)[None, :]
        item_BN = np.broadcast_to(positive_B[:, None], (len(index_B), self.candidates))
        negative_BN, _ = self.negatives.draw(epoch, CANDIDATE, index_B, user_B, slot_1N, item_BN)
        row_BK = np.concatenate([end_B[:, None], negative_BN], axis=1)
        label_BK = np.zeros(row_BK.shape, np.float32)
        label_BK[:, 0] = 1
        events: dict[str, Array] = {name: column[row_BK] for name, column in self.store.events.items()}
        return events, label_BK, np.ones(row_BK.shape, bool)


def cut_rows(first: np.ndarray) -> tuple[int, np.ndarray, np.ndarray, np.ndarray]:
    """K, and for each row its sample, first candidate and end, where sample n has candidates first[n] to first[n + 1].

    K, a power of two or the largest number of candidates, minimises the work of rows with K candidates and a history
    that costs about as much as two candidates: impressions of 200 do not make all others 200 wide.
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
