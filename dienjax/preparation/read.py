"""Logs as rows of Arrow columns, from CSV, TSV and Parquet files, DataFrames and Arrow tables."""

import glob
import io
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.parquet as pq
from tqdm import tqdm

from dienjax.errors import nearest
from dienjax.preparation import columns, expression

Log: TypeAlias = pd.DataFrame | pa.Table | str | Path | Sequence[str | Path]
"""A log in memory, or the files that hold it: a path, a glob or a list of them."""

COMPRESSION = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd", ".lz4": "lz4"}
DELIMITERS = (",", "\t", ";", "|")
BLOCK_ROWS, BLOCK_BYTES = 1 << 20, 1 << 24


@dataclass(frozen=True)
class Roles:
    """Which columns of a log are read, and what for.

    Attributes:
      attributes: id columns in which a missing value is unknown; the user and the item need a value in every row.
      numbers: column or expression (such as "rating >= 4") by the name of its result.
      unit: which of the numbers must lie in [0, 1].
    """

    user: str
    item: str
    time: str
    attributes: tuple[str, ...] = ()
    numbers: dict[str, str] = field(default_factory=dict)
    unit: str = ""

    @property
    def ids(self) -> tuple[str, ...]:
        return (self.user, self.item, *self.attributes)


@dataclass(frozen=True)
class Rows:
    """Some rows of a log: times (int64 or float64), values of the id columns, numbers (float32).

    Attributes:
      dates: whether the times are seconds since 1970.
      untyped: whether the values come from a text file, which cannot say what is a number.
    """

    time_R: np.ndarray
    ids: dict[str, pa.Array]
    numbers: dict[str, np.ndarray]
    dates: bool
    untyped: bool


@dataclass(frozen=True)
class Source:
    """A table to read: its column types by name, and its rows, a few columns at a time."""

    name: str
    types: dict[str, pa.DataType]
    batches: Callable[[list[str]], Iterator[pa.RecordBatch]]
    first_line: int = 0
    bytes: int = 0

    def where(self, row: int) -> str:
        """The name of a row in an error message: a line of a text file, a row (from 0) of anything else."""
        return f"{'line' if self.first_line else 'row'} {row + self.first_line}{self.name and f' of {self.name}'}"


def rows(log: Log, roles: Roles, progress: str = "") -> Iterator[Rows]:
    """The rows of a log in order, in blocks; `progress` is the title of a progress bar (on a terminal).

    Raises:
      FileNotFoundError: no such file.
      ValueError: a column that is missing or of mixed types, a missing user or item, a time or number that cannot be
        read (with its row and value), numbers compared with text, a broken or empty file (with what was read of it).
    """
    sources = open_log(log, roles)
    read = {text: expression.names_in(text, sources[0].types) for text in roles.numbers.values()}
    needed = list(dict.fromkeys([*roles.ids, roles.time, *(name for names in read.values() for name in names)]))
    for source in sources:
        for name in needed:
            if name not in source.types:
                raise ValueError(f"column {name!r} is missing{_of(source.name)}; {nearest(name, source.types)}")
    types = {name: columns.id_type(name, [s.types[name] for s in sources]) for name in roles.ids}
    texts = {(e, name) for e in read if e not in read[e] for name in expression.meant_as_text(e)}
    kinds, dtypes, largest = set(), set(), 0
    with tqdm(desc=progress, unit=" rows", unit_scale=True, disable=None if progress else True) as bar:
        for source in sources:
            start = 0
            for batch in source.batches(needed):

                def where(row: int, source: Source = source, start: int = start) -> str:
                    return source.where(start + row)

                time_R, kind = columns.times(batch.column(roles.time), roles.time, where)
                kinds.add(kind)
                if len(kinds) > 1:
                    raise ValueError(f"time column {roles.time!r} holds numbers and dates; expected one kind")
                dtypes.add(time_R.dtype)
                largest = max(largest, columns.largest_whole(time_R))
                columns.refuse_mixed(roles.time, dtypes, largest)
                ids = {
                    n: columns.ids(batch.column(n), n, types[n], where, n not in roles.attributes) for n in roles.ids
                }
                number = {
                    n: expression.numbers(batch, read[e], e, where, n == roles.unit) for n, e in roles.numbers.items()
                }
                texts = {(e, name) for e, name in texts if expression.holds_numbers(batch.column(name))}
                yield Rows(time_R, ids, number, kind == "date", all(s.first_line for s in sources))
                start += len(batch)
                bar.update(len(batch))
    if not kinds:
        raise ValueError(f"no rows{_of(', '.join(s.name for s in sources[:3]))}; expected at least one event")
    for text, name in sorted(texts):
        raise ValueError(
            f"expression {text!r} compares {name!r} with text, and every value of it is a number; expected one kind: "
            "write numbers without quotes"
        )


