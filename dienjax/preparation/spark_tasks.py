"""What a Spark task does with its part of a log: check it, number its values, write sorted rows as columns.

What a task writes gets its name when it is complete: a task that Spark tries again, or twice at once, leaves the same.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dienjax.preparation.files import Source
from dienjax.preparation.read import Reading, blocks

BLOCKS, VALUES, CODES, ROWS, COLUMNS = "blocks", "values", "codes", "rows", "columns"
"""Folders of one log: its checked blocks, their values, the codes of all values, rows of codes, parts of columns."""


def check(folder: Path, reading: Reading, sources: Sequence[Source], part: int) -> dict:
    """Write the rows of one source block by block, and each block's values beside it, which its codes are places of.

    Returns the facts of the blocks, and the error that ended them, if any.
    """
    facts: list[dict] = []
    try:
        for number, block in enumerate(blocks(sources[part], reading, reading.texts)):
            name, columns = f"{part:06d}-{number:06d}", {"time": pa.array(block.time_R)}
            for c, of in enumerate(reading.roles.ids):
                encoded = block.ids[of].dictionary_encode()
                columns[f"id{c}"] = encoded.indices.fill_null(-1)
                with _complete(folder / VALUES / str(c) / f"{name}.parquet") as path:
                    pq.write_table(pa.table({"value": plain(encoded.dictionary)}), path)
            columns |= {f"number{c}": pa.array(block.numbers[of]) for c, of in enumerate(reading.roles.numbers)}
            with _complete(folder / BLOCKS / f"{name}.parquet") as path:
                pq.write_table(pa.table(columns), path)
            said = asdict(block.facts)
            facts.append(said | {"dtype": said["dtype"].str, "numeric": sorted(said["numeric"])})
    except ValueError as error:
        return {"blocks": facts, "error": str(error)}
    return {"blocks": facts}


def number(folder: Path, first: Sequence[int], counts: Sequence[int], time: str, ids: int, part: int) -> dict:
    """Write the blocks of a part again, with codes that all parts share and the number of each row.

    Args:
      first: the first row of each part.
      counts: the number of blocks of each part.
      time: the dtype of the times.
      ids: the number of id columns.
    """
    row, known = first[part], [pq.read_table(folder / CODES / f"{c}.parquet", memory_map=True) for c in range(ids)]
    for block in range(counts[part]):
        name = f"{part:06d}-{block:06d}.parquet"
        table = pq.read_table(folder / BLOCKS / name)
        columns = {"time": table["time"].cast(pa.from_numpy_dtype(np.dtype(time)))}
        columns["row"] = pa.array(np.arange(row, row + len(table)))
        for c in range(ids):
            here = pq.read_table(folder / VALUES / str(c) / name)["value"]
            place = pc.index_in(here, known[c]["value"]).to_numpy()
            code = np.append(known[c]["code"].to_numpy()[place], np.int32(-1))
            columns[f"id{c}"] = pa.array(code[table[f"id{c}"].to_numpy()])
        columns |= {of: table[of] for of in table.column_names if of.startswith("number")}
        with _complete(folder / ROWS / name) as path:
            pq.write_table(pa.table(columns), path)
        row += len(table)
    return {}


def write(folder: Path) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """A function of a task's sorted rows, for `mapInArrow`, that writes a file for each of their columns."""

    def written(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        from pyspark import TaskContext

        context = TaskContext.get()
        assert context is not None
        part, rows = context.partitionId(), 0
        with ExitStack() as stack:
            files: list[BinaryIO] = []
            for batch in batches:
                if not files:
                    paths = [folder / COLUMNS / f"{name}-{part:06d}" for name in batch.schema.names]
                    files = [stack.enter_context(open(stack.enter_context(_complete(p)), "wb")) for p in paths]
                for file, column in zip(files, batch.columns, strict=True):
                    file.write(column.to_numpy(zero_copy_only=False).data)
                rows += len(batch)
        yield pa.RecordBatch.from_pydict({"part": pa.array([part], pa.int32()), "rows": pa.array([rows], pa.int64())})

    return written


def plain(values: pa.Array) -> pa.Array:
    """Values in a type that Spark has: the bits of uint64 as int64."""
    return values.view(pa.int64()) if pa.types.is_uint64(values.type) else values


@contextmanager
def _complete(path: Path) -> Iterator[Path]:
    """A name to write to, which Spark does not read; the file gets the name `path` at the end."""
    temporary = path.with_name(f".{path.name}.{uuid4().hex}")
    yield temporary
    os.replace(temporary, path)
