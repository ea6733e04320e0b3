"""The input and output of sorting: tables to read, rows sorted by (user, time), and codes for the values of columns."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from dienjax.inputs.lists import is_list
from dienjax.preparation.columns import beside_lists, ranked
from dienjax.preparation.expression import names_in
from dienjax.preparation.on_disk import OnDisk
from dienjax.preparation.read import Log, Reading, Roles, Rows, column_names, log_bytes, open_reading, rows
from dienjax.preparation.sets import ranked_sets

Values = dict[str, pa.Array]
"""The distinct values of each id column, ascending; a code is a position among them. Those of sets are lists."""


@dataclass(frozen=True)
class Table:
    """A log to sort, its name in error messages, and the roles of its columns."""

    name: str
    log: Log
    roles: Roles

    def rows(self, progress: bool) -> Iterator[Rows]:
        """The rows of `read.rows`; as everywhere here, an error names the table."""
        with self.named():
            yield from rows(self.log, self.roles, f"read {self.name}" if progress else "")

    def reading(self) -> Reading:
        """How the rows are read; to be called inside `named`."""
        return open_reading(self.log, self.roles)

    def column_names(self) -> list[str]:
        with self.named():
            return column_names(self.log, self.roles)

    def columns_in(self, expression: str) -> list[str]:
        """The columns that an expression over the table reads."""
        with self.named():
            return names_in(expression, column_names(self.log, self.roles))

    def bytes(self) -> int:
        with self.named():
            return log_bytes(self.log, self.roles)

    @contextmanager
    def named(self) -> Iterator[None]:
        """Put the table's name before the text of an error."""
        try:
            yield
        except ValueError as error:
            raise ValueError(f"prepare: {self.name}: {error}") from error


@dataclass(frozen=True)
class Sorted:
    """R rows of a table, sorted by (user, time); rows of equal user and time keep the table's order.

    Attributes:
      time_R: int64 or float64.
      code: position of each value among its column's distinct values (int32, -1: missing), by column name.
      number: float32 by name.
      dates: whether the times are seconds since 1970.
    """

    time_R: np.ndarray | OnDisk
    code: Mapping[str, np.ndarray | OnDisk]
    number: Mapping[str, np.ndarray | OnDisk]
    dates: bool = False

    def __len__(self) -> int:
        return len(self.time_R)

    def column(self, name: str) -> np.ndarray | OnDisk:
        """The codes or the numbers of that name."""
        return self.code[name] if name in self.code else self.number[name]


def rank_columns(
    tables: Sequence[Table], read: Sequence[Rows | Reading], distinct: Callable[[int, str], pa.Array]
) -> tuple[Values, list[dict[str, np.ndarray]]]:
    """The distinct values of each id column over all tables, ascending, and per table the position (int32) of its own.

    `distinct(i, name)` gives the distinct values of a column of table i, `read` says how it was read.
    """
    values: Values = {}
    places: list[dict[str, np.ndarray]] = [{} for _ in tables]
    for name in dict.fromkeys(name for table in tables for name in table.roles.ids):
        owners = [i for i, table in enumerate(tables) if name in table.roles.ids]
        try:
            values[name], ranks = _ranked(name, [read[i] for i in owners], [distinct(i, name) for i in owners])
        except ValueError as error:
            raise ValueError(f"prepare: {error}") from error
        for i, place in zip(owners, ranks, strict=True):
            places[i][name] = place
    return values, places


def _ranked(name: str, read: Sequence[Rows | Reading], parts: Sequence[pa.Array]) -> tuple[pa.Array, list[np.ndarray]]:
    types, untyped = [of.types[name] for of in read], [of.untyped for of in read]
    if len(found := {is_list(type) for type in types}) > 1:
        raise beside_lists(name)
    try:
        if found == {True}:
            return ranked_sets(parts, [type.value_type for type in types], untyped)
        return ranked(parts, untyped)
    except ValueError as error:
        raise ValueError(f"column {name!r} holds {error}: convert it") from error
