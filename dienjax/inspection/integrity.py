"""The integrity of an event store: whether its files can be what prepare wrote."""

from collections.abc import Iterator

import numpy as np

from dienjax.data.mapped import BLOCK, in_blocks, release
from dienjax.data.store import Candidates, Store
from dienjax.inspection.kinds import candidate_fields
from dienjax.schema import PADDING, UNKNOWN, Dense, Field


def check(store: Store) -> None:
    """Check the integrity of a store.

    Raises:
      ValueError: a time, label or number that is not finite, times out of order within a user, an id outside its table,
        a set with padding in it, a sample whose user does not exist or whose history ends outside the user's events.
    """
    _check_offsets(store)
    _check_finite(store)
    _check_order(store)
    for file, field, column in _columns(store):
        _check_field(store, file, field, column)
    for name in store.splits:
        _check_samples(store, name)


def _check_offsets(store: Store) -> None:
    low = int(np.diff(store.offsets).min(initial=0))
    if store.offsets[0] != 0 or low < 0:
        got = f"starts at {store.offsets[0]}, its smallest step is {low}"
        raise _damage(store, "offsets.npy", got, "a start at 0 and no step below 0")


def _check_finite(store: Store) -> None:
    columns = [("time.npy", store.time_E)]
    if store.hist_label_E is not None:
        columns.append(("hist_label.npy", store.hist_label_E))
    for name, shown in _shown(store):
        columns += [(f"splits/{name}/time.npy", shown.time_N), (f"splits/{name}/label.npy", shown.label_C)]
    for file, value in columns:
        for start, value_r in in_blocks(value) if value.dtype.kind == "f" else ():
            if not np.isfinite(value_r).all():
                row = int(np.argmin(np.isfinite(value_r)))
                raise _damage(store, file, f"row {start + row} is {value_r[row]}", "finite numbers")


def _check_order(store: Store) -> None:
    """Raises ValueError if times fall within a user; from one user to the next they may."""
    falls = []
    for start, before_r in in_blocks(store.time_E[:-1]):
        after_r = store.time_E[start + 1 : start + 1 + len(before_r)]
        fall = start + 1 + np.flatnonzero(after_r < before_r)
        falls.append(fall[store.offsets[np.searchsorted(store.offsets, fall)] != fall])
    within = np.concatenate([*falls, np.zeros(0, np.int64)])
    if len(within):
        row = int(within[0])
        user = int(np.searchsorted(store.offsets, row, side="right")) - 1
        raise _damage(
            store,
            "time.npy",
            f"row {row} of user {user} is {store.time_E[row]} after {store.time_E[row - 1]} in the row before, "
            f"one of {len(within):,} such rows",
            "times that ascend within a user",
        )


def _columns(store: Store) -> Iterator[tuple[str, Field, np.ndarray]]:
    """The file, the field and the values of each column of fields."""
    sides = [("events", store.schema.stored_fields, store.events), ("users", store.schema.side("user"), store.users)]
    of_candidates = candidate_fields(store)
    sides += [(f"splits/{name}/candidate", of_candidates, shown.field) for name, shown in _shown(store)]
    for folder, fields, values in sides:
        yield from ((f"{folder}/{field.name}.npy", field, values[field.name]) for field in fields)


def _check_field(store: Store, file: str, field: Field, column: np.ndarray) -> None:
    if isinstance(field, Dense):
        expected = "finite numbers, or NaN where one is missing" if field.scale else "finite numbers"
    else:
        size, least = store.schema.table(field.table).size, PADDING if field.most else UNKNOWN
        expected = f"{UNKNOWN} to {size - 1}, table {field.table!r}" + (", and 0 after them" if field.most else "")
    for start, value_r in in_blocks(column):
        if isinstance(field, Dense):
            bad = np.isinf(value_r) if field.scale else ~np.isfinite(value_r)
        else:
            bad = (value_r < least) | (value_r >= size)
            if field.most:
                bad[:, 1:] |= (value_r[:, 1:] != PADDING) & (value_r[:, :-1] == PADDING)
        if bad.any():
            at = tuple(np.argwhere(bad)[0])
            got = f"row {start + at[0]} {'is' if isinstance(field, Dense) else 'holds id'} {value_r[at]}"
            raise _damage(store, file, got, expected)


def _check_samples(store: Store, name: str) -> None:
    U, samples = len(store.offsets) - 1, store.samples(name)
    shown = samples.candidates
    if shown is not None and (shown.first[0] != 0 or np.diff(shown.first).min(initial=1) < 1):
        raise _damage(store, f"splits/{name}/first.npy", "does not ascend from 0", "at least one candidate per sample")
    for start in range(0, len(samples), BLOCK):
        user_n, end_n = samples.user_N[start : start + BLOCK], samples.end_N[start : start + BLOCK]
        if user_n.min() < 0 or user_n.max() >= U:
            n = int(np.argmax((user_n < 0) | (user_n >= U)))
            raise _damage(
                store, f"splits/{name}/user.npy", f"sample {start + n} is of user {user_n[n]}", f"0 to {U - 1}"
            )
        # A target that is an event stands at the end itself; candidates of their own may come after all events.
        low_n, high_n = store.offsets[user_n], store.offsets[user_n + 1] - (shown is None)
        outside_n = (end_n < low_n) | (end_n > high_n)
        if outside_n.any():
            n = int(np.argmax(outside_n))
            raise _damage(
                store,
                f"splits/{name}/end.npy",
                f"sample {start + n} of user {user_n[n]} ends at event row {end_n[n]}, "
                f"one of {outside_n.sum():,} such samples",
                f"{low_n[n]} to {high_n[n]}, the user's events",
            )
        release(samples.user_N, samples.end_N)


def _shown(store: Store) -> list[tuple[str, Candidates]]:
    """The stored candidates of the splits that have them."""
    return [(name, shown) for name in store.splits if (shown := store.samples(name).candidates)]


def _damage(store: Store, file: str, got: str, expected: str) -> ValueError:
    return ValueError(f"{store.path / file}: {got}; expected {expected}. The store is damaged: prepare the log again")
