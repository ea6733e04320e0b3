"""Negative sampling of event rows by a counter-based generator: no draw is stored, or depends on its batch."""

from functools import lru_cache
from typing import Literal, get_args

import numpy as np

from dienjax.errors import nearest

How = Literal["popularity", "uniform"]
Own = Literal["allow", "exclude"]

HISTORY, CANDIDATE = 0, 1
"""The two streams of a sample: negatives of its history slots, and of its candidates."""

ATTEMPTS = 32
BLOCK = 1 << 20
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def mix(x: np.ndarray) -> np.ndarray:
    """The splitmix64 finaliser, in place on a uint64 array (Steele, Lea and Flood 2014)."""
    shifted = x >> np.uint64(30)
    x ^= shifted
    x *= np.uint64(0xBF58476D1CE4E5B9)
    np.right_shift(x, np.uint64(27), out=shifted)
    x ^= shifted
    x *= np.uint64(0x94D049BB133111EB)
    np.right_shift(x, np.uint64(31), out=shifted)
    x ^= shifted
    return x


def sample_keys(seed: int, epoch: int, stream: int, sample_B: np.ndarray) -> np.ndarray:
    """A 64-bit key [B] per sample, the start of its own counter stream."""
    return mix(_stream_key(seed, epoch, stream) + _GOLDEN * (np.asarray(sample_B).astype(np.uint64) + np.uint64(1)))


@lru_cache(64)
def _stream_key(*parts: int) -> np.uint64:
    key = np.zeros(1, np.uint64)
    for part in parts:
        key = mix(key + _GOLDEN * np.array([part + 1], np.uint64))
    return key[0]


def below(n: int | np.ndarray, key: np.ndarray, slot: np.ndarray, attempt: int) -> np.ndarray:
    """Random integers (int64) in [0, n), one per key and slot (broadcast against each other)."""
    counter = np.asarray(slot, np.uint64) * _times_golden(ATTEMPTS + 1)
    bits = mix(counter + (key + _times_golden(attempt)))
    bits >>= np.uint64(11)
    # 53 bits as a float in [0, 1): exact for every n that an array can have, and no division.
    return (bits.view(np.int64) * (2.0**-53 * n)).astype(np.int64)


def _times_golden(n: int) -> np.uint64:
    return np.uint64(n * int(_GOLDEN) % 2**64)


