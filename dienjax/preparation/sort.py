"""A log sorted by (user, time), with codes for its values: in memory, or on disk by DuckDB or Spark; equal results."""

import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from dienjax.preparation.columns import largest_whole, refuse_mixed
from dienjax.preparation.on_disk import blocks
from dienjax.preparation.sort_duckdb import sort_with_duckdb
from dienjax.preparation.sort_memory import sort_in_memory
from dienjax.preparation.sort_spark import sort_with_spark
from dienjax.preparation.tables import Sorted, Table, Values

Engine = Literal["auto", "memory", "duckdb", "spark"]


def sort_tables(
    tables: Sequence[Table], folder: Path, engine: Engine = "auto", progress: bool = False
) -> tuple[Values, list[Sorted]]:
    """The distinct values of each id column in ascending order, shared by all tables, and each table sorted.

    Args:
      folder: an existing folder for what DuckDB and Spark leave on disk: the columns are read from it.
      engine: auto takes DuckDB for files that may need more than half of the free memory, if it is installed.

    Raises:
      ImportError: DuckDB is asked for but not installed.
      ValueError: see `read.rows`; or types that differ between tables.
    """
    if engine == "auto":
        engine = "duckdb" if find_spec("duckdb") and _is_large(tables) else "memory"
    if engine == "memory":
        values, result = sort_in_memory(tables, progress)
    elif engine == "spark":
        values, result = sort_with_spark(tables, folder)
    else:
        values, result = sort_with_duckdb(tables, folder, progress)
    if len({rows.dates for rows in result}) > 1:
        kinds = ", ".join(f"{t.name}: {'dates' if r.dates else 'numbers'}" for t, r in zip(tables, result, strict=True))
        raise ValueError(f"prepare: the times are of two kinds ({kinds}); expected the same in both: convert one")
    if len(dtypes := {rows.time_R.dtype for rows in result}) > 1:
        largest = max(largest_whole(time_r) for rows in result for time_r in blocks(rows.time_R))
        refuse_mixed(tables[0].roles.time, dtypes, largest)
    return values, result


def _is_large(tables: Sequence[Table]) -> bool:
    """Whether the tables may need more than half of the free memory."""
    return sum(table.bytes() for table in tables) > os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2
