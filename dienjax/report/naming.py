"""The raw values that stand behind ids, for people to read, or the ids themselves in a page that is passed on."""

from collections.abc import Mapping
from functools import cache

import numpy as np
import pandas as pd

from dienjax.data.store import Store
from dienjax.inspection.facts import time_span
from dienjax.inspection.inspect import shown_time
from dienjax.schema import FIRST_ID, UNKNOWN

LONGEST = 200
"""Characters of a value beyond which it is cut."""
DAY = 86_400


class Names:
    """The names of a store's values, users and times.

    Args:
      anonymous: no raw value is named: ids such as "item 17", users by their row such as "user 4", times by how long
        they are before the last event of the history, and numbers of dense fields not at all.
    """

    def __init__(self, store: Store, anonymous: bool = False) -> None:
        self.anonymous = anonymous
        self._tables = {f.name: f.table for f in store.schema.id_fields}
        self._vocabulary = cache(lambda table: store.vocabulary(table)["value"])
        self._users = cache(store.user_values)
        self._unit = cache(lambda: time_span(store)[2])

    def values(self, field: str, id_X: np.ndarray) -> list[str]:
        """The raw values of a field's ids; a dense field's numbers."""
        id_X = np.asarray(id_X)
        if field not in self._tables:
            return ["hidden" if self.anonymous else f"{number:g}" for number in id_X]
        text_X = np.where(id_X == UNKNOWN, "unknown", "").astype(object)
        known = id_X >= FIRST_ID
        if self.anonymous:
            text_X[known] = [f"{field} {i}" for i in id_X[known]]
        else:
            text_X[known] = _texts(self._vocabulary(self._tables[field]), id_X[known] - FIRST_ID)
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


def _texts(value_V: pd.Series, row_X: np.ndarray) -> list[str]:
    return [text if len(text) <= LONGEST else text[:LONGEST] + "…" for text in map(str, value_V.iloc[row_X])]
