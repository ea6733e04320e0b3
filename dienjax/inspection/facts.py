"""What an event store holds, in numbers: counted over every event, candidate and sample."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from dienjax.data.mapped import BLOCK, in_blocks, release
from dienjax.data.store import Samples, Store
from dienjax.inspection.integrity import check
from dienjax.inspection.kinds import described, unknown, unknown_names
from dienjax.inspection.separation import aucs
from dienjax.schema import FIRST_ID

PERCENTS = (10, 50, 90, 99, 100)
MOMENTS = 60
"""Activity is counted in this many equal parts of the log's time."""
Unit = Literal["dates", "unix seconds", "numbers"]
Time = int | float
Share = float | None
"""In [0, 1]; None if there is nothing to take a share of."""


@dataclass(frozen=True)
class SplitFacts:
    """One split in numbers.

    Attributes:
      users: number of users with a sample.
      users_without_history: number of users with a sample whose history is empty.
      candidates: number of stored candidates; None if the target is an event and negatives are drawn.
      k_max: the most candidates of one sample.
      label_mean: the label rate, or the mean label of a regression.
      history: percentiles of the history length, by percent.
      history_bins: samples with a history of 0, 1, 2-3, 4-7, 8-15, ... events.
      unknown: share of unknown ids, of sets that hold one, and of missing numbers, by side (candidate, history, user)
        and field. A target that is an event counts as the candidate; histories count in full, an event in each history
        that holds it.
      first, last: the earliest and the latest time of a label.
      leaks: samples whose history holds an event after the label's time.
      ties: samples whose history holds an event at the label's time, and none after it.
      empty: samples without history.
      auc_alone: the AUC of ranking the stored candidates by one of their fields alone, by field.
      auc_unknown: the same by whether the field's id is unknown. Both are None if there are too few labels, or labels
        other than 0 and 1.
    """

    samples: int
    users: int
    users_without_history: int
    candidates: int | None
    k_max: int | None
    label_mean: float | None
    history: dict[str, int | None]
    history_bins: list[int]
    unknown: dict[str, dict[str, Share]]
    first: Time | None
    last: Time | None
    leaks: int
    ties: int
    empty: int
    auc_alone: dict[str, Share]
    auc_unknown: dict[str, Share]


@dataclass(frozen=True)
class TableFacts:
    """An embedding table: its rows (padding and unknown included), known values, and the fields that read it.

    Attributes:
      known: None if the table has no vocabulary.
    """

    rows: int
    known: int | None
    fields: list[str]


@dataclass(frozen=True)
class Facts:
    """A store in numbers, all of them plain: `dataclasses.asdict` of it is JSON.

    Attributes:
      settings: protocol, seed, fractions, min_count, as given to prepare.
      impressions: stored candidates that were shown; None if the targets are events.
      users_without_events: users of the impressions without an event in the log.
      time_unit: what the times are: dates, numbers that look like seconds since 1970, or numbers.
      activity: events in equal parts of the time from first to last.
      hist_label_mean: share of the events that were a positive signal; None if the log does not say.
      kinds: how each field is seen that is not one id of a vocabulary, by its name.
    """

    path: str
    schema_hash: str
    settings: dict
    item: str
    users: int
    users_without_events: int
    events: int
    impressions: int | None
    time_unit: Unit
    first: Time
    last: Time
    activity: list[int]
    hist_label_mean: Share
    tables: dict[str, TableFacts]
    kinds: dict[str, str]
    splits: dict[str, SplitFacts]
    left_out: dict[str, int]
    noticed: dict[str, int]


def inspect(store: Store) -> Facts:
    """What the store holds; every event, candidate and sample is looked at.

    Raises:
      ValueError: a damaged store, see `check`.
    """
    check(store)
    first, last, unit = time_span(store)
    of_events = [name for name in unknown_names(store, "candidate") if name in store.events]
    unknown_before = {name: UnknownBefore(store.events[name]) for name in of_events}
    splits = {name: _split(store, name, unknown_before) for name in store.splits}
    shown = store.info.get("protocol") in ("time", "user")
    return Facts(
        path=str(store.path),
        schema_hash=store.schema.hash,
        settings={name: store.info.get(name) for name in ("protocol", "seed", "fractions", "min_count")},
        item=store.schema.item,
        users=len(store.offsets) - 1,
        users_without_events=int((np.diff(store.offsets) == 0).sum()),
        events=len(store.time_E),
        impressions=sum(split.candidates or 0 for split in splits.values()) if shown else None,
        time_unit=unit,
        first=first,
        last=last,
        activity=np.sum(
            [np.histogram(time_r, MOMENTS, (first, last))[0] for _, time_r in in_blocks(store.time_E)], axis=0
        ).tolist(),
        hist_label_mean=None if store.hist_label_E is None else _mean(store.hist_label_E),
        tables={
            t.name: TableFacts(
                t.size,
                t.size - FIRST_ID if t.has_vocabulary else None,
                [f.name for f in store.schema.id_fields if f.table == t.name],
            )
            for t in store.schema.tables
        },
        kinds=described(store.schema),
        splits=splits,
        left_out=dict(store.info.get("left_out", {})),
        noticed=dict(store.info.get("noticed", {})),
    )


def time_span(store: Store) -> tuple[Time, Time, Unit]:
    """The times of the first and the last event, and what they are."""
    ends = [(time_r.min().item(), time_r.max().item()) for _, time_r in in_blocks(store.time_E)]
    first, last = min(low for low, _ in ends), max(high for _, high in ends)
    if store.info.get("dates"):
        return first, last, "dates"
    return first, last, "unix seconds" if 1e8 <= first <= last < 4.2e9 else "numbers"  # 1973 to 2103