def open_log(log: Log, roles: Roles) -> list[Source]:
    """The tables that make up a log; no rows are read yet.

    Raises:
      FileNotFoundError: no such file.
      TypeError: something that is not a log.
      ValueError: a file that is empty or cannot be read, or a DataFrame column of mixed types.
    """
    if isinstance(log, pd.DataFrame):
        log = _to_arrow(log, roles)
    if isinstance(log, pa.Table):
        return [_table(log)]
    paths = [log] if isinstance(log, str | Path) else log
    if not isinstance(paths, Sequence) or not paths or not all(isinstance(p, str | Path) for p in paths):
        raise TypeError(f"a log is a {type(log).__name__}; expected a DataFrame, an Arrow table, a path or paths")
    return [_file(path, roles) for pattern in paths for path in _matching(str(pattern))]


def column_names(log: Log, roles: Roles) -> list[str]:
    """The names of a log's columns; in a text file, the roles show which delimiter is the right one."""
    if isinstance(log, pd.DataFrame):
        return [str(name) for name in log.columns]
    return list(open_log(log, roles)[0].types)


def log_bytes(log: Log, roles: Roles) -> int:
    """The approximate size of a log's rows in memory, in bytes."""
    if isinstance(log, pd.DataFrame):
        return int(log.memory_usage(index=False).sum())
    return sum(source.bytes for source in open_log(log, roles))


def _of(name: str) -> str:
    return f" of {name}" if name else ""


def _matching(pattern: str) -> list[str]:
    if os.path.isdir(pattern):
        raise ValueError(f"{pattern!r} is a folder; expected files: name them by a glob, {pattern}/*.parquet")
    found = [pattern] if os.path.exists(pattern) else sorted(glob.glob(pattern, recursive=True))
    if not found:
        raise FileNotFoundError(f"no file {pattern!r}; expected a CSV, TSV or Parquet file, or a glob of them")
    return found


def _once(names: Sequence[str], source: str = "") -> None:
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"column {name!r} occurs more than once{_of(source)}; give each its own name")


def _to_arrow(frame: pd.DataFrame, roles: Roles) -> pa.Table:
    """The columns of a DataFrame that are read, without copying what numpy holds."""
    names = [str(c) for c in frame.columns]
    _once(names)
    wanted = {*roles.ids, roles.time}.union(*(expression.names_in(e, names) for e in roles.numbers.values()))
    arrays = {}
    for i, name in enumerate(names):
        if name in wanted:
            try:
                arrays[name] = pa.array(frame.iloc[:, i], from_pandas=True)
            except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
                raise ValueError(
                    f"column {name!r} holds mixed types, or numbers beyond 64 bits ({error}); expected one type: "
                    "convert it with .astype(str)"
                ) from error
            if pa.types.is_binary(arrays[name].type):
                raise ValueError(
                    f"column {name!r} holds bytes; expected text: decode it, with .str.decode('utf-8') say"
                )
    # Columns that are not read keep their name, for the error that suggests the nearest.
    return pa.table(arrays | {name: pa.nulls(len(frame)) for name in names if name not in arrays})


