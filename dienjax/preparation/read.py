"""Logs as rows of Arrow columns, from CSV, TSV and Parquet files, DataFrames and Arrow tables."""

import glob
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa
from tqdm import tqdm

from dienjax.errors import nearest
from dienjax.inputs.lists import is_list
from dienjax.preparation import columns, expression, sets
from dienjax.preparation.files import BLOCK_ROWS, Source, once, open_file
from dienjax.preparation.folder import files_in, key_types, with_keys

Log: TypeAlias = pd.DataFrame | pa.Table | str | Path | Sequence[str | Path]
"""A log in memory, or the files that hold it: a path, a folder, a glob or a list of them."""


@dataclass(frozen=True)
class Roles:
    """Which columns of a log are read, and what for.

    Attributes:
      attributes: id columns in which a missing value is unknown; the user and the item need a value in every row.
      numbers: column or expression (such as "rating >= 4") by the name of its result.
      unit: which of the numbers must lie in [0, 1].
      missing: which of the numbers may be missing.
      separators: what stands between the values of an attribute whose text is a set of them, by its name.
    """

    user: str
    item: str
    time: str
    attributes: tuple[str, ...] = ()
    numbers: dict[str, str] = field(default_factory=dict)
    unit: str = ""
    missing: frozenset[str] = frozenset()
    separators: Mapping[str, str] = field(default_factory=dict)

    @property
    def ids(self) -> tuple[str, ...]:
        return (self.user, self.item, *self.attributes)


@dataclass(frozen=True)
class Facts:
    """What blocks of rows must agree in.

    Attributes:
      rows: how many.
      dates: whether the times are seconds since 1970.
      dtype: of the times.
      largest: the largest magnitude among whole times.
      numeric: expressions and columns that they compare with text, where every value is a number.
    """

    rows: int
    dates: bool
    dtype: np.dtype
    largest: int
    numeric: frozenset[tuple[str, str]]


@dataclass(frozen=True)
class Rows:
    """Some rows of a log: times (int64 or float64), values of the id columns, numbers (float32).

    Attributes:
      ids: of a set its text, see `dienjax.preparation.sets`.
      types: as in `Reading`.
      untyped: whether all values of the log come from text files, which cannot say what is a number.
    """

    time_R: np.ndarray
    ids: dict[str, pa.Array]
    numbers: dict[str, np.ndarray]
    facts: Facts
    types: dict[str, pa.DataType]
    untyped: bool


@dataclass(frozen=True)
class Reading:
    """How the sources of a log are read.

    Attributes:
      columns: the columns that each expression of the roles reads.
      types: the type of each id column, of a set a list.
      texts: expressions and columns that they compare with text.
      untyped: as in `Rows`.
    """

    sources: list[Source]
    roles: Roles
    columns: dict[str, list[str]]
    types: dict[str, pa.DataType]
    texts: frozenset[tuple[str, str]]
    untyped: bool


def rows(log: Log, roles: Roles, progress: str = "") -> Iterator[Rows]:
    """The rows of a log in order, in blocks; `progress` is the title of a progress bar (on a terminal).

    Raises:
      FileNotFoundError: no such file.
      ValueError: a column that is missing or of mixed types, a missing user or item, a time or number that cannot be
        read (with its row and value), numbers compared with text, a broken or empty file (with what was read of it).
    """
    reading = open_reading(log, roles)
    agreed = Agreement(reading)
    with tqdm(desc=progress, unit=" rows", unit_scale=True, disable=None if progress else True) as bar:
        for source in reading.sources:
            for block in blocks(source, reading, agreed.numeric):
                agreed.add(block.facts)
                yield block
                bar.update(block.facts.rows)
    agreed.end()


def open_reading(log: Log, roles: Roles) -> Reading:
    """How a log is read; no rows are read yet.

    Raises:
      ValueError: a column that is missing or of mixed types; and see `open_log`.
    """
    sources = open_log(log, roles)
    read = {text: expression.names_in(text, sources[0].types) for text in roles.numbers.values()}
    for source in sources:
        for name in (*roles.ids, roles.time, *(name for names in read.values() for name in names)):
            if name not in source.types:
                raise ValueError(f"column {name!r} is missing{_of(source.name)}; {nearest(name, source.types)}")
    of = {name: [source.types[name] for source in sources] for name in roles.ids}
    types = {name: columns.id_type(name, of[name]) for name in (roles.user, roles.item)}
    types |= {name: columns.set_type(name, of[name], roles.separators.get(name, "")) for name in roles.attributes}
    texts = frozenset((e, name) for e in read if e not in read[e] for name in expression.meant_as_text(e))
    return Reading(sources, roles, read, types, texts, all(s.first_line for s in sources))


