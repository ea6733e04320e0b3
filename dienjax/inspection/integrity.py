"""The integrity of an event store: whether its files can be what prepare wrote."""

import numpy as np

from dienjax.data.mapped import BLOCK, in_blocks, release
from dienjax.data.store import Candidates, Store
from dienjax.schema import UNKNOWN, Behaviour, Side, Sparse


def check(store: Store) -> None:
    """Check the integrity of a store.

    Raises:
      ValueError: a time or label that is not finite, times out of order within a user, an id outside its table, a
        sample whose user does not exist or whose history ends outside the user's events.
    """
    _check_offsets(store)
    _check_finite(store)
    _check_order(store)
    _check_ids(store)
    for name in store.splits:
        _check_samples(store, name)


def id_fields(store: Store, of: Side) -> list[Sparse]:
    """The sparse fields of the users, or of the candidates."""
    return [field for field in store.schema.side(of) if isinstance(field, Sparse)]


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


def _check_ids(store: Store) -> None:
    behaviours = [b for b in store.schema.behaviours if not b.time]
    columns = [(f"events/{b.name}.npy", b.table, store.events[b.name]) for b in behaviours]
    columns += [(f"users/{f.name}.npy", f.table, store.users[f.name]) for f in id_fields(store, "user")]
    of_candidates: list[Behaviour | Sparse] = [*behaviours, *id_fields(store, "candidate")]
    for name, shown in _shown(store):
        columns += [(f"splits/{name}/candidate/{f.name}.npy", f.table, shown.field[f.name]) for f in of_candidates]
    for file, table, ids in columns:
        size = store.schema.table(table).size
        for start, id_r in in_blocks(ids):
            if not (id_r.min() >= UNKNOWN and id_r.max() < size):
                row = int(np.argmax((id_r < UNKNOWN) | (id_r >= size)))
                got = f"row {start + row} holds id {id_r[row]}"
                raise _damage(store, file, got, f"{UNKNOWN} to {size - 1}, table {table!r}")


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
