"""What an event store holds, as text for a person: a summary of a few lines, or everything."""

import math
import os
import shlex
import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dienjax.data.store import Store
from dienjax.inspection.facts import Facts, Time, Unit, inspect

WIDTH = 80
"""Characters of a line."""

SUSPICIOUS_AUC, SUSPICIOUS_UNKNOWN = 0.95, 0.05
"""The AUC above which a field alone is suspicious, and the distance from 0.5 above which being unknown is."""

DIMS = (8, 18, 64)
BLOCKS = " ▁▂▃▄▅▆▇█"


def inspect_store(path: str | Path) -> Facts:
    """What the store in a folder holds; see `inspect`.

    Raises:
      FileNotFoundError, ValueError: there is no store, or an incomplete or damaged one.
    """
    store = Store.open(path)
    store.verify()
    return inspect(store)


def summary(store: Store) -> str:
    """A few lines for a person who wrote the store: counts, splits, what was left out or noticed, what to do next."""
    facts = inspect(store)
    written = f"written to {_shortest(facts.path)}, schema {facts.schema_hash}"
    return "\n".join([*_head(facts), *_wrapped(written), _next(facts)])


def text(facts: Facts) -> str:
    """All facts for a person, and what to do next."""
    return f"{card(facts)}\n\n{_next(facts)}"


def card(facts: Facts) -> str:
    """All facts for a person."""
    largest = max(facts.splits, key=lambda name: facts.splits[name].samples)
    parts = [
        _head(facts),
        [*_wrapped(_settings(facts)), *_events(facts)],
        _labels(facts),
        _unknown(facts),
        _leaks(facts),
        _tables(facts),
        *([_kinds(facts)] if facts.kinds else []),
        [f"history lengths of {largest}", *_lengths(facts.splits[largest].history_bins)],
        ["events over time", *_activity(facts)],
    ]
    return "\n\n".join("\n".join(part) for part in parts)


def alarms(facts: Facts) -> list[str]:
    """A sentence for each split whose histories hold events that were not there yet when the label came."""
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


def warnings(facts: Facts) -> list[str]:
    """A sentence for each candidate field that alone (almost) separates the labels of a split."""
    found = []
    for name, split in facts.splits.items():
        for field, auc in split.auc_alone.items():
            if auc is not None and auc > SUSPICIOUS_AUC:
                found.append(
                    f"WARNING: candidate field {field} alone separates the labels of {name}: AUC {auc:.3f}; was it "
                    "known before the label? If not, prepare without it"
                )
        for field, auc in split.auc_unknown.items():
            if auc is not None and abs(auc - 0.5) > SUSPICIOUS_UNKNOWN:
                found.append(
                    f"WARNING: whether {field} is unknown (id 1) separates the labels of {name}: AUC {auc:.3f}, "
                    "expected about 0.5; a model may learn that instead of interests"
                )
    return found


def shown_time(time: Time | None, unit: Unit) -> str:
    """A time as a date (in UTC, with hours and minutes unless it is midnight), or as the number that it is."""
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
    known = ", ".join(f"{t.known:,} of {name}" for name, t in facts.tables.items() if t.known is not None)
    impressions = "" if facts.impressions is None else f", {facts.impressions:,} impressions"
    sizes = [["split", "samples", "candidates", "K", "mean label", f"unknown {facts.item}"]]
    lengths = [["history at", *(f"{percent} %" for percent in next(iter(facts.splits.values())).history)]]
    for name, split in facts.splits.items():
        stored = ("drawn", "-") if split.candidates is None else (f"{split.candidates:,}", f"{split.k_max:,}")
        label = "-" if split.label_mean is None else f"{split.label_mean:.4g}"
        sizes.append([name, f"{split.samples:,}", *stored, label, _percent(split.unknown["candidate"][facts.item])])
        lengths.append([name, *("-" if n is None else f"{n:,}" for n in split.history.values())])
    return [
        *(line for sentence in (*alarms(facts), *warnings(facts)) for line in _wrapped(sentence)),
        *_wrapped(
            f"{facts.users:,} users, {facts.events:,} events{impressions}; values known in training: {known or 'none'}"
        ),
        *_aligned(sizes),
        *_aligned(lengths),
        *(s for reason, n in facts.left_out.items() if n for s in _wrapped(f"left out: {n:,} {reason}")),
        *(s for reason, n in facts.noticed.items() if n for s in _wrapped(f"noticed: {n:,} {reason}")),
    ]


