"""A table of raw values as encoded rows: histories, users, and one candidate or a list of them a row."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from dienjax.inputs.channels import kept
from dienjax.schema import Schema
from dienjax.serving.encoding import Encode
from dienjax.serving.raw_columns import PREDICT, Encoded, Place, encoded, holds_lists, raw_columns
from dienjax.serving.times import NOW, TIME, time_ids, times

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Rows:
    """N encoded rows.

    Attributes:
      history: the columns `hist_<field>` of the events, the item's first; each row holds a list.
      user: the features of the users, one value a row.
      candidate: the columns of the candidates, the item's first; either all hold lists or none does.
    """

    history: list[Encoded]
    user: list[Encoded]
    candidate: list[Encoded]

    @property
    def length_N(self) -> np.ndarray:
        """How many behaviours each row has."""
        length_N = self.history[0].length_N
        assert length_N is not None  # histories are lists
        return length_N

    @property
    def lists(self) -> bool:
        """Whether a row holds a list of candidates."""
        return self.candidate[0].length_N is not None

    @property
    def count_N(self) -> np.ndarray:
        """How many candidates each row has."""
        length_N = self.candidate[0].length_N
        return np.ones(len(self.candidate[0].value_M), np.int64) if length_N is None else length_N


def column_names(schema: Schema) -> list[str]:
    """The columns that a table of rows has."""
    events, users = [f"hist_{f.name}" for f in schema.stored_fields], [f.name for f in schema.side("user")]
    return [*events, *_shown(schema), *users, *((f"hist_{TIME}", NOW) if schema.time_fields else ())]


def _shown(schema: Schema) -> list[str]:
    """The columns of the candidates."""
    return [f.name for f in (*schema.stored_fields, *schema.side("candidate"))]


def encoded_rows(
    schema: Schema, encode: Mapping[str, Encode], table: "pd.DataFrame | pa.Table", place: Place = PREDICT
) -> Rows:
    """The rows of a table.

    Args:
      encode: how the values of each field are encoded, by name. Fields of time come from the columns `hist_time`, a
        list of numbers, and `now`.

    Raises:
      ValueError: a column that is missing, a value that `encode` refuses or that stands where a list belongs, lists of
        different lengths in one row, or a row without a candidate.
    """
    raw = raw_columns(table, column_names(schema), place)
    lists = holds_lists(raw[schema.item])
    of_events = [(f"hist_{f.name}", encode[f.name]) for f in schema.stored_fields]
    of_events += [(f"hist_{TIME}", times)] if schema.time_fields else []
    rows = Rows(
        [encoded(name, raw[name], True, encode_event, place) for name, encode_event in of_events],
        [encoded(f.name, raw[f.name], False, encode[f.name], place) for f in schema.side("user")],
        [encoded(name, raw[name], lists, encode[name], place) for name in _shown(schema)],
    )
    _check_lengths(rows.history, "behaviours", place)
    if schema.channels:
        rows = replace(rows, history=_of_channels(schema, rows))
    _check_lengths(rows.candidate, "candidates", place)
    if not rows.count_N.all():  # of no rows all have one
        row = place.row(int(np.argmin(rows.count_N)))
        raise ValueError(f"{row} of column {schema.item!r} has no candidate; expected at least one")
    if schema.time_fields:
        rows = _timed(schema, rows, encoded(NOW, raw[NOW], False, times, place).value_M, place)
    return rows


def _timed(schema: Schema, rows: Rows, now_N: np.ndarray, place: Place) -> Rows:
    """The rows with the fields of time in the place of the times, the last column of their histories."""
    *events, time = rows.history
    history, now = time_ids(schema, time.value_M, rows.length_N, now_N, place.row, events[0].value_M.dtype)
    shown_N = rows.candidate[0].length_N
    return Rows(
        [*events, *(Encoded(f"hist_{name}", id_M, time.length_N) for name, id_M in history.items())],
        rows.user,
        [*rows.candidate, *(Encoded(name, np.repeat(id_N, rows.count_N), shown_N) for name, id_N in now.items())],
    )


def _of_channels(schema: Schema, rows: Rows) -> list[Encoded]:
    """The histories with the events alone that their channels keep."""
    type_M = next(column for column in rows.history if column.name == f"hist_{schema.type}").value_M
    kept_M = kept(schema, type_M, rows.length_N)
    row_M = np.repeat(np.arange(len(rows.length_N)), rows.length_N)[kept_M]
    length_N = np.bincount(row_M, minlength=len(rows.length_N))
    return [replace(column, value_M=column.value_M[kept_M], length_N=length_N) for column in rows.history]


def _check_lengths(columns: list[Encoded], what: str, place: Place) -> None:
    """Raises ValueError where a row has more values of one column than of another."""
    first, *others = columns
    for other in others:
        if first.length_N is not None and other.length_N is not None and (first.length_N != other.length_N).any():
            row = int(np.argmax(first.length_N != other.length_N))
            raise ValueError(
                f"{place.name}: {other.name!r} and {first.name!r} do not hold equally many values in every row (row "
                f"{place.first + row}: {other.length_N[row]} and {first.length_N[row]}); expected one value of each "
                f"for all {what} of a row"
            )