def blocks(source: Source, reading: Reading, numeric: frozenset[tuple[str, str]]) -> Iterator[Rows]:
    """The rows of one source, checked by themselves; `numeric` are the texts of the reading to look at."""
    roles, start = reading.roles, 0
    names = (*roles.ids, roles.time, *(name for read in reading.columns.values() for name in read))
    for batch in source.batches(list(dict.fromkeys(names))):

        def where(row: int, start: int = start) -> str:
            return source.where(start + row)

        time_R, kind = columns.times(batch.column(roles.time), roles.time, where)
        ids = {name: _ids(batch.column(name), name, reading, where) for name in roles.ids}
        number = {
            n: expression.numbers(batch, reading.columns[e], e, where, n == roles.unit, n in roles.missing)
            for n, e in roles.numbers.items()
        }
        numeric = frozenset((e, name) for e, name in numeric if expression.holds_numbers(batch.column(name)))
        facts = Facts(len(batch), kind == "date", time_R.dtype, columns.largest_whole(time_R), numeric)
        yield Rows(time_R, ids, number, facts, reading.types, reading.untyped)
        start += len(batch)


def _ids(column: pa.Array, name: str, reading: Reading, where: columns.Where) -> pa.Array:
    roles, type = reading.roles, reading.types[name]
    if is_list(type):
        return sets.texts(column, name, type, roles.separators.get(name, ""), where)
    return columns.ids(column, name, type, where, name not in roles.attributes)


class Agreement:
    """What the blocks of a log have in common so far: see `Facts`. Refuses what no type could hold together."""

    def __init__(self, reading: Reading) -> None:
        self.reading, self.numeric = reading, reading.texts
        self.kinds: set[bool] = set()
        self.dtypes: set[np.dtype] = set()
        self.largest = 0

    def add(self, facts: Facts) -> None:
        """Take in one more block.

        Raises:
          ValueError: dates beside numbers, or whole numbers beyond 2^53 beside fractions.
        """
        name = self.reading.roles.time
        self.kinds.add(facts.dates)
        if len(self.kinds) > 1:
            raise ValueError(f"time column {name!r} holds numbers and dates; expected one kind")
        self.dtypes.add(facts.dtype)
        self.largest = max(self.largest, facts.largest)
        columns.refuse_mixed(name, self.dtypes, self.largest)
        self.numeric &= facts.numeric

    def end(self) -> None:
        """Raise ValueError if there were no rows, or if an expression compares a column of numbers with text."""
        if not self.kinds:
            names = ", ".join(source.name for source in self.reading.sources[:3])
            raise ValueError(f"no rows{_of(names)}; expected at least one event")
        for text, name in sorted(self.numeric):
            raise ValueError(
                f"expression {text!r} compares {name!r} with text, and every value of it is a number; expected one "
                "kind: write numbers without quotes"
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
    return [source for pattern in paths for source in _matching(str(pattern), {*roles.ids, roles.time})]


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


def _matching(pattern: str, likely: set[str]) -> list[Source]:
    """The files of a path, a folder or a glob of either, in order of their paths."""
    found = [pattern] if os.path.exists(pattern) else sorted(glob.glob(pattern, recursive=True))
    if not found:
        raise FileNotFoundError(f"no file {pattern!r}; expected a CSV, TSV or Parquet file, a folder or a glob of them")
    sources, folders = [], [path for path in found if os.path.isdir(path)]
    for path in found:
        if any(path.startswith(os.path.join(folder, "")) and path != folder for folder in folders):
            continue  # of a glob such as log/**, which also has what is in the folders that it has
        if path not in folders:
            sources.append(open_file(path, likely))
            continue
        files = files_in(path)
        types = key_types([keys for _, keys in files])
        sources += [with_keys(open_file(file, likely), keys, types) for file, keys in files]
    return sources


def _to_arrow(frame: pd.DataFrame, roles: Roles) -> pa.Table:
    """The columns of a DataFrame that are read, without copying what numpy holds."""
    names = [str(c) for c in frame.columns]
    once(names)
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
    once(table.column_names)
    types = dict(zip(table.schema.names, table.schema.types, strict=True))
    return Source("", types, lambda wanted: iter(table.select(wanted).to_batches(BLOCK_ROWS)), table.nbytes)
