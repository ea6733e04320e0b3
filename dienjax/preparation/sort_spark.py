"""Sorting a log on a Spark cluster: its tasks read, check, number and sort, and write their parts of the columns.

The driver and the tasks see the same files: the log and the folder of the store are on a shared file system. Tasks read
by the code that the other engines read by, and report what all of them must agree in.
"""

import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from dienjax.preparation import spark_tasks
from dienjax.preparation.on_disk import OnDisk
from dienjax.preparation.read import Agreement, Facts, Reading
from dienjax.preparation.spark_session import run, session
from dienjax.preparation.tables import Sorted, Table, Values, rank_columns

FOLDERS = (spark_tasks.BLOCKS, spark_tasks.VALUES, spark_tasks.CODES, spark_tasks.ROWS, spark_tasks.COLUMNS)


@dataclass(frozen=True)
class _Checked:
    """A log whose blocks the tasks have checked and written to `folder`.

    Attributes:
      first: the first row of each part, and the number of rows.
      blocks: the number of blocks of each part.
      dtype: of the times.
      dates: whether the times are seconds since 1970.
    """

    folder: Path
    reading: Reading
    first: list[int]
    blocks: list[int]
    dtype: np.dtype
    dates: bool


def sort_with_spark(tables: Sequence[Table], folder: Path) -> tuple[Values, list[Sorted]]:
    """What `sort_tables` returns, with columns in files of `folder`.

    Raises:
      ValueError: see `read.rows`.
      ImportError, RuntimeError, OSError: see `spark_session.session`.
    """
    with session() as spark:
        logs = [_checked(spark, _absolute(table), folder / f"log{i}") for i, table in enumerate(tables)]
        owned: dict[tuple[int, str], pa.Array] = {}

        def distinct(i: int, name: str) -> pa.Array:
            owned[i, name] = _distinct(spark, logs[i], name)
            return owned[i, name]

        values, places = rank_columns(tables, [log.reading for log in logs], distinct)
        for (i, name), value in owned.items():
            path = logs[i].folder / spark_tasks.CODES / f"{tables[i].roles.ids.index(name)}.parquet"
            pq.write_table(pa.table({"value": spark_tasks.plain(value), "code": places[i][name]}), path)
        return values, [_sorted(spark, log, table) for log, table in zip(logs, tables, strict=True)]


def _absolute(table: Table) -> Table:
    """The table with paths that mean the same in every task."""
    log = [table.log] if isinstance(table.log, str | Path) else table.log
    if not isinstance(log, Sequence) or not all(isinstance(path, str | Path) for path in log):
        return table
    return replace(table, log=[os.path.abspath(path) for path in log])


def _read(spark: Any, folder: Path) -> Any:
    """The rows of the Parquet files of a folder, which is no glob, and on this file system whatever Spark's own is."""
    return spark.read.parquet("file://" + re.sub(r"([][{}*?\\])", r"\\\1", str(folder)))


def _checked(spark: Any, table: Table, folder: Path) -> _Checked:
    with table.named():
        reading = table.reading()
        for name in FOLDERS:
            (folder / name).mkdir(parents=True)
        for c in range(len(table.roles.ids)):
            (folder / spark_tasks.VALUES / str(c)).mkdir()
        sources = [part for source in reading.sources for part in (source.parts() if source.parts else [source])]
        agreed, first, blocks = Agreement(reading), [0], []
        reading = replace(reading, sources=[])
        check = partial(spark_tasks.check, folder, reading, sources)
        in_memory = isinstance(table.log, pd.DataFrame | pa.Table)
        for result in [check(0)] if in_memory else run(spark, len(sources), check):
            found = [
                Facts(**said | {"dtype": np.dtype(said["dtype"]), "numeric": frozenset(map(tuple, said["numeric"]))})
                for said in result["blocks"]
            ]
            for facts in found:
                agreed.add(facts)
            if "error" in result:
                raise ValueError(result["error"])
            first.append(first[-1] + sum(facts.rows for facts in found))
            blocks.append(len(found))
        agreed.end()
    dtype = np.dtype(np.float64) if np.dtype(np.float64) in agreed.dtypes else np.dtype(np.int64)
    return _Checked(folder, reading, first, blocks, dtype, agreed.kinds == {True})


def _distinct(spark: Any, log: _Checked, name: str) -> pa.Array:
    """The distinct values of a column, through files: the driver's JVM need not hold them."""
    c, type = log.reading.roles.ids.index(name), log.reading.types[name]
    path = log.folder / f"distinct{c}"
    _read(spark, log.folder / spark_tasks.VALUES / str(c)).distinct().write.parquet(f"file://{path}")
    column = pq.read_table(path)["value"]
    if pa.types.is_string(column.type):
        return column.cast(pa.large_string()).combine_chunks()  # 2 GiB of text do not fit in one with 32-bit offsets
    column = column.combine_chunks()
    return column.view(type) if pa.types.is_uint64(type) else column


def _sorted(spark: Any, log: _Checked, table: Table) -> Sorted:
    ids, numbers, columns = table.roles.ids, list(table.roles.numbers), log.folder / spark_tasks.COLUMNS
    run(
        spark, len(log.blocks),
        partial(spark_tasks.number, log.folder, log.first, log.blocks, log.dtype.str, len(ids)),
    )  # fmt: skip
    for name in (spark_tasks.BLOCKS, spark_tasks.VALUES):
        shutil.rmtree(log.folder / name)
    # All rows of a user are in one partition, since it is a range of users; partitions are in their order.
    rows = _read(spark, log.folder / spark_tasks.ROWS).repartitionByRange("id0")
    rows = rows.sortWithinPartitions("id0", "time", "row").drop("row")
    written = rows.mapInArrow(spark_tasks.write(log.folder), "part int, rows long").collect()
    shutil.rmtree(log.folder / spark_tasks.ROWS)
    parts = sorted(row.part for row in written if row.rows)
    if sum(row.rows for row in written) != log.first[-1]:
        raise RuntimeError(f"engine='spark': {sum(row.rows for row in written)} rows of {log.first[-1]} came back")

    def joined(name: str, dtype: type | np.dtype) -> OnDisk:
        return _joined([columns / f"{name}-{part:06d}" for part in parts], columns / name, np.dtype(dtype))

    return Sorted(
        joined("time", log.dtype),
        {name: joined(f"id{c}", np.int32) for c, name in enumerate(ids)},
        {name: joined(f"number{c}", np.float32) for c, name in enumerate(numbers)},
        log.dates,
    )


def _joined(parts: Sequence[Path], path: Path, dtype: np.dtype) -> OnDisk:
    """The column of several files, one after the other, in one."""
    with open(path, "wb") as whole:
        for part in parts:
            with open(part, "rb") as file:
                shutil.copyfileobj(file, whole, 1 << 24)
            part.unlink()
        return OnDisk(path, dtype, whole.tell() // dtype.itemsize)
