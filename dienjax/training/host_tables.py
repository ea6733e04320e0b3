"""Tables larger than the device: they and their moments stay in the host's memory, or in files that are mapped into it.

A lazy step reads R rows of each table (`dienjax.training.lazy_rows`); only these travel to the device, and back. The
result is that of the lazy step. The arrays of the tables in the state are NumPy's, and a step changes them in place.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from dienjax.batch import Batch
from dienjax.models.embedding import embed, initial_part, initial_rows
from dienjax.training.layout import Layout, table_of
from dienjax.training.lazy_rows import RowsBatch, gather_rows, make_lazy_train_step
from dienjax.training.losses import LossConfig
from dienjax.training.step import Metrics, TrainState

DRAWN = 2**18
"""Rows that are drawn at once."""


def init_host_state(
    model: nn.Module, tx: optax.GradientTransformation, batch: Batch, key: jax.Array, layout: Layout
) -> TrainState:
    """The state before the first step, with the values of `init_state`; its large tables are on the host.

    Moments that begin at 0 take memory only where rows are touched.
    """
    zeros = jax.tree.map(lambda a: jnp.zeros((1, *a.shape[1:]), a.dtype), batch)

    def part(key: jax.Array, start: Any) -> Any:
        """All variables, with the rows of the large tables from `start` on alone."""

        def initial(key: jax.Array, shape: tuple[int, int]) -> jax.Array:
            large = shape[0] >= layout.small
            return initial_part(key, shape, start, min(DRAWN, shape[0])) if large else initial_rows(key, shape)

        variables = model.init(key, zeros)
        tables = model.init(key, zeros, method=lambda model, batch: model.embedder(batch, initial))
        return {**variables, "params": {**variables["params"], **tables["params"]}}

    drawn = jax.jit(part)
    variables = drawn(key, 0)
    tables = dict(variables["params"]["embedder"])
    one = {name: table[:1] if name in layout.hosted else table for name, table in tables.items()}
    opt_state = jax.jit(tx.init)({**variables["params"], "embedder": one})
    for name in layout.hosted:
        size = layout.schema.table(name).size
        table_VD = new_array((size, *tables[name].shape[1:]), tables[name].dtype, layout.folder)
        for start in range(0, size, len(tables[name])):
            rows = drawn(key, start)["params"]["embedder"][name] if start else tables[name]
            table_VD[start : start + len(rows)] = rows[: size - start]
        tables[name] = table_VD
    single = dict.fromkeys(layout.hosted, 1)

    def tall(path: Any, leaf: jax.Array) -> Any:
        """A moment of one row, as tall as its table."""
        table = table_of(path, leaf, single)
        if table is None:
            return leaf
        whole = new_array((layout.schema.table(table).size, *leaf.shape[1:]), leaf.dtype, layout.folder)
        if np.any(leaf):
            whole[:] = leaf
        return whole

    params = {**variables["params"], "embedder": tables}
    opt_state = jax.tree.map_with_path(tall, opt_state)
    return TrainState(jnp.zeros((), jnp.int32), params, variables.get("batch_stats", {}), opt_state)


def new_array(shape: tuple[int, ...], dtype: Any, folder: str) -> np.ndarray:
    """Zeros in memory or, if a folder is given, in a file there that is gone when the process ends."""
    if not folder:
        return np.zeros(shape, dtype)
    with tempfile.TemporaryFile(dir=Path(folder), prefix="dienjax-table-") as file:
        return np.memmap(file, dtype, "w+", shape=shape).view(np.ndarray)


def on_host(state: Any, layout: Layout) -> Any:
    """A restored state, with its large tables in arrays that a step can change."""
    _, hosted = _sizes(layout)

    def writable(path: Any, leaf: Any) -> Any:
        if table_of(path, leaf, hosted) is None or (leaf.flags.writeable and not layout.folder):
            return leaf
        array = new_array(leaf.shape, leaf.dtype, layout.folder)
        array[:] = leaf
        return array

    return jax.tree.map_with_path(writable, state)


def make_host_train_step(
    model: nn.Module, tx: optax.GradientTransformation, loss: LossConfig, unknown: float, layout: Layout
) -> Callable[[TrainState, RowsBatch, jax.Array], tuple[TrainState, Metrics]]:
    """A `step(state, rows_batch, root_key) -> (state, metrics)` that changes the large tables of the state in place."""
    here, hosted = _sizes(layout)
    on_device = make_lazy_train_step(model, tx, loss, unknown, layout.threads, here)

    def step(state: TrainState, rows: RowsBatch, root_key: jax.Array) -> tuple[TrainState, Metrics]:
        small, metrics = on_device(_fetched(state, rows, hosted), rows, root_key)

        def put_back(path: Any, leaf: Any, new: jax.Array) -> Any:
            table = table_of(path, leaf, hosted)
            if table is None:
                return new
            row_R = rows.row_R[table]
            real_R = row_R < len(leaf)
            leaf[row_R[real_R]] = np.asarray(new)[real_R]
            return leaf

        return jax.tree.map_with_path(put_back, state, small), metrics

    return step


def make_host_eval_step(model: nn.Module, layout: Layout) -> Callable[[dict[str, Any], RowsBatch], jax.Array]:
    """A `step(variables, rows_batch) -> logit_BK` that reads the large tables on the host."""
    here, hosted = _sizes(layout)

    @jax.jit
    def on_device(variables: dict[str, Any], rows: RowsBatch) -> jax.Array:
        tables = gather_rows(variables, rows.row_R, here)["params"]["embedder"]
        output: Any = model.apply(variables, embed(model.schema, tables, rows.batch), method="net")
        return output.logit_BK

    return lambda variables, rows: on_device(_fetched(variables, rows, hosted), rows)


def _sizes(layout: Layout) -> tuple[dict[str, int], dict[str, int]]:
    """The rows of the tables on the device, and of those on the host."""
    sizes = {table.name: table.size for table in layout.schema.tables}
    return {name: n for name, n in sizes.items() if name not in layout.hosted}, {n: sizes[n] for n in layout.hosted}


def _fetched(state: Any, rows: RowsBatch, hosted: dict[str, int]) -> Any:
    """The state with the rows of the batch alone of each table on the host; a row beyond the table is 0."""

    def fetch(path: Any, leaf: Any) -> Any:
        table = table_of(path, leaf, hosted)
        if table is None:
            return leaf
        row_R = rows.row_R[table]
        fetched = np.take(leaf, np.minimum(row_R, len(leaf) - 1), axis=0)
        fetched[row_R >= len(leaf)] = 0
        return fetched

    return jax.tree.map_with_path(fetch, state)