class Negatives:
    """Draws event rows whose item differs from a positive's.

    A negative is a whole event, so its category and other attributes come from the same row. `popularity` is uniform
    over the events of the pool; `uniform` is uniform over its items, each standing for its last event there.

    Items are told apart as in the log, also those without an id of their own (unknown), and the pool holds the events
    that could as well have been the positive. Otherwise "unknown" would separate positives from negatives: if unknown
    items were never drawn, or if positives were less known to training than what is drawn.

    `own="exclude"` also avoids every item of the user, past and future. Both it and `popularity` redraw up
    to 32 times. A user who owns nearly everything then keeps the last draw that differs from the positive;
    an item that is nearly all of the pool gets a draw from `uniform`, so a negative always exists.

    Args:
      item_E: which item each event is; see `Store.raw_item_E`.
      offsets: [U + 1] first event row of each user; read for `own="exclude"` only.
      pool: the event rows that negatives are drawn from, ascending.

    Raises:
      ValueError: a pool of fewer than two items, or an unknown option.
    """

    def __init__(
        self,
        item_E: np.ndarray,
        offsets: np.ndarray,
        pool: np.ndarray,
        *,
        seed: int = 0,
        how: How = "popularity",
        own: Own = "allow",
    ) -> None:
        for name, value, choices in (("how", how, get_args(How)), ("own", own, get_args(Own))):
            if value not in choices:
                raise ValueError(f"Negatives: {name}={value!r}; {nearest(str(value), choices)}")
        if seed < 0:
            raise ValueError(f"Negatives: seed={seed}; expected an integer >= 0")
        self.item_E, self.pool, self.seed, self.how = item_E, pool, seed, how
        items = int(item_E.max(initial=-1)) + 1
        last_I = np.full(items, -1, np.int64)
        for start in range(0, len(pool), BLOCK):  # a pool of a hundred million rows may be a memory-mapped file
            last_I[item_E[pool[start : start + BLOCK]]] = pool[start : start + BLOCK]
        drawable = np.flatnonzero(last_I >= 0)
        if len(drawable) < 2:
            raise ValueError(
                f"Negatives: {len(drawable)} item(s) to draw from, in {len(pool)} events; expected at least 2, since a "
                "negative must differ from its positive: give a log with more items"
            )
        self.last_row_M = last_I[drawable]
        self.place_I = np.full(items, -1, np.int64)
        self.place_I[drawable] = np.arange(len(drawable))
        self.own = OwnItems(item_E, offsets, items) if own == "exclude" else None

    def draw(
        self,
        epoch: int,
        stream: int,
        sample_B: np.ndarray,
        user_B: np.ndarray,
        slot_BN: np.ndarray,
        item_BN: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Event rows [B, N] (int64) whose items differ from `item_BN`, and these items [B, N].

        They are a function of (seed, epoch, sample, slot).
        """
        shape, N = item_BN.shape, item_BN.shape[1]
        key_B = sample_keys(self.seed, epoch, stream, sample_B)
        row_BN = self._propose(key_B[:, None], slot_BN, item_BN, 0)
        drawn_BN, fits_BN, settled_BN = self._judge(row_BN, item_BN, user_B[:, None])
        todo = np.flatnonzero(~settled_BN)
        if not len(todo):
            return row_BN, drawn_BN
        row, drawn, fits = row_BN.reshape(-1), drawn_BN.reshape(-1), fits_BN.reshape(-1)
        key, user = key_B[todo // N], user_B[todo // N]
        slot, item = np.broadcast_to(slot_BN, shape)[todo // N, todo % N], item_BN.reshape(-1)[todo]
        for attempt in range(1, ATTEMPTS):
            new = self._propose(key, slot, item, attempt)
            new_drawn, new_fits, settled = self._judge(new, item, user)
            row[todo[new_fits]] = new[new_fits]
            drawn[todo[new_fits]] = new_drawn[new_fits]
            fits[todo[new_fits]] = True
            todo, key, user, slot, item = (a[~settled] for a in (todo, key, user, slot, item))
            if not len(todo):
                return row_BN, drawn_BN
        none = ~fits[todo]
        row[todo[none]] = self._uniform(key[none], slot[none], item[none], ATTEMPTS)
        drawn[todo[none]] = np.take(self.item_E, row[todo[none]])
        return row_BN, drawn_BN

    def _propose(self, key: np.ndarray, slot: np.ndarray, item: np.ndarray, attempt: int) -> np.ndarray:
        if self.how == "uniform":
            return self._uniform(key, slot, item, attempt)
        return np.take(self.pool, below(len(self.pool), key, slot, attempt))

    def _uniform(self, key: np.ndarray, slot: np.ndarray, item: np.ndarray, attempt: int) -> np.ndarray:
        """Uniform over the pool's items without the positive: one draw from a range that skips its place."""
        place = self.place_I[item]
        draw = below(len(self.last_row_M) - (place >= 0), key, slot, attempt)
        return self.last_row_M[draw + ((place >= 0) & (draw >= place))]

    def _judge(self, row: np.ndarray, item: np.ndarray, user: np.ndarray) -> tuple[np.ndarray, ...]:
        """Whether each draw may be used at all, and whether it is also final."""
        drawn = np.take(self.item_E, row)
        fits = drawn != item
        return drawn, fits, fits if self.own is None else fits & ~self.own.holds(user, drawn)


class OwnItems:
    """The items of each user, for membership tests: offsets as for `Negatives`, items sorted within each user."""

    def __init__(self, item_E: np.ndarray, offsets: np.ndarray, items: int) -> None:
        base_E = np.repeat(np.arange(len(offsets) - 1) * items, np.diff(offsets))
        sorted_E = base_E + item_E
        sorted_E.sort()
        sorted_E -= base_E
        self.item_E, self.offsets = sorted_E.astype(np.int32), offsets

    def holds(self, user: np.ndarray, item: np.ndarray) -> np.ndarray:
        """Whether the user has the item (broadcast against each other), by a binary search in the user's items."""
        first, end = self.offsets[user], self.offsets[user + 1]
        at, n = first, end - first  # the item, if it is there, stands among the n from `at` on
        while (n > 1).any():
            half = n // 2
            at = at + half * (np.take(self.item_E, at + half, mode="clip") <= item)
            n = n - half
        return (at < end) & (np.take(self.item_E, at, mode="clip") == item)
