"""Files of logs as tables: CSV, TSV and Parquet, plain or compressed, read a few columns at a time."""

import io
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.parquet as pq

COMPRESSION = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd", ".lz4": "lz4"}
DELIMITERS = (",", "\t", ";", "|")
BLOCK_ROWS, BLOCK_BYTES = 1 << 20, 1 << 24


@dataclass(frozen=True)
class Source:
    """A table to read: its column types by name, and its rows, a few columns at a time.

    Attributes:
      bytes: about how much its rows take in memory.
      first_line: the line of the first row in a text file, 0 for other tables.
      start: the rows of the file that stand before this part of it.
      parts: the same rows as several tables that can be read at the same time; None if they cannot be.
    """

    name: str
    types: dict[str, pa.DataType]
    batches: Callable[[list[str]], Iterator[pa.RecordBatch]]
    bytes: int
    first_line: int = 0
    start: int = 0
    parts: "Callable[[], list[Source]] | None" = None

    def where(self, row: int) -> str:
        """The name of a row in an error message: a line of a text file, a row (from 0) of anything else."""
        number = self.start + row + self.first_line
        return f"{'line' if self.first_line else 'row'} {number}{self.name and f' of {self.name}'}"


def open_file(path: str, likely: Collection[str]) -> Source:
    """The table in a file; its columns are expected to have most of the `likely` names, which shows the delimiter.

    Raises:
      ValueError: it is empty, cannot be read, or its columns do not have different names.
    """
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
    return _text(path, COMPRESSION.get(suffix), "\t" if text in (".tsv", ".tab") else None, likely)


def once(names: Sequence[str], source: str = "") -> None:
    """Raise ValueError for a name that occurs twice."""
    for name in names:
        if names.count(name) > 1:
            raise ValueError(
                f"column {name!r} occurs more than once{source and f' of {source}'}; give each its own name"
            )


def _parquet(path: str) -> Source:
    try:
        with pq.ParquetFile(path) as file:
            schema, count_G = (
                file.schema_arrow,
                [file.metadata.row_group(g).num_rows for g in range(file.num_row_groups)],
            )
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(f"{path!r} is not a Parquet file: {error}") from error
    once(schema.names, path)
    types = dict(zip(schema.names, schema.types, strict=True))

    def source(groups: list[int]) -> Source:
        start = sum(count_G[: groups[0]]) if groups else 0
        size = sum(count_G[g] for g in groups) * len(types) * 16
        return Source(path, types, partial(_read_parquet, path, groups, start), size, start=start)

    def parts() -> list[Source]:
        runs: list[list[int]] = []
        for group in range(len(count_G)):
            if runs and sum(count_G[g] for g in runs[-1]) + count_G[group] <= BLOCK_ROWS:
                runs[-1].append(group)
            else:
                runs.append([group])
        return [source(run) for run in runs]

    return replace(source([*range(len(count_G))]), parts=parts)


def _read_parquet(path: str, groups: list[int], start: int, wanted: list[str]) -> Iterator[pa.RecordBatch]:
    done = start
    try:
        # Reading ahead takes memory and gained nothing.
        with pq.ParquetFile(path, pre_buffer=False) as file:
            for batch in file.iter_batches(BLOCK_ROWS, groups, wanted):
                yield batch.select(wanted)
                done += len(batch)
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(f"{path!r} cannot be read after {done:,} rows: {error}") from error


def _text(path: str, compression: str | None, delimiter: str | None, likely: Collection[str]) -> Source:
    """A text file with a header. Every value is read as text; only an empty field is missing, "NA" is a value."""
    try:
        with io.TextIOWrapper(pa.input_stream(path, compression), encoding="utf-8-sig", errors="replace") as file:
            header = file.readline().rstrip("\r\n")
    except OSError as error:
        raise ValueError(f"{path!r} cannot be read: {error}; expected UTF-8 text with a header") from error
    if delimiter is None:
        # The one that makes most of the wanted columns appear, the comma among equals.
        delimiter = max(DELIMITERS, key=lambda d: len({*likely} & {n.strip('"') for n in header.split(d)}))
    # Tab-separated files have no quotes: there a quote is part of a value.
    quote: str | Literal[False] = False if delimiter == "\t" else '"'
    names = [n if quote is False else n.strip('"') for n in header.split(delimiter)]
    once(names, path)
    size = os.path.getsize(path) * (5 if compression else 1) * 3
    read = partial(_read_text, path, compression, delimiter, quote)
    return Source(path, dict.fromkeys(names, pa.string()), read, size, first_line=2)


def _read_text(
    path: str, compression: str | None, delimiter: str, quote: str | Literal[False], wanted: list[str]
) -> Iterator[pa.RecordBatch]:
    done = 0
    try:
        # One thread: Arrow then knows the number of a broken line, and decoding is not slower.
        with csv.open_csv(
            pa.input_stream(path, compression),
            csv.ReadOptions(use_threads=False, block_size=BLOCK_BYTES),
            csv.ParseOptions(delimiter=delimiter, quote_char=quote, newlines_in_values=bool(quote)),
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
