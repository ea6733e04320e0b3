"""What an event store holds, as text for a person: a summary of a few lines, or everything."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from dienjax.data.store import Store
from dienjax.inspection.facts import Facts, Time, Unit, inspect

DIMS = (8, 18, 64)
BLOCKS = " ▁▂▃▄▅▆▇█"


def inspect_store(path: str | Path) -> Facts:
    """What the store in a folder holds, see `inspect`.

    Raises:
      FileNotFoundError, ValueError: no store, an incomplete or a damaged one.
    """
    store = Store.open(path)
    store.verify()
    return inspect(store)


def summary(store: Store) -> str:
    """A few lines for a person: counts, splits, what was left out or noticed, and what to do next."""
    facts = inspect(store)
    return "\n".join([*_head(facts), *_next(facts)])


def text(facts: Facts) -> str:
    """All facts for a person."""
    largest = max(facts.splits, key=lambda name: facts.splits[name].samples)
    parts = [
        _head(facts),
        [_settings(facts), *_events(facts)],
        _labels(facts),
        _unknown(facts),
        _leaks(facts),
        _tables(facts),
        [f"history lengths of {largest}", *_lengths(facts.splits[largest].history_bins)],
        ["events over time", *_activity(facts)],
        _next(facts),
    ]
    return "\n\n".join("\n".join(part) for part in parts)


def alarms(facts: Facts) -> list[str]:
    """A sentence for each split in which histories hold what was not there yet when the label came."""
    # The history of an impression is strictly before it; that of an event is what stands before it in the log.
    strict = facts.impressions is not None
    found = []
    for name, split in facts.splits.items():
        for what, number in (("after", split.leaks), ("at", split.ties if strict else 0)):
            if number:
                found.append(
                    f"ALARM: split {name}: {number:,} of {split.samples:,} histories hold an event {what} the time of "
                    "their label; expected none: quality measured on them means nothing"
                )
    return found


def shown_time(time: Time | None, unit: Unit) -> str:
    """A time as a date (of UTC, with hours unless it is midnight), or as the number that it is."""
    if time is None:
        return "-"
    if unit == "numbers":
        return f"{time:,}"
    date = str(np.datetime64(math.floor(time), "s"))
    return date[:10] if date.endswith("T00:00:00") else date[:16].replace("T", " ")


def bin_names(n: int) -> list[str]:
    """The names of n bins of lengths: 0, 1, 2-3, 4-7, ..."""
    return ["0", "1", *(f"{2**i:,}-{2 ** (i + 1) - 1:,}" for i in range(1, n))][:n]


def bars(counts: Sequence[int], width: int = 1, gap: int = 0, height: int = 4) -> list[str]:
    """Lines of block characters: a column per count, as high as its share of the largest; only 0 has no height."""
    eighths = [math.ceil(8 * height * n / max(*counts, 1)) for n in counts]
    return [
        "".join(BLOCKS[min(max(e - 8 * line, 0), 8)] * width + " " * gap for e in eighths).rstrip()
        for line in reversed(range(height))
    ]


def _head(facts: Facts) -> list[str]:
    known = ", ".join(f"{facts.tables[name].known:,} of {name}" for name in facts.tables)
    impressions = "" if facts.impressions is None else f", {facts.impressions:,} impressions"
    rows = [["split", "samples", "candidates", "K", "mean label", f"unknown {facts.item}", "history at 10 %"]]
    rows[0] += ["50 %", "90 %", "99 %", "100 %"]
    for name, split in facts.splits.items():
        stored = ("drawn", "-") if split.candidates is None else (f"{split.candidates:,}", f"{split.k_max:,}")
        label = "-" if split.label_mean is None else f"{split.label_mean:.4g}"
        lengths = ["-" if n is None else f"{n:,}" for n in split.history.values()]
        unknown = _percent(split.unknown["candidate"][facts.item])
        rows.append([name, f"{split.samples:,}", *stored, label, unknown, *lengths])
    return [
        *alarms(facts),
        f"{facts.users:,} users, {facts.events:,} events{impressions}; values known in training: {known}",
        *_aligned(rows),
        *(f"left out: {number:,} {reason}" for reason, number in facts.left_out.items() if number),
        *(f"noticed: {number:,} {reason}" for reason, number in facts.noticed.items() if number),
    ]


def _next(facts: Facts) -> list[str]:
    return [
        f"written to {facts.path}, schema {facts.schema_hash}",
        f"next: dienjax train dien --store {facts.path} --run runs/<name>",
    ]


def _settings(facts: Facts) -> str:
    fractions = ", ".join(f"{name} fraction {share:g}" for name, share in (facts.settings["fractions"] or {}).items())
    settings = facts.settings | {"fractions": None}
    return ", ".join([*(f"{k} {v}" for k, v in settings.items() if v is not None), *filter(None, [fractions])])


def _events(facts: Facts) -> list[str]:
    lines = [f"events from {shown_time(facts.first, facts.time_unit)} to {shown_time(facts.last, facts.time_unit)}"]
    if facts.time_unit == "unix seconds":
        lines[0] += " (the log has numbers, read here as seconds since 1970)"
    if facts.users_without_events:
        lines.append(f"{facts.users_without_events:,} users have impressions but no event")
    if facts.hist_label_mean is not None:
        lines.append(f"{_percent(facts.hist_label_mean)} of the events were a positive signal (hist_label)")
    return lines


def _labels(facts: Facts) -> list[str]:
    rows = [["split", "labels from", "to", "users", "no history", "of users", "event at label's time"]]
    for name, split in facts.splits.items():
        span = [shown_time(time, facts.time_unit) for time in (split.first, split.last)]
        numbers = (split.users, split.empty, split.users_without_history, split.ties)
        rows.append([name, *span, *(f"{n:,}" for n in numbers)])
    return _aligned(rows)


def _unknown(facts: Facts) -> list[str]:
    columns = [(side, field) for side, of in next(iter(facts.splits.values())).unknown.items() for field in of]
    rows = [["unknown ids", *(f"{side} {field}" for side, field in columns)]]
    rows += [[name, *(_percent(s.unknown[side][field]) for side, field in columns)] for name, s in facts.splits.items()]
    return _aligned(rows)


def _leaks(facts: Facts) -> list[str]:
    checked = sum(split.samples for split in facts.splits.values())
    ties = sum(split.ties for split in facts.splits.values())
    lines = alarms(facts) or [f"no leak: no history of {checked:,} holds an event after the time of its label"]
    if facts.impressions is None and ties:
        lines.append(
            f"{ties:,} ({_percent(ties / checked)}) hold an event at the very time of their label, which is no error: "
            "of equal times the order of the log decides"
        )
    return lines


def _tables(facts: Facts) -> list[str]:
    rows = [["table", "rows", *(f"numbers at dim {dim}" for dim in DIMS), "read by"]]
    for name, table in facts.tables.items():
        rows.append([name, f"{table.rows:,}", *(f"{table.rows * dim:,}" for dim in DIMS), ", ".join(table.fields)])
    return _aligned(rows)


def _lengths(counts: list[int]) -> list[str]:
    if not counts:
        return ["no samples"]
    names = bin_names(len(counts))
    width = max(map(len, names))
    return [*bars(counts, width, gap=1), " ".join(name.center(width) for name in names).rstrip()]


def _activity(facts: Facts) -> list[str]:
    first, last = (shown_time(time, facts.time_unit) for time in (facts.first, facts.last))
    return [*bars(facts.activity), first + last.rjust(len(facts.activity) - len(first))]


def _percent(share: float | None) -> str:
    """Exactly none is told from nearly none."""
    return "-" if share is None else f"{100 * share:.2f} %" if share else "0 %"


def _aligned(rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of columns, the first to the left, the others to the right."""
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows]
