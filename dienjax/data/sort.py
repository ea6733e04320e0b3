"""A log sorted by (user, time) with codes for values, in memory or, larger than memory, by DuckDB: the same arrays."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa

from dienjax.data.columns import ranked
from dienjax.data.read import Log, Roles, Rows, open_log, rows

Engine = Literal["auto", "memory", "duckdb"]
Values = dict[str, pa.Array]

DUCKDB_MEMORY = "1GB"
"""What DuckDB keeps in memory; the rest goes to files beside the result."""


@dataclass(frozen=True)
class Table:
    """A log to sort, its name in errors, and what its columns are."""

    name: str
    log: Log
    roles: Roles

    def rows(self, progress: bool) -> Iterator[Rows]:
        """`read.rows`, naming the table in errors."""
        try:
            yield from rows(self.log, self.roles, f"read {self.name}" if progress else "")
        except ValueError as error:
            raise ValueError(f"prepare: {self.name}: {error}") from error


@dataclass(frozen=True)
class Sorted:
    """R rows of a table by (user, time); rows of equal user and time keep the table's order.

    Attributes:
      time_R: int64 or float64; `dates`: whether they are seconds since 1970.
      code: place of each value among the ascending distinct values of its column (int32, -1: missing), by column name.
      number: float32 by name.
    """

    time_R: np.ndarray
    code: dict[str, np.ndarray]
    number: dict[str, np.ndarray]
    dates: bool = False

    def __len__(self) -> int:
        return len(self.time_R)

    def take(self, kept: np.ndarray) -> "Sorted":
        """The rows where `kept` is True."""
        return Sorted(
            self.time_R[kept],
            {name: code_R[kept] for name, code_R in self.code.items()},
            {name: number_R[kept] for name, number_R in self.number.items()},
            self.dates,
        )


def sort_tables(
    tables: Sequence[Table], folder: Path, engine: Engine = "auto", progress: bool = False
) -> tuple[Values, list[Sorted]]:
    """The distinct values of each id column in ascending order, shared by all tables, and each table sorted.

    Args:
      folder: an existing folder for what DuckDB leaves on disk; the arrays are memory-mapped from it.
      engine: auto takes DuckDB for files that may need more than half of the free memory, if it is installed.

    Raises:
      ImportError: DuckDB is asked for and not installed.
      ValueError: see `read.rows`; or types that differ between tables.
    """
    if engine == "auto":
        engine = "duckdb" if _is_large(tables) and _has_duckdb() else "memory"
    if engine == "memory":
        values, result = _in_memory(tables, progress)
    else:
        from dienjax.data.sort_duckdb import sort_with_duckdb

        values, result = sort_with_duckdb(tables, folder, progress)
    if len({rows.dates for rows in result}) > 1:
        kinds = ", ".join(f"{t.name}: {'dates' if r.dates else 'numbers'}" for t, r in zip(tables, result, strict=True))
        raise ValueError(f"prepare: the times are of two kinds ({kinds}); expected the same in both: convert one")
    return values, result


def rank_columns(
    tables: Sequence[Table], untyped: Sequence[bool], distinct: Callable[[int, str], pa.Array]
) -> tuple[Values, list[dict[str, np.ndarray]]]:
    """The distinct values of each id column over all tables, ascending, and by table the place (int32) of its own ones.

    `distinct(i, name)` are the distinct values of a column of table i.
    """
    values: Values = {}
    places: list[dict[str, np.ndarray]] = [{} for _ in tables]
    for name in dict.fromkeys(name for table in tables for name in table.roles.ids):
        owners = [i for i, table in enumerate(tables) if name in table.roles.ids]
        try:
            values[name], ranks = ranked([distinct(i, name) for i in owners], [untyped[i] for i in owners])
        except ValueError as error:
            raise ValueError(f"prepare: column {name!r} holds {error}: convert it") from error
        for i, place in zip(owners, ranks, strict=True):
            places[i][name] = place
    return values, places


def _in_memory(tables: Sequence[Table], progress: bool) -> tuple[Values, list[Sorted]]:
    read = [_encoded(table, progress) for table in tables]
    values, places = rank_columns(
        tables, [rows.untyped for rows, _ in read], lambda i, name: read[i][1][name].chunk(0).dictionary
    )
    result = []
    for table, (all_rows, encoded), place in zip(tables, read, places, strict=True):
        code = {}
        for name in table.roles.ids:
            indices = [chunk.indices.fill_null(-1).to_numpy() for chunk in encoded.pop(name).chunks]
            # One place more than values: -1, a missing value, stays -1.
            code[name] = np.append(place[name], np.int32(-1))[np.concatenate(indices)]
        order = np.lexsort((all_rows.time_R, code[table.roles.user]))
        number = {name: number_R[order] for name, number_R in all_rows.numbers.items()}
        for name in code:
            code[name] = code[name][order]
        result.append(Sorted(all_rows.time_R[order], code, number, all_rows.dates))
    return values, result


def _encoded(table: Table, progress: bool) -> tuple[Rows, dict[str, pa.ChunkedArray]]:
    """All rows of a table in its order, with the values of its id columns dictionary-encoded beside them."""
    blocks = []
    ids: dict[str, list[pa.Array]] = {name: [] for name in table.roles.ids}
    for block in table.rows(progress):
        for name in ids:
            ids[name].append(block.ids.pop(name).dictionary_encode())
        blocks.append(block)
    numbers = {name: np.concatenate([b.numbers[name] for b in blocks]) for name in table.roles.numbers}
    every = replace(blocks[-1], time_R=np.concatenate([b.time_R for b in blocks]), numbers=numbers)
    return every, {name: pa.chunked_array(parts).unify_dictionaries() for name, parts in ids.items()}


def _is_large(tables: Sequence[Table]) -> bool:
    """Whether the tables may need more than half of the free memory."""
    need = sum(source.bytes for table in tables for source in open_log(table.log, table.roles))
    return need > os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2


def _has_duckdb() -> bool:
    from importlib.util import find_spec

    return find_spec("duckdb") is not None
