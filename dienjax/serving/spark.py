"""Scores of a Spark DataFrame's rows, with an exported model in each worker and without JAX."""

from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from dienjax.serving.folder import read_export
from dienjax.serving.ranker import Ranker
from dienjax.serving.raw_columns import Place, check_columns
from dienjax.serving.rows import column_names

if TYPE_CHECKING:
    from pyspark.sql.types import StructType

NAME = {"binary": "probability", "regression": "prediction"}


def scores(folder: str | Path) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """A function for `DataFrame.mapInArrow`: every row as it is, and its probability (regression: prediction).

    Rows are as `Ranker.score_table` takes them. Each worker process opens the export when it first needs it, and again
    when it has changed; it needs dienjax, NumPy, pyarrow and onnxruntime, no JAX. The column `probability` (or
    `prediction`) comes last; one that was there is replaced.

    Args:
      folder: what `dienjax export` wrote, under a path that every executor can read.

    Raises:
      ValueError: the export is damaged, or, in a worker, what `Ranker.score_table` refuses: a Spark job then fails with
        its message, which names the row in the partition.
      FileNotFoundError: `folder` is not an export, or lacks a file.
    """
    read_export(folder)
    return partial(_scored, str(Path(folder).absolute()))


def scored_schema(schema: "StructType", folder: str | Path) -> "StructType":
    """The schema that `mapInArrow` gets beside `scores(folder)`, from the DataFrame's own.

    Raises:
      ValueError: the DataFrame lacks a column that the model reads.
    """
    from pyspark.sql.types import ArrayType, FloatType, StructField, StructType

    export = read_export(folder)
    check_columns(column_names(export.schema), schema.names, Place("scored_schema"))
    name, lists = NAME[export.task], isinstance(schema[export.schema.item].dataType, ArrayType)
    kept = [field for field in schema.fields if field.name != name]
    return StructType([*kept, StructField(name, ArrayType(FloatType()) if lists else FloatType())])


def _scored(folder: str, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The batches of a partition, with their scores."""
    ranker = _ranker(folder, (Path(folder) / "export.json").read_bytes())
    name, first = NAME[ranker.task], 0
    for batch in batches:
        table = pa.Table.from_batches([batch])
        score_N = ranker.score_table(table, Place("mapInArrow, a partition", first))
        kept = table.drop_columns(name) if name in table.column_names else table
        yield from kept.append_column(name, score_N).combine_chunks().to_batches()
        first += len(batch)


@lru_cache(1)
def _ranker(folder: str, facts: bytes) -> Ranker:
    """The export's ranker, once in a process; `facts` differ where the export does."""
    return Ranker(folder, cached_users=0)
