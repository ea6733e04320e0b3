"""Predictions for Parquet files, one or a folder of them, a chunk of rows at a time."""

import sys
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from itertools import chain, groupby
from operator import itemgetter
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from dienjax.data.store import Store
from dienjax.serving.rows import Rows, column_names, encoded_rows
from dienjax.storage.files import new_file, read_object, write_json
from dienjax.storage.folders import Purpose, new_folder
from dienjax.training.calibration import Method
from dienjax.training.chunks import chunk_scorer
from dienjax.training.parquet import Part, chunks, find_parts, longest_list, with_keys
from dienjax.training.prediction import masks_padding, prediction_of_logits, run_encoders
from dienjax.training.run import Run

MARK = "_predictions.json"
"""In a folder of predictions; its first letter hides it from what reads the folder as one table."""

DELAY = 1
"""Seconds before the progress bar appears: what is done by then needs none."""

T = TypeVar("T")


def predict_file(
    run: Run | str | Path,
    source: str | Path,
    target: str | Path,
    force: bool = False,
    calibrate: Method | None = None,
    store: Store | str | Path | None = None,
    progress: bool = False,
) -> int:
    """Write the predictions for Parquet files, whole or not at all, and return the number of rows.

    Every column is there as it was, followed by that of the predictions. Rows are read, scored and written a chunk at a
    time: memory does not grow with their number. A program is compiled for each of the run's few history lengths. The
    probabilities are those of `predict` to 1e-6, wherever a chunk ends.

    Args:
      source: a Parquet file; a folder of them, in any depth; or a glob. A column that the files lack may be told by the
        names of their folders (`city=Bonn/`).
      target: a file for a file; else a folder, that gets a file for each, of the same name in the folder (of a glob:
        from the first * on).
      force: replace a file, or a folder that this function wrote.
      progress: a progress bar on stderr.

    The other arguments are those of `predict`.

    Raises:
      ValueError: as `predict`, with the file and its row; a file that is damaged or no Parquet; the target is in the
        folder that is read.
      OSError: no such file, or the target cannot be written.
    """
    source, target, one = Path(source), Path(target), Path(source).is_file()
    if one:
        _check_file(target, force)
    elif source.is_dir() and source.resolve() in target.resolve().parents:
        raise ValueError(f"{target} is in the folder that is read, {source}; choose a folder elsewhere")
    run = run if isinstance(run, Run) else Run.open(run)
    parts = find_parts(source, column_names(run.schema))
    rows = sum(part.rows for part in parts)
    with (
        _new_files(one, target, force, parts) as path_of,
        closing(_ahead(_scored(run, parts, calibrate, store))) as scored,
        tqdm(
            total=rows, desc="predict", unit=" rows", unit_scale=True, dynamic_ncols=True, disable=not progress,
            delay=DELAY, mininterval=0.2 if sys.stderr.isatty() else 10,
        ) as bar,
    ):  # fmt: skip
        for part, pairs in groupby(scored, key=itemgetter(0)):
            for written in _write((table for _, table in pairs), path_of(part), target):
                bar.update(written)
    return rows


def is_predictions(path: Path) -> bool:
    """Whether `predict_file` wrote a folder."""
    try:
        return read_object(path / MARK).keys() == {"files", "rows"}
    except (OSError, ValueError):
        return False


PURPOSE = Purpose("a folder of predictions", is_predictions)


def _check_file(target: Path, force: bool) -> None:
    if target.exists() and not force:
        raise FileExistsError(f"{target} already exists; choose another name, or use --force to replace it")
    if target.is_dir() or not target.parent.is_dir():
        raise FileNotFoundError(f"{target} cannot be written; expected the name of a file in a folder that exists")


@contextmanager
def _new_files(one: bool, target: Path, force: bool, parts: list[Part]) -> Iterator[Callable[[Part], Path]]:
    """Where the predictions for each part are written; all of it takes the place of the target on success."""
    if one:
        with new_file(target) as temporary:
            yield lambda part: temporary
        return
    with new_folder(target, force, PURPOSE, [part.path for part in parts]) as folder:
        yield lambda part: folder / part.name
        write_json(folder / MARK, {"files": len(parts), "rows": sum(part.rows for part in parts)})


def _scored(
    run: Run, parts: list[Part], calibrate: Method | None, store: Store | str | Path | None
) -> Iterator[tuple[Part, pa.Table]]:
    """The rows of all parts in order, as tables with the predictions, at least one of each part."""
    variables = run.variables()
    name, scale = prediction_of_logits(run, variables, calibrate, store)
    none = scale(np.zeros(1, np.float32))[:0]
    longest = 1
    if not masks_padding(run):
        longest = min(run.max_len, longest_list(parts, f"hist_{run.schema.item}"))
    logits = chunk_scorer(run, variables, sum(part.rows for part in parts), longest)
    for part, table, rows in _ahead(_encoded(run, parts)):
        value_M = scale(logits(rows)) if len(table) else none
        if name in table.column_names:
            table = table.drop_columns(name)
        yield part, table.append_column(name, _column(value_M, rows))


def _encoded(run: Run, parts: list[Part]) -> Iterator[tuple[Part, pa.Table, Rows]]:
    encode = run_encoders(run)
    for part in parts:
        first = 0
        for table in chunks(part):
            yield part, table, encoded_rows(run.schema, encode, with_keys(part, table), part.place(first))
            first += len(table)


def _ahead(items: Iterator[T]) -> Generator[T, None, None]:
    """The items, each made in a thread while the one before it is worked on."""
    with ThreadPoolExecutor(1, thread_name_prefix="rows") as pool:
        following = pool.submit(next, items, None)
        while (item := following.result()) is not None:
            following = pool.submit(next, items, None)
            yield item


def _column(value_M: np.ndarray, rows: Rows) -> pa.Array:
    values = pa.array(value_M)
    return pa.LargeListArray.from_arrays(np.append(0, np.cumsum(rows.count_N)), values) if rows.lists else values


def _write(tables: Iterator[pa.Table], path: Path, target: Path) -> Iterator[int]:
    """Write the tables to a Parquet file, and yield the number of rows of each."""
    path.parent.mkdir(parents=True, exist_ok=True)
    first = next(tables)
    try:
        with pq.ParquetWriter(path, first.schema) as writer:
            for table in chain([first], tables):
                writer.write_table(table)
                yield len(table)
    except OSError as error:
        raise OSError(error.errno, f"{target} cannot be written, nothing new is there ({error})") from error
