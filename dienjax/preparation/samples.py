"""The samples of a store as columns: the event rows of targets, or the impressions, slice by slice."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TypeAlias

import numpy as np

from dienjax.data.mapped import Blocks, Column
from dienjax.data.negatives import CANDIDATE, Negatives
from dienjax.preparation.counting import Counted
from dienjax.preparation.encoders import Encoder
from dienjax.preparation.on_disk import BLOCK, blocks, mapped, write_columns
from dienjax.preparation.settings import Fields
from dienjax.preparation.slices import Divided, Part, Slice
from dienjax.preparation.splits import Split

Find: TypeAlias = Callable[[Slice, Part, np.ndarray], np.ndarray]

USER, ROW, NUMBER = (np.dtype(type) for type in (np.int32, np.int64, np.float32))


def train_rows(divided: Divided, counted: Counted) -> Column:
    """The events that training draws its negatives from: those it knows, or all if these have fewer than two items."""
    if np.count_nonzero(counted.train_item_V) < 2:
        return _all_rows(divided)
    return Blocks(int(counted.train_item_V.sum()), ROW, lambda: _rows(divided, lambda split: split.train_E))


def columns_of_targets(
    divided: Divided, counted: Counted, encoders: dict[str, Encoder], fields: Fields, seed: int, folder: Path
) -> dict[str, Column]:
    """Samples whose target is an event; validation and test get their negative here.

    Negatives are drawn from the events that training does not know, like the positives: events that training knows have
    unknown items less often, and an unknown candidate would then hint at the positive.
    """
    log = divided.slices.log
    stored: dict[str, Column] = {}
    negatives = _negatives(divided, fields, seed, folder)
    for i, (name, count) in enumerate(counted.samples.items()):

        def ends(name: str = name) -> Iterator[np.ndarray]:
            return (part.log.start + split.ends[name] for part, split in divided)

        def users(name: str = name) -> Iterator[np.ndarray]:
            return (part.first + part.log.user_R[split.ends[name]] for part, split in divided)

        of = f"splits/{name}"
        stored |= {f"{of}/user": Blocks(count, USER, users), f"{of}/end": Blocks(count, ROW, ends)}
        if name not in ("valid", "test"):
            continue
        # As many as users at most. Streams beyond those of training: a training run with the same seed does not meet
        # the same draws.
        user_N, end_N = (np.concatenate([*found()]) for found in (users, ends))
        row_C = np.concatenate(
            [
                _with_negative(negatives, CANDIDATE + 1 + i, user_N[at : at + BLOCK], end_N[at : at + BLOCK])
                for at in range(0, max(count, 1), BLOCK)
            ]
        )
        stored[f"{of}/first"] = 2 * np.arange(count + 1)
        stored[f"{of}/time"] = mapped(log.time_R)[end_N]
        stored[f"{of}/label"] = np.tile(np.array([1, 0], NUMBER), count)
        for field in fields.of_events:
            stored[f"{of}/candidate/{field}"] = encoders[field].encode(mapped(log.column(field))[row_C])
    return stored


def columns_of_impressions(
    divided: Divided, counted: Counted, encoders: dict[str, Encoder], fields: Fields
) -> dict[str, Column]:
    """Samples of impressions: their candidates, and the user's events strictly before them."""
    shown = divided.slices.shown
    assert shown is not None
    stored: dict[str, Column] = {}

    def candidates(field: str) -> Find:
        return lambda part, rows, n: rows.column(field)[rows.of_samples(n)]

    for name, N in counted.samples.items():
        C = counted.candidates[name]
        finds: dict[str, tuple[int, np.dtype, Find]] = {
            "user": (N, USER, lambda part, rows, n: part.first + rows.user_R[rows.sessions[n]]),
            "end": (N, ROW, lambda part, rows, n: part.log.start + part.history_ends[n]),
            "time": (N, shown.time_R.dtype, lambda part, rows, n: rows.time_R[rows.sessions[n]]),
            "label": (C, NUMBER, lambda part, rows, n: rows.number("label")[rows.of_samples(n)]),
        }
        found = partial(_found, divided, name)
        for of, (length, dtype, find) in finds.items():
            stored[f"splits/{name}/{of}"] = Blocks(length, dtype, partial(found, find))
        for field in (*fields.of_events, *fields.context, *fields.dense):
            stored[f"splits/{name}/candidate/{field}"] = encoders[field].column(C, partial(found, candidates(field)))
        counts_N = Blocks(N, ROW, partial(found, lambda part, rows, n: np.diff(rows.sessions)[n]))
        stored[f"splits/{name}/first"] = _first(counts_N)
    return stored


def _found(divided: Divided, name: str, find: Find) -> Iterator[np.ndarray]:
    """What `find` gives of each slice, its impressions, and the indices of the samples of split `name` among them."""
    return (find(part, part.shown, split.shown[name]) for part, split in divided if part.shown)


def _negatives(divided: Divided, fields: Fields, seed: int, folder: Path) -> Negatives:
    item_E = mapped(divided.slices.log.code[fields.item])
    (pool,) = write_columns([folder / "pool"], ([row] for row in _rows(divided, lambda split: ~split.train_E)))
    first = item_E[pool[:1]]
    if not any((item_E[row] != first).any() for row in blocks(pool)):
        (pool,) = write_columns([folder / "pool"], ([row] for row in _all_rows(divided)))
    return Negatives(item_E, divided.slices.offsets, mapped(pool), seed=seed)


def _with_negative(negatives: Negatives, stream: int, user_n: np.ndarray, end_n: np.ndarray) -> np.ndarray:
    """The rows of n targets, each followed by its negative [2 n]."""
    slot_11 = np.zeros((1, 1), np.int64)
    negative_n1, _ = negatives.draw(0, stream, user_n, user_n, slot_11, negatives.item_E[end_n][:, None])
    return np.concatenate([end_n[:, None], negative_n1], axis=1).ravel()


def _rows(divided: Divided, wanted: Callable[[Split], np.ndarray]) -> Iterator[np.ndarray]:
    """The event rows that a mask of each split selects."""
    return (part.log.start + np.flatnonzero(wanted(split)) for part, split in divided)


def _all_rows(divided: Divided) -> Blocks:
    E = len(divided.slices.log)
    return Blocks(E, ROW, lambda: (np.arange(at, min(at + BLOCK, E)) for at in range(0, E, BLOCK)))


def _first(count_N: Blocks) -> Blocks:
    """Where the candidates of each sample begin [N + 1], given how many each has."""

    def found() -> Iterator[np.ndarray]:
        total = np.zeros(1, np.int64)
        yield total
        for count_n in count_N:
            first_n = total[-1:] + np.cumsum(count_n)
            yield first_n
            total = first_n if len(first_n) else total

    return Blocks(len(count_N) + 1, ROW, found)
