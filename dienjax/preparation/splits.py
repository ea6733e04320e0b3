"""Training, validation and test splits: each protocol as a pure function from whole users to their samples.

What the users share is decided before: the part of each user, or the times at which validation and testing begin.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

Protocol = Literal["last", "all", "time", "user"]

PARTS = ("train", "valid", "test")
NONE = -1
"""The part of a user who has no samples; otherwise it is a position among `PARTS`."""


@dataclass(frozen=True)
class Split:
    """The samples of a protocol and what training may know.

    Attributes:
      train_E: True for the events that training knows.
      train_U: True for the users that training knows.
      ends: the event row of each sample's target, by split name (protocols last and all).
      shown: the indices of the impression samples, by split name (protocols time and user).
    """

    train_E: np.ndarray
    train_U: np.ndarray
    ends: dict[str, np.ndarray]
    shown: dict[str, np.ndarray]


@dataclass(frozen=True)
class Fractions:
    """The share of users or impressions for testing, and the share of the others for validation."""

    test: float
    valid: float
    seed: int


def last(offsets: np.ndarray, part_U: np.ndarray) -> Split:
    """Users split at random, the target is the last event (DIEN paper); `train_all` has the training users' targets."""
    count_U = np.diff(offsets)
    train_U = part_U == 0
    train_E = np.repeat(train_U, count_U)
    target_E = train_E.copy()
    target_E[offsets[:-1][count_U > 0]] = False
    ends = {name: offsets[1:][part_U == part] - 1 for part, name in enumerate(PARTS)}
    return Split(train_E, train_U, ends | {"train_all": np.flatnonzero(target_E)}, {})


def leave_one_out(offsets: np.ndarray) -> Split:
    """Each user's last event for testing, the one before for validation, the other targets for training (DIN paper)."""
    count_U, last_U = np.diff(offsets), offsets[1:] - 1
    train_E = np.ones(offsets[-1], bool)
    train_E[last_U[count_U >= 1]] = False
    train_E[last_U[count_U >= 2] - 1] = False
    target_E = train_E.copy()
    target_E[offsets[:-1][count_U >= 1]] = False
    ends = {"train": np.flatnonzero(target_E), "valid": last_U[count_U >= 3] - 1, "test": last_U[count_U >= 2]}
    return Split(train_E, count_U >= 4, ends, {})


def by_user(offsets: np.ndarray, user_N: np.ndarray, part_U: np.ndarray) -> Split:
    """Impressions split by user: all those of a user are in the same split."""
    shown = {name: np.flatnonzero(part_U[user_N] == part) for part, name in enumerate(PARTS)}
    # Users without impressions test nothing: what they did may be known.
    train_U = part_U <= 0
    return Split(np.repeat(train_U, np.diff(offsets)), train_U, {}, shown)


def by_time(
    offsets: np.ndarray, time_E: np.ndarray, user_N: np.ndarray, time_N: np.ndarray, begins: tuple[float, float]
) -> Split:
    """Impressions split by time: the latest for testing, those before for validation; one moment is never divided.

    Training knows the events before the first impression of the validation split. `begins` is from `times_of_parts`.
    """
    valid_from, test_from = begins
    part_N = (time_N >= valid_from).astype(int) + (time_N >= test_from)
    shown = {name: np.flatnonzero(part_N == part) for part, name in enumerate(PARTS)}
    train_E = time_E < valid_from
    active = np.concatenate([np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))[train_E], user_N[shown["train"]]])
    return Split(train_E, marked(active, len(offsets) - 1), {}, shown)


def parts_of_users(eligible_U: np.ndarray, fractions: Fractions) -> np.ndarray:
    """The part of each user (int8), drawn at random from those who are eligible."""
    shuffled = np.random.default_rng(fractions.seed).permutation(np.flatnonzero(eligible_U))
    test_n = share(fractions.test, len(shuffled))
    valid_n = share(fractions.valid, len(shuffled) - test_n)
    part_U = np.full(len(eligible_U), NONE, np.int8)
    for name, users in zip(("test", "valid", "train"), np.split(shuffled, [test_n, test_n + valid_n]), strict=True):
        part_U[users] = PARTS.index(name)
    return part_U


def times_of_parts(blocks: Callable[[], Iterator[np.ndarray]], N: int, fractions: Fractions) -> tuple[float, float]:
    """When validation and testing begin, of N impressions with the times that `blocks()` gives, in any order."""
    test_n = share(fractions.test, N)
    valid_n = share(fractions.valid, N - test_n)
    test_from = smallest(blocks, N - test_n) if test_n else np.inf
    return smallest(blocks, N - test_n - valid_n) if valid_n else test_from, test_from


def smallest(blocks: Callable[[], Iterator[np.ndarray]], k: int) -> float:
    """The value that has k smaller or equal ones before it when all blocks (int64 or float64) are sorted.

    Found 16 bits at a time by counting, so that the values need not be in memory together.
    """
    found, dtype = np.uint64(0), np.dtype(np.int64)
    for shift in (48, 32, 16, 0):
        count = np.zeros(1 << 16, np.int64)
        for block in blocks():
            dtype, key = block.dtype, _ordered(block)
            if shift < 48:
                key = key[key >> np.uint64(shift + 16) == found]
            count += np.bincount((key >> np.uint64(shift) & np.uint64(0xFFFF)).astype(np.int64), minlength=1 << 16)
        digit = int(np.searchsorted(np.cumsum(count), k, "right"))
        k -= int(count[:digit].sum())
        found = found << np.uint64(16) | np.uint64(digit)
    bits = np.array([found])
    negative = bits < np.uint64(1 << 63)
    if dtype == np.float64:
        return float(np.where(negative, ~bits, bits ^ np.uint64(1 << 63)).view(np.float64)[0])
    return int((bits ^ np.uint64(1 << 63)).view(np.int64)[0])


def _ordered(value: np.ndarray) -> np.ndarray:
    """uint64 numbers in the order of int64 or float64 values."""
    bits, sign = value.view(np.uint64), np.uint64(1 << 63)
    return np.where(bits & sign, ~bits, bits ^ sign) if value.dtype == np.float64 else bits ^ sign


def history_ends(user_E: np.ndarray, time_E: np.ndarray, user_N: np.ndarray, time_N: np.ndarray) -> np.ndarray:
    """For each impression [N], one past the user's last event row strictly before it; all sorted by (user, time).

    For a user without earlier events it is where the user's events begin, or would begin.
    """
    # One sorted list of both, impressions before events of the same moment: the events passed so far are the end.
    is_event = np.concatenate([np.zeros(len(user_N), bool), np.ones(len(user_E), bool)])
    order = np.lexsort((is_event, np.concatenate([time_N, time_E]), np.concatenate([user_N, user_E])))
    passed = np.cumsum(is_event[order])
    end_N = np.empty(len(user_N), np.int64)
    shown = ~is_event[order]
    end_N[order[shown]] = passed[shown]
    return end_N


def groups(user_R: np.ndarray, time_R: np.ndarray) -> np.ndarray:
    """Offsets [N + 1] of the runs of equal user and time in rows sorted by both."""
    starts = np.flatnonzero((np.diff(user_R, prepend=-1) != 0) | np.append(True, time_R[1:] != time_R[:-1]))
    return np.append(starts, len(user_R))


def share(fraction: float, n: int) -> int:
    """The fraction of n as a whole number; at least 1, unless either is 0."""
    return max(1, round(fraction * n)) if fraction and n else 0


def marked(index: np.ndarray, n: int) -> np.ndarray:
    """A mask [n], True at the indices."""
    mask = np.zeros(n, bool)
    mask[index] = True
    return mask
