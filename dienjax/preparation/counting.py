"""The first pass over a log: what is small, and must be known of all users before their columns can be written."""

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from dienjax.preparation import quality
from dienjax.preparation.settings import Fields
from dienjax.preparation.slices import Divided, Part
from dienjax.preparation.tables import Values
from dienjax.preparation.vocabulary import counts


@dataclass(frozen=True)
class Counted:
    """What the first pass finds out.

    Attributes:
      train_U: True for the users that training knows.
      of_user: the code of each user in a column of users (-1: none), or the number (NaN: none), by name.
      count_V: how often each value of a column of events or impressions occurs in training, by name.
      train_item_V: the same of the items, in events alone.
      several: the items with more than one value of an attribute, by its name.
      samples, candidates: their numbers by split; candidates are those that were shown.
      repeated: the number of events that repeat the user, time and item of an earlier one.
    """

    train_U: np.ndarray
    of_user: dict[str, np.ndarray]
    count_V: dict[str, np.ndarray]
    train_item_V: np.ndarray
    several: dict[str, quality.ItemsWithSeveral]
    samples: Counter[str]
    candidates: Counter[str]
    repeated: int


def count(divided: Divided, fields: Fields, values: Values) -> Counted:
    """Look at every event and impression once.

    Raises:
      ValueError: a column of users that changes within a user.
    """
    shown_names = {*divided.slices.shown.code, *divided.slices.shown.number} if divided.slices.shown else {}
    U, V = len(values[fields.user]), {name: len(values[name]) for name in (*fields.behaviours, *fields.context)}
    train_U, repeated = np.zeros(U, bool), 0
    of_user = {name: np.full(U, -1, np.int32) for name in fields.users}
    of_user |= {name: np.full(U, np.nan, np.float32) for name in fields.user_numbers}
    of_events, of_shown = ({name: np.zeros(size, np.int64) for name, size in V.items()} for _ in range(2))
    several = {name: quality.ItemsWithSeveral(V[fields.item]) for name in fields.attributes}
    samples: Counter[str] = Counter()
    candidates: Counter[str] = Counter()
    for part, split in divided:
        log, shown, users = part.log, part.shown, slice(part.first, part.end)
        train_U[users] = split.train_U
        samples.update({name: len(row) for name, row in (split.ends or split.shown).items()})
        code_E = {name: log.code(name) for name in fields.behaviours}
        repeated += int(np.count_nonzero(quality.repeated(log.user_R, log.time_R, code_E[fields.item])))
        for name, code in code_E.items():
            of_events[name] += counts(code, split.train_E, V[name])
        for name, found in several.items():
            found.add(code_E[fields.item], code_E[name])
        for name, value_U in of_user.items():
            table = shown if shown and name in shown_names else log
            value_U[users] = _per_user(name, table, value_U[users], part.first, values[fields.user])
        if shown:
            count_N = np.diff(shown.sessions)
            candidates.update({name: int(count_N[index].sum()) for name, index in split.shown.items()})
            train_R = shown.of_samples(split.shown["train"])
            for name in V:
                of_shown[name] += counts(shown.code(name), train_R, V[name])
    for name, how in fields.user_numbers.items():
        if how == "raw" and (none_U := np.isnan(of_user[name])).any():
            user = values[fields.user][int(np.argmax(none_U))].as_py()
            raise ValueError(
                f"prepare: user number {name!r} is missing for user {user!r}; expected one for each user: leave out "
                "':raw', and a missing one counts as such"
            )
    count_V = {name: of_events[name] + of_shown[name] for name in V}
    return Counted(train_U, of_user, count_V, of_events[fields.item], several, samples, candidates, repeated)


def _per_user(name: str, part: Part, none_u: np.ndarray, first: int, user_U: pa.Array) -> np.ndarray:
    """The code or number [u] of each user of a part in a column, as before if there is none; it must not change."""
    user_R, value_R, value_u = part.user_R, part.column(name), none_u.copy()
    value_u[user_R[::-1]] = value_R[::-1]
    changed = np.flatnonzero(value_R != value_u[user_R])
    changed = changed[~(np.isnan(value_R[changed]) & np.isnan(value_u[user_R[changed]]))]
    if len(changed):
        raise ValueError(
            f"prepare: user attribute {name!r} changes within user "
            f"{user_U[first + int(user_R[changed[0]])].as_py()!r}; "
            "expected one value per user: name it in attributes or context instead"
        )
    return value_u
