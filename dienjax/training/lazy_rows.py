"""A training step that reads and writes only the table rows of its batch: its cost does not grow with the vocabulary.

The host lists the distinct rows that a batch touches and renumbers its ids to that list; the device gathers those rows
of the tables and of the optimizer's state, takes the ordinary step on them, and scatters them back in place.

For sgd, adagrad and rowwise_adagrad this equals the ordinary step, because there a row without a gradient stays as it
is. With adam, momentum, weight decay or `l2_embedding` it does not: here the rows that a batch does not touch stay as
they are, and neither they nor their moments decay, as with LazyAdam in TensorFlow and SparseAdam in PyTorch.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import jax
import numpy as np
import optax
import pandas as pd
from flax import linen as nn
from flax import struct

from dienjax.batch import Array, Batch
from dienjax.schema import PADDING, UNKNOWN, Schema
from dienjax.training.layout import table_of
from dienjax.training.losses import LossConfig
from dienjax.training.step import Metrics, TrainState, make_descend, make_gradient
from dienjax.training.threads import make_threaded_step


@struct.dataclass
class RowsBatch:
    """A batch whose ids are positions in `row_R`, R rows of a table each.

    Attributes:
      batch: positions in place of ids; all else is unchanged.
      row_R: by table name, distinct ids (int32), padding and unknown first, so that these are their own positions;
        those that only pad the list lie beyond the table.
    """

    batch: Batch
    row_R: dict[str, Array]


def renumber(batch: Batch, schema: Schema) -> RowsBatch:
    """The batch for the lazy step, from NumPy arrays; no state is kept between calls, so any thread may call it.

    R is two more than the number of the batch's ids that read the table, or the table's size if that is smaller: it
    depends on shapes alone, so the step compiles once for each of them. An id outside its table counts as unknown
    (id 1), as in `dienjax.models.embedding.look_up`.
    """
    groups = {"user": dict(batch.user), "history": dict(batch.history), "candidate": dict(batch.candidate)}
    if batch.negative is not None:
        groups["negative"] = dict(batch.negative)
    row_R: dict[str, Array] = {}
    for table in schema.tables:
        fields = {f.name for f in schema.id_fields if f.table == table.name}
        places = [(arrays, name) for arrays in groups.values() for name in arrays if name in fields]
        ids = np.concatenate([[PADDING, UNKNOWN], *(np.ravel(arrays[name]) for arrays, name in places)])
        ids = np.where((ids >= 0) & (ids < table.size), ids, UNKNOWN)
        # Hashing is faster than np.unique's sort, and unlike a list of positions by id it does not grow with the table.
        position, row = pd.factorize(ids)
        filling = np.arange(table.size, table.size + min(len(ids), table.size) - len(row))
        row_R[table.name] = np.concatenate([row, filling]).astype(np.int32)
        ends = np.cumsum([arrays[name].size for arrays, name in places])
        parts = np.split(position[2:].astype(np.int32), ends[:-1])
        for (arrays, name), part in zip(places, parts, strict=True):
            arrays[name] = part.reshape(arrays[name].shape)
    return RowsBatch(replace(batch, **groups), row_R)


def make_lazy_train_step(
    model: nn.Module,
    tx: optax.GradientTransformation,
    loss: LossConfig,
    unknown: float = 0.0,
    threads: int = 1,
    sizes: dict[str, int] | None = None,
) -> Callable[[TrainState, RowsBatch, jax.Array], tuple[TrainState, Metrics]]:
    """A `step(state, rows_batch, root_key) -> (state, metrics)` that donates the old state; see `make_train_step`.

    State, metrics and randomness are those of `make_train_step`; states and checkpoints fit either step.

    Args:
      sizes: the rows of the tables in the state; of any other table it has the batch's rows alone. None: of all tables.
    """
    gradient, descend = make_gradient(model, loss, unknown), make_descend(tx, loss)
    sizes = {table.name: table.size for table in model.schema.tables} if sizes is None else sizes

    def of_rows(
        state: TrainState, rows: RowsBatch, root_key: jax.Array, part: tuple[Any, int] | None = None
    ) -> tuple[Any, Any, Metrics]:
        return gradient(gather_rows(state, rows.row_R, sizes), rows.batch, root_key, rows.row_R, part)

    def update(state: TrainState, rows: RowsBatch, *found: Any) -> tuple[TrainState, Metrics]:
        small, metrics = descend(gather_rows(state, rows.row_R, sizes), *found)
        return scatter_rows(state, small, rows.row_R, sizes), metrics

    return make_threaded_step(model, of_rows, update, threads)


def gather_rows(state: Any, row_R: Mapping[str, Array], sizes: dict[str, int]) -> Any:
    """The state with the rows `row_R` alone of each table and of its moments; a row beyond the table is 0."""

    def gather(path: tuple, leaf: jax.Array) -> jax.Array:
        table = table_of(path, leaf, sizes)
        return leaf if table is None else leaf.at[row_R[table]].get(mode="fill", fill_value=0)

    return jax.tree.map_with_path(gather, state)


def scatter_rows(state: Any, small: Any, row_R: Mapping[str, Array], sizes: dict[str, int]) -> Any:
    """The state `small`, with all the other rows of the tables and of their moments as they are in `state`."""

    def scatter(path: tuple, leaf: jax.Array, new: jax.Array) -> jax.Array:
        table = table_of(path, leaf, sizes)
        return new if table is None else leaf.at[row_R[table]].set(new, mode="drop", unique_indices=True)

    return jax.tree.map_with_path(scatter, state, small)