def _table(table: pa.Table) -> Source:
    _once(table.column_names)
    types = dict(zip(table.schema.names, table.schema.types, strict=True))
    return Source("", types, lambda wanted: iter(table.select(wanted).to_batches(BLOCK_ROWS)), bytes=table.nbytes)


def _file(path: str, roles: Roles) -> Source:
    stem, suffix = os.path.splitext(path)
    if suffix in (".zip", ".xz", ".7z", ".tar"):
        raise ValueError(
            f"{path!r} is compressed as {suffix}; expected plain, {', '.join(COMPRESSION)}: decompress it first"
        )
    if os.path.getsize(path) == 0:
        raise ValueError(f"{path!r} is empty; expected a header and rows")
    if suffix in (".parquet", ".pq"):
        return _parquet(path)
    text = os.path.splitext(stem)[1] if suffix in COMPRESSION else suffix
    return _text(path, COMPRESSION.get(suffix), "\t" if text in (".tsv", ".tab") else None, roles)


def _parquet(path: str) -> Source:
    def read(wanted: list[str]) -> Iterator[pa.RecordBatch]:
        done = 0
        try:
            # Reading ahead takes memory and gained nothing.
            with pq.ParquetFile(path, pre_buffer=False) as file:
                for batch in file.iter_batches(BLOCK_ROWS, columns=wanted):
                    yield batch.select(wanted)
                    done += len(batch)
        except (pa.ArrowInvalid, OSError) as error:
            raise ValueError(f"{path!r} cannot be read after {done:,} rows: {error}") from error

    try:
        with pq.ParquetFile(path) as file:
            schema, size = file.schema_arrow, file.metadata.num_rows * len(file.schema_arrow) * 16
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(f"{path!r} is not a Parquet file: {error}") from error
    _once(schema.names, path)
    return Source(path, dict(zip(schema.names, schema.types, strict=True)), read, bytes=size)


def _text(path: str, compression: str | None, delimiter: str | None, roles: Roles) -> Source:
    """A text file with a header. Every value is read as text; only an empty field is missing, "NA" is a value."""

    def stream() -> pa.NativeFile:
        return pa.input_stream(path, compression=compression)

    def read(wanted: list[str]) -> Iterator[pa.RecordBatch]:
        done = 0
        try:
            # One thread: Arrow then knows the number of a broken line, and decoding is not slower.
            with csv.open_csv(
                stream(),
                csv.ReadOptions(use_threads=False, block_size=BLOCK_BYTES),
                parsing,
                csv.ConvertOptions(
                    column_types={name: pa.string() for name in wanted},
                    include_columns=wanted,
                    strings_can_be_null=True,
                    quoted_strings_can_be_null=False,
                    null_values=[""],
                ),
            ) as reader:
                for batch in reader:
                    yield batch
                    done += len(batch)
        except (pa.ArrowInvalid, OSError) as error:
            raise ValueError(
                f"{path!r} is broken after {done:,} rows: {error}; repair the file, or cut it there"
            ) from error

    try:
        with io.TextIOWrapper(stream(), encoding="utf-8-sig", errors="replace") as file:
            header = file.readline().rstrip("\r\n")
    except OSError as error:
        raise ValueError(f"{path!r} cannot be read: {error}; expected UTF-8 text with a header") from error
    if delimiter is None:
        # The one that makes most of the wanted columns appear, the comma among equals.
        wanted = {*roles.ids, roles.time}
        delimiter = max(DELIMITERS, key=lambda d: len(wanted & {n.strip('"') for n in header.split(d)}))
    # Tab-separated files have no quotes: there a quote is part of a value.
    quote = False if delimiter == "\t" else '"'
    parsing = csv.ParseOptions(delimiter=delimiter, quote_char=quote, newlines_in_values=bool(quote))
    names = [n if quote is False else n.strip('"') for n in header.split(delimiter)]
    _once(names, path)
    size = os.path.getsize(path) * (5 if compression else 1) * 3
    return Source(path, dict.fromkeys(names, pa.string()), read, first_line=2, bytes=size)