def _next(facts: Facts) -> str:
    """A command that works as it stands, so it is not wrapped."""
    path, run = Path(_shortest(facts.path)), Path("runs") / Path(facts.path).name
    return f"next: dienjax train dien --store {shlex.quote(str(path))} --run {shlex.quote(str(run))}"


def _shortest(path: str) -> str:
    """A path as it is, or relative to the current folder."""
    return min(path, os.path.relpath(path), key=len)


def _settings(facts: Facts) -> str:
    fractions = ", ".join(f"{name} fraction {share:g}" for name, share in (facts.settings["fractions"] or {}).items())
    settings = facts.settings | {"fractions": None}
    named = [*(f"{k} {v}" for k, v in settings.items() if v is not None), *filter(None, [fractions])]
    return f"{_shortest(facts.path)}, schema {facts.schema_hash}: {', '.join(named)}"


def _events(facts: Facts) -> list[str]:
    lines = [f"events from {shown_time(facts.first, facts.time_unit)} to {shown_time(facts.last, facts.time_unit)}"]
    if facts.time_unit == "unix seconds":
        lines[0] += " (the log has numbers, read here as seconds since 1970)"
    if facts.users_without_events:
        lines.append(f"{facts.users_without_events:,} users have impressions but no event")
    if facts.hist_label_mean is not None:
        lines.append(f"{_percent(facts.hist_label_mean)} of the events were a positive signal (hist_label)")
    return [part for line in lines for part in _wrapped(line)]


def _labels(facts: Facts) -> list[str]:
    rows = [["split", "labels from", "to", "users", "no history", "of users", "ties"]]
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
            f"{ties:,} ({_percent(ties / checked)}) hold an event at the very time of their label, which is not an "
            "error: of equal times the order of the log decides"
        )
    return [part for line in lines for part in _wrapped(line)]


def _tables(facts: Facts) -> list[str]:
    rows = [["table", "rows", *(f"{'numbers at ' * (dim == DIMS[0])}dim {dim}" for dim in DIMS), "read by"]]
    for name, table in facts.tables.items():
        rows.append([name, f"{table.rows:,}", *(f"{table.rows * dim:,}" for dim in DIMS), ", ".join(table.fields)])
    return _aligned(rows)


def _kinds(facts: Facts) -> list[str]:
    return [line for name, how in facts.kinds.items() for line in _wrapped(f"{name}: {how}")]


def _lengths(counts: list[int]) -> list[str]:
    if not counts:
        return ["no samples"]
    names = bin_names(len(counts))
    if (max(map(len, names)) + 1) * len(names) > WIDTH:  # then by where each begins
        starts = [0, *(2**i for i in range(len(names) - 1))]
        names = [str(start) if start < 1024 else f"{start // 1024}k" for start in starts]
    width = max(map(len, names))
    return [*bars(counts, width, gap=1), " ".join(name.center(width) for name in names).rstrip()]


def _activity(facts: Facts) -> list[str]:
    first, last = (shown_time(time, facts.time_unit) for time in (facts.first, facts.last))
    return [*bars(facts.activity), first + last.rjust(len(facts.activity) - len(first))]


def _percent(share: float | None) -> str:
    """A share in percent; exactly 0 is told apart from nearly 0."""
    return "-" if share is None else f"{100 * share:.2f} %" if share else "0 %"


def _wrapped(sentence: str) -> list[str]:
    return textwrap.wrap(sentence, WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of columns, the first flush left, the others flush right; columns that do not fit follow below."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    fit = 2
    while fit < len(widths) and sum(widths[: fit + 1]) + 2 * fit <= WIDTH:
        fit += 1
    lines = ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:fit], widths[1:fit])]) for row in rows]
    return lines + (_aligned([[row[0], *row[fit:]] for row in rows]) if fit < len(widths) else [])