def percentiles(count_L: np.ndarray) -> dict[str, int | None]:
    """Percentiles of an index with these counts [L]: the least one that p percent do not exceed; None if all are 0."""
    below_L = np.cumsum(count_L)
    total = int(below_L[-1])
    # In whole numbers: 0.1 * 30 is more than 3.
    return {str(p): int(np.searchsorted(below_L, -(-p * total // 100))) if total else None for p in PERCENTS}


def _split(store: Store, name: str, unknown_before: dict[str, "UnknownBefore"]) -> SplitFacts:
    samples = store.samples(name)
    shown = samples.candidates
    count_U = np.diff(store.offsets)
    length_count_L = np.zeros(int(count_U.max(initial=0)) + 1, np.int64)
    has_sample_U, has_empty_U = np.zeros((2, len(count_U)), bool)
    unknown_in_history = dict.fromkeys(unknown_before, 0)
    leaks = ties = 0
    spans = []
    for start in range(0, len(samples), BLOCK):
        user_n, end_n = samples.user_N[start : start + BLOCK], samples.end_N[start : start + BLOCK]
        first_n = store.offsets[user_n]
        length_n = end_n - first_n
        length_count_L += np.bincount(length_n, minlength=len(length_count_L))
        has_sample_U[user_n] = True
        has_empty_U[user_n[length_n == 0]] = True
        time_n = shown.time_N[start : start + BLOCK] if shown else store.time_E[end_n]
        spans.append((time_n.min().item(), time_n.max().item()))
        # Events of a user are sorted by time, so the last one before the end decides for the whole history.
        latest_n = store.time_E[np.maximum(end_n - 1, 0)]
        leaks += int(((length_n > 0) & (latest_n > time_n)).sum())
        ties += int(((length_n > 0) & (latest_n == time_n)).sum())
        for field, before in unknown_before.items():
            unknown_in_history[field] += int((before.row(end_n) - before.row(first_n)).sum())
        release(samples.user_N, samples.end_N, store.time_E)
    auc_alone, auc_unknown = aucs(store, shown) if shown else ({}, {})
    history_events = int(length_count_L @ np.arange(len(length_count_L)))
    return SplitFacts(
        samples=len(samples),
        users=int(has_sample_U.sum()),
        users_without_history=int(has_empty_U.sum()),
        candidates=len(shown.label_C) if shown else None,
        k_max=int(np.diff(shown.first).max(initial=0)) if shown else None,
        label_mean=_mean(shown.label_C) if shown and len(shown.label_C) else None,
        history=percentiles(length_count_L),
        history_bins=_by_magnitude(length_count_L),
        unknown={
            "candidate": _unknown_candidates(store, samples),
            "history": {f: n / history_events if history_events else None for f, n in unknown_in_history.items()},
            "user": {name: _unknown(store.users[name], samples.user_N) for name in unknown_names(store, "user")},
        },
        first=min((low for low, _ in spans), default=None),
        last=max((high for _, high in spans), default=None),
        leaks=leaks,
        ties=ties,
        empty=int(length_count_L[0]),
        auc_alone=auc_alone,
        auc_unknown=auc_unknown,
    )


def _unknown_candidates(store: Store, samples: Samples) -> dict[str, Share]:
    names = unknown_names(store, "candidate")
    if samples.candidates is None:
        return {name: _unknown(store.events[name], samples.end_N) for name in names if name in store.events}
    return {name: _unknown(samples.candidates.field[name]) for name in names}


def _unknown(value: np.ndarray, rows: np.ndarray | None = None) -> Share:
    """The share of unknown ids or missing numbers, of all or in these rows."""
    found = 0
    for _, part in in_blocks(value if rows is None else rows):
        found += int(np.count_nonzero(unknown(part if rows is None else value[part])))
        release(value)
    n = len(value if rows is None else rows)
    return found / n if n else None


def _mean(value_R: np.ndarray) -> float:
    return float(sum(value_r.sum(dtype=np.float64) for _, value_r in in_blocks(value_R)) / len(value_R))


class UnknownBefore:
    """The number of unknown values before any event row, from a bit per event and a count per 64 events."""

    def __init__(self, value_E: np.ndarray) -> None:
        bits = [np.packbits(unknown(value_r), bitorder="little") for _, value_r in in_blocks(value_E)]
        byte = np.concatenate([*bits, np.zeros(8, np.uint8)])  # one word more: the end is a row too
        self.word = byte[: len(byte) // 8 * 8].view(np.uint64)
        self.before = np.cumsum(np.bitwise_count(self.word), dtype=np.int64) - np.bitwise_count(self.word)

    def row(self, row_n: np.ndarray) -> np.ndarray:
        """How many are before each of these rows, or before the end."""
        at, inside = row_n >> 6, (np.uint64(1) << (row_n & 63).astype(np.uint64)) - np.uint64(1)
        return self.before[at] + np.bitwise_count(self.word[at] & inside)


def _by_magnitude(count_L: np.ndarray) -> list[int]:
    """Counts by index, summed over the indices 0, 1, 2-3, 4-7, ..., up to the last bin that is not empty."""
    digits_L = np.frexp(np.arange(len(count_L)))[1]
    return np.trim_zeros(np.bincount(digits_L, count_L).astype(int), "b").tolist()
