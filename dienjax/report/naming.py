"""The raw values that stand behind ids, for people to read, or the ids themselves in a page that is passed on."""

from collections.abc import Mapping
from functools import cache

import numpy as np
import pandas as pd

from dienjax.data.store import Store
from dienjax.inputs.time_fields import EDGES
from dienjax.inspection.facts import time_span
from dienjax.inspection.inspect import shown_time
from dienjax.schema import FIRST_ID, UNKNOWN, Table

LONGEST = 200
"""Characters of a value beyond which it is cut."""
DAY = 86_400
UNITS = ((365.25 * DAY, "years"), (DAY, "days"), (3600, "h"), (60, "min"), (1, "s"))
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


class Names:
    """The names of a store's values, users and times.

    Args:
      anonymous: no raw value is named: ids such as "item 17", users by their row such as "user 4", times by how long
        they are before the last event of the history, and numbers of dense fields not at all.
    """

    def __init__(self, store: Store, anonymous: bool = False) -> None:
        self.anonymous = anonymous
        self._tables = {f.name: store.schema.table(f.table) for f in store.schema.id_fields}
        self._sets = {f.name for f in store.schema.id_fields if f.most}
        self._times = {f.name: f.time for f in store.schema.time_fields if f.time}
        self._vocabulary = cache(lambda table: store.vocabulary(table)["value"])
        self._users = cache(store.user_values)
        self._unit = cache(lambda: time_span(store)[2])

    def values(self, field: str, array_X: np.ndarray) -> list[str]:
        """What a field holds: the raw values of ids [X], of sets [X, M] those of each; a dense field's numbers [X]."""
        array_X = np.asarray(array_X)
        if field in self._tables and field not in self._sets:
            return self.ids(field, array_X)
        if field in self._sets:
            texts = np.array(self.ids(field, array_X.ravel()), object).reshape(array_X.shape)
            return [", ".join(filter(None, row)) or "none" for row in texts]
        if self.anonymous:
            return ["hidden"] * len(array_X)
        return ["missing" if np.isnan(number) else f"{number:g}" for number in array_X]

    def ids(self, field: str, id_X: np.ndarray) -> list[str]:
        """The raw values of single ids [X], though the field may be a set; of a hashed one there are none."""
        id_X, table = np.asarray(id_X), self._tables[field]
        text_X = np.where(id_X == UNKNOWN, "missing" if table.edges else "unknown", "").astype(object)
        known = id_X >= FIRST_ID
        if self.anonymous or table.seed is not None:
            text_X[known] = [f"{field} {i}" for i in id_X[known]]
        elif table.edges:
            text_X[known] = [self._interval(field, table, i - FIRST_ID) for i in id_X[known].tolist()]
        else:
            text_X[known] = _texts(self._vocabulary(table.name), id_X[known] - FIRST_ID)
        return text_X.tolist()

    def rows(self, fields: Mapping[str, np.ndarray]) -> list[dict[str, str]]:
        """For each of several events or candidates its values by field, from the ids or numbers of each field."""
        texts = [self.values(field, id_X) for field, id_X in fields.items()]
        return [dict(zip(fields, row, strict=True)) for row in zip(*texts, strict=True)]

    def user(self, user_U: np.ndarray) -> list[str]:
        """The users' ids in the log, by their rows in the store."""
        return [f"user {u}" for u in user_U] if self.anonymous else _texts(self._users(), np.asarray(user_U))

    def time(self, time_X: np.ndarray) -> list[str]:
        """The times of the events of a history, oldest first."""
        time_X, unit = np.asarray(time_X), self._unit()
        if not self.anonymous:
            return [shown_time(time, unit) for time in time_X.tolist()]
        before_X = (time_X[-1:] - time_X).tolist()
        return [f"{time:g} before" if unit == "numbers" else f"{time / DAY:.1f} days before" for time in before_X]

    def _interval(self, field: str, table: Table, n: int) -> str:
        """The n-th of the intervals between edges, the lower of which is in it; of a field of time in words."""
        edges, time = table.edges, self._times.get(field)
        if time in ("hour", "weekday") and edges == EDGES[time]:
            return DAYS[n] if time == "weekday" else f"{n}:00"
        span = duration if time in ("gap", "next_gap") and self._unit() != "numbers" else "{:g}".format
        if n == 0:
            return f"below {span(edges[0])}"
        return f"{span(edges[n - 1])} or more" if n == len(edges) else f"{span(edges[n - 1])} to {span(edges[n])}"


def duration(seconds: float) -> str:
    """A time span in the largest unit of which it has one."""
    size, unit = next((size, unit) for size, unit in UNITS if abs(seconds) >= size or size == 1)
    return f"{seconds / size:.3g} {unit}"


def _texts(value_V: pd.Series, row_X: np.ndarray) -> list[str]:
    return [text if len(text) <= LONGEST else text[:LONGEST] + "…" for text in map(str, value_V.iloc[row_X])]
