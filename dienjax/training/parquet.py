"""Rows in Parquet files (one, a folder of them, a glob), read a bounded number of rows and bytes at a time."""

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dienjax.preparation.folder import key_types, key_value, keys_of
from dienjax.serving.raw_columns import Place, check_columns, flat

ROWS, BYTES = 1 << 14, 1 << 25
"""The most rows of a chunk, and the bytes from which on it is not added to."""

READ_ROWS = 512
"""The most rows that are read at once: what a chunk may have beyond `BYTES`."""

EXPECTED = "a Parquet file of histories and candidates"


@dataclass(frozen=True)
class Part:
    """A Parquet file.

    Attributes:
      name: its path in the folder that was given, or from where the glob begins.
      rows: how many rows it has.
      schema: of its columns.
      keys: columns whose value, the same for all rows, the names of its folders tell (`city=Bonn`).
    """

    path: Path
    name: Path
    rows: int
    schema: pa.Schema
    keys: dict[str, pa.Scalar] = field(default_factory=dict)

    def place(self, first: int = 0) -> Place:
        """Its rows from the row `first` on, for error messages."""
        return Place(f"predict: {self.path}", first)


def find_parts(source: str | Path, needed: Sequence[str]) -> list[Part]:
    """The files of a source in the order of their names, each with the columns that are needed.

    Of a folder these are all files in it, at any depth, whose names end in .parquet or .pq, without names that begin
    with a dot, or with _ and hold no =, which Spark leaves out too.

    Raises:
      FileNotFoundError: no such file, or a folder or glob without any.
      ValueError: a file that is no Parquet file or lacks a column; or no file has a row.
    """
    base, names = _found(Path(source))
    parts = [_part(base / name, name) for name in names]
    if any("=" in folder for part in parts for folder in part.name.parent.parts):
        parts = _with_keys(parts, base)
    for part in parts:
        check_columns(needed, [*part.schema.names, *part.keys.keys() - set(part.schema.names)], part.place())
    if not any(part.rows for part in parts):
        raise ValueError(f"predict: {source} has no rows; expected at least one")
    return parts


def chunks(part: Part) -> Iterator[pa.Table]:
    """The rows of a file in order, as tables with all its columns; of a file without rows an empty table."""
    held: list[pa.RecordBatch] = []
    rows = size = 0
    for batch in _batches(part):
        held.append(batch)
        rows, size = rows + len(batch), size + batch.nbytes
        if rows + READ_ROWS > ROWS or size >= BYTES:
            yield pa.Table.from_batches(held, part.schema)
            held, rows, size = [], 0, 0
    if held or not part.rows:
        yield pa.Table.from_batches(held, part.schema)


def with_keys(part: Part, table: pa.Table) -> pa.Table:
    """The table with the columns that only the names of the file's folders tell."""
    for name, value in part.keys.items():
        if name not in table.column_names:
            table = table.append_column(name, pa.repeat(value, len(table)))
    return table


def longest_list(parts: Sequence[Part], column: str) -> int:
    """The most values of a row of a list column; 1 if there are none.

    Raises:
      ValueError: a file is damaged, or the column holds no lists.
    """
    batches = ((part, batch) for part in parts for batch in _batches(part, [column]))
    lengths = (_lengths(column, part, batch) for part, batch in batches)
    return max(chain([1], (int(length_N.max()) for length_N in lengths if len(length_N))))


def _lengths(column: str, part: Part, batch: pa.RecordBatch) -> np.ndarray:
    return flat(column, pa.chunked_array(batch.columns), part.place(), part.place().row)[1]


def _found(source: Path) -> tuple[Path, list[Path]]:
    """The folder that names are relative to, and the files in it."""
    if source.is_file():
        return source.parent, [Path(source.name)]
    if source.is_dir():
        base, found = source, _inside(source)
    else:
        fixed = [*source.parts]
        while fixed and glob.has_magic(os.path.join(*fixed)):
            fixed.pop()
        base = Path(*fixed)
        matched = map(Path, glob.glob(str(source), recursive=True))
        found = [file for path in matched for file in (_inside(path) if path.is_dir() else [path])]
    if not found:
        kind = "no Parquet files in folder" if source.is_dir() else "no file"
        raise FileNotFoundError(f"{kind} {str(source)!r}; expected {EXPECTED}, a folder or a glob of such files")
    return base, sorted({file.relative_to(base) for file in found})


def _inside(folder: Path) -> list[Path]:
    pattern = os.path.join(glob.escape(str(folder)), "**", "*")
    found = [Path(path) for path in glob.glob(pattern, recursive=True)]
    return [
        path
        for path in found
        if path.suffix in (".parquet", ".pq")
        and path.is_file()
        and not any(part.startswith("_") and "=" not in part for part in path.relative_to(folder).parts)
    ]


def _part(path: Path, name: Path) -> Part:
    try:
        with pq.ParquetFile(path) as file:
            return Part(path, name, file.metadata.num_rows, file.schema_arrow)
    except PermissionError:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _unreadable(path, error) from error


def _batches(part: Part, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
    """The rows of a file, `READ_ROWS` at a time, or fewer where they are long."""
    try:
        # With reading ahead, or without a buffer, the columns of a whole row group would be in memory.
        with pq.ParquetFile(part.path, pre_buffer=False, buffer_size=1 << 20, page_checksum_verification=True) as file:
            for batch in file.iter_batches(_rows_at_once(file.metadata), columns=columns):
                batch.validate(full=True)
                yield batch
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _unreadable(part.path, error) from error


def _rows_at_once(metadata: pq.FileMetaData) -> int:
    groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
    values = [sum(g.column(i).num_values for i in range(g.num_columns)) / max(1, g.num_rows) for g in groups]
    return max(1, min(READ_ROWS, int(BYTES / 8 / max([1, *values]))))


def _with_keys(parts: list[Part], base: Path) -> list[Part]:
    """The parts with their keys, each of one type in all of them: numbers where all are whole numbers, else text."""
    texts = [keys_of(str(part.path), str(base)) for part in parts]
    types = key_types(texts)
    return [
        replace(part, keys={name: key_value(value, types[name]) for name, value in keys.items()})
        for part, keys in zip(parts, texts, strict=True)
    ]


def _unreadable(path: Path, error: Exception) -> ValueError:
    reason = str(error).partition("\n")[0]
    return ValueError(f"{path} cannot be read ({reason}); expected {EXPECTED}: write it again")
