"""Which users the interest explorer shows, with which candidates and which events of their histories."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from dienjax.data.histories import scatter
from dienjax.errors import nearest
from dienjax.report.scored import Scored

SHARES = {"most active": 17, "worst scored": 17, "random": 16}
"""How many users are chosen, and why."""
CANDIDATES = 10
"""The most candidates of a user."""
EVENTS = 50
"""The most events of a user: the latest. A model sees the earlier ones all the same."""


@dataclass(frozen=True)
class Cases:
    """U users with a sample of the split each: up to K candidates, and the T latest events of the history.

    Attributes:
      user_U: their rows in the store.
      why: why each of them is here.
      row_U: the row of the data set with the history (where candidates fill several: one of them).
      candidate: ids and numbers [U, K], of sets [U, K, M], by field, 0 where `mask_UK` is False.
      end_U: where their histories end: one past the last event's row in the store.
      event_UT: rows of the store, oldest first, 0 where `mask_UT` is False.
    """

    user_U: np.ndarray
    why: Sequence[str]
    row_U: np.ndarray
    candidate: dict[str, np.ndarray]
    label_UK: np.ndarray
    mask_UK: np.ndarray
    end_U: np.ndarray
    event_UT: np.ndarray
    mask_UT: np.ndarray

    @property
    def length_U(self) -> np.ndarray:
        """The number of events shown."""
        return self.mask_UT.sum(axis=1)


def cases(scored: Sequence[Scored], users: Sequence[str] | None = None, seed: int = 0) -> Cases:
    """The users that are named, or a sample: the most active, the worst scored, and others by `seed`.

    Activity is the number of events in the log; the score is the mean error of a user's candidates, log loss or
    absolute, over the runs. A user's sample is the most recent one; of its candidates the positive ones come first,
    then those that the first run scores highest.

    Args:
      scored: runs on the same split.
      users: raw values, as text; none: the sample.

    Raises:
      ValueError: a user who has no sample in the split, with the nearest of those who have.
    """
    first = scored[0]
    why = _sample(scored, seed) if not users else dict.fromkeys(_named(first, users), "named")
    user_U = np.array([*why], np.int64)
    chosen = [_candidates(first, user) for user in user_U]
    count_U = np.array([len(index) for index in chosen], np.int64)
    mask_UK = np.arange(count_U.max(initial=1)) < count_U[:, None]
    index_C = np.concatenate([*chosen, np.zeros(0, np.int64)])
    batch = first.dataset.rows(first.row_M[index_C], 1, 0)
    slot_C = np.arange(len(index_C)), first.column_M[index_C]

    row_U = first.row_M[index_C[np.cumsum(count_U) - count_U]]
    end_U = first.dataset.end_N[row_U]
    longest = max((one.dataset for one in scored), key=lambda dataset: dataset.length_N.max())
    T = min(EVENTS, max(1, longest.length_N[row_U].max(initial=0)))
    event_UT, mask_UT = longest.event_rows(user_U, end_U, T)
    return Cases(
        user_U=user_U,
        why=[*why.values()],
        row_U=row_U,
        candidate={name: scatter(np.asarray(value)[slot_C], mask_UK) for name, value in batch.candidate.items()},
        label_UK=scatter(first.label_M[index_C], mask_UK),
        mask_UK=mask_UK,
        end_U=end_U,
        event_UT=event_UT,
        mask_UT=mask_UT,
    )


def _sample(scored: Sequence[Scored], seed: int) -> dict[int, str]:
    """Users without duplicates, each with the first reason that holds."""
    user_U, place_M = np.unique(scored[0].user_M, return_inverse=True)
    count_U = np.bincount(place_M)
    loss_U = sum(np.bincount(place_M, one.error_M) / count_U for one in scored)
    keys = np.diff(scored[0].store.offsets)[user_U], loss_U, np.random.default_rng(seed).random(len(user_U))
    why: dict[int, str] = {}

    def others(order: np.ndarray) -> Iterator[int]:
        return (user for user in user_U[order].tolist() if user not in before)

    for (reason, share), key_U in zip(SHARES.items(), keys, strict=True):
        before = {*why}
        why |= dict.fromkeys(islice(others(np.argsort(-key_U, kind="stable")), share), reason)
    return why


def _named(scored: Scored, users: Sequence[str]) -> list[int]:
    """The rows of users by their raw values."""
    present_U = np.unique(scored.user_M)
    row: dict[Any, int] = dict(zip(scored.store.user_values().astype(str)[present_U], present_U.tolist(), strict=True))
    for user in users:
        if user not in row:
            known = sorted(row)
            at = bisect_left(known, user)
            raise ValueError(
                f"user {user!r} has no sample in the split {scored.split!r} of {scored.store.path}; "
                + nearest(user, known[max(0, at - 5) : at + 5])
            )
    return [row[user] for user in users]


def _candidates(scored: Scored, user: int) -> np.ndarray:
    """Which of all M candidates are shown for a user."""
    dataset = scored.dataset
    index_C = np.flatnonzero(scored.user_M == user)
    sample_C = dataset.sample_N[scored.row_M[index_C]]
    time_N = dataset.end_N if dataset.shown is None else dataset.shown.time_N
    latest = max(sample_C.tolist(), key=lambda sample: (time_N[sample], sample))
    index_C = index_C[sample_C == latest]
    positive_C = (scored.label_M[index_C] > 0) & (scored.task == "binary")
    return index_C[np.lexsort((-scored.logit_M[index_C], ~positive_C))][:CANDIDATES]
