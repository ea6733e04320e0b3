"""Sorting a log that is larger than memory: DuckDB reads, joins and sorts it on disk."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from dienjax.preparation.on_disk import write_columns
from dienjax.preparation.read import BLOCK_ROWS, Rows
from dienjax.preparation.tables import Sorted, Table, Values, rank_columns

MEMORY = "1GB"
"""How much DuckDB keeps in memory; the rest goes to files beside the result."""


def sort_with_duckdb(tables: Sequence[Table], folder: Path, progress: bool = False) -> tuple[Values, list[Sorted]]:
    """What `sort_tables` returns, with columns in files of `folder`.

    Raises:
      ImportError: DuckDB is not installed.
      OSError: the disk is full.
    """
    try:
        import duckdb
    except ImportError as error:
        raise ImportError("engine='duckdb' needs DuckDB: pip install 'dienjax[duckdb]'") from error
    try:
        settings: dict[str, Any] = {"memory_limit": MEMORY, "temp_directory": str(folder / "spill")}
        with duckdb.connect(str(folder / "log.duckdb"), config=settings) as database:
            database.execute("SET enable_progress_bar = false")  # it goes to standard output, even to a pipe
            return _sort(database, tables, folder, progress)
    except duckdb.OperationalError as error:
        raise OSError(f"DuckDB cannot sort the log: {error}") from error
    finally:
        for file in (folder / "log.duckdb", folder / "log.duckdb.wal"):
            file.unlink(missing_ok=True)


def _sort(database: Any, tables: Sequence[Table], folder: Path, progress: bool) -> tuple[Values, list[Sorted]]:
    loaded = [_load(database, i, table, progress) for i, table in enumerate(tables)]

    def distinct(i: int, name: str) -> pa.Array:
        c = f"id{tables[i].roles.ids.index(name)}"
        found = database.sql(f"SELECT DISTINCT {c} FROM rows{i} WHERE {c} IS NOT NULL").to_arrow_table()
        column = found.column(0)
        # 2 GiB of text do not fit in one array of 32-bit offsets.
        owned[i, name] = (
            column.cast(pa.large_string()) if pa.types.is_string(column.type) else column
        ).combine_chunks()
        return owned[i, name]

    owned: dict[tuple[int, str], pa.Array] = {}
    values, places = rank_columns(tables, loaded, distinct)
    for (i, name), value in owned.items():
        known = pa.table({"value": value, "code": places[i][name]})
        database.register("known", known)
        database.execute(f"CREATE TABLE code{i}_{tables[i].roles.ids.index(name)} AS SELECT * FROM known")
        database.unregister("known")
    return values, [_fetch(database, i, table, folder, loaded[i].facts.dates) for i, table in enumerate(tables)]


def _load(database: Any, i: int, table: Table, progress: bool) -> Rows:
    """Copies a log into a table of the database and returns the last rows of it."""
    start, kind = 0, np.dtype(object)
    for block in table.rows(progress):
        columns = {"time": block.time_R, "row": np.arange(start, start + len(block.time_R))}
        columns |= {f"id{c}": block.ids[name] for c, name in enumerate(table.roles.ids)}
        columns |= {f"number{c}": block.numbers[name] for c, name in enumerate(table.roles.numbers)}
        database.register("block", pa.table(columns))
        if not start:
            database.execute(f"CREATE TABLE rows{i} AS SELECT * FROM block")
            kind = block.time_R.dtype
        else:
            if kind == np.int64 and block.time_R.dtype == np.float64:
                database.execute(f"ALTER TABLE rows{i} ALTER time TYPE DOUBLE")
                kind = block.time_R.dtype
            database.execute(f"INSERT INTO rows{i} SELECT * FROM block")
        database.unregister("block")
        start += len(block.time_R)
    return block


def _fetch(database: Any, i: int, table: Table, folder: Path, dates: bool) -> Sorted:
    """The sorted rows of table i, written to files block by block."""
    ids, numbers = table.roles.ids, list(table.roles.numbers)
    codes = [f"coalesce(code{i}_{c}.code, -1) AS code{c}" for c in range(len(ids))]
    joins = [f"LEFT JOIN code{i}_{c} ON rows{i}.id{c} = code{i}_{c}.value" for c in range(len(ids))]
    result = database.sql(
        f"SELECT rows{i}.time, {', '.join([*codes, *(f'number{c}' for c in range(len(numbers)))])} "
        f"FROM rows{i} {' '.join(joins)} ORDER BY code0, time, row"
    )
    blocks = (
        [column.to_numpy(zero_copy_only=False) for column in batch.columns]
        for batch in result.to_arrow_reader(BLOCK_ROWS)
    )
    time_R, *rest = write_columns([folder / f"{i}_{c}" for c in range(1 + len(ids) + len(numbers))], blocks)
    return Sorted(time_R, dict(zip(ids, rest, strict=False)), dict(zip(numbers, rest[len(ids) :], strict=True)), dates)
