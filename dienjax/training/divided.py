"""The steps in which devices share a batch: each sees its own rows of it, and what crosses devices stands here.

A batch is renumbered for each device alone (`divide`), so that each has a list of the R rows that its part reads. Of
tables that are spread over the devices it gets these rows [R, D] from where they live; the gradients of all lists are
gathered, [n·R, D], and each device adds up those of the rows that it holds. The dense gradients, the losses and the
sums that batch statistics need are added up over the devices. Nothing crosses inside a scan, and never a table.

Every step equals that of one device up to rounding: dropout draws the rows of what one device would draw.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from jax.sharding import PartitionSpec

from dienjax.batch import Batch
from dienjax.models.embedding import embed
from dienjax.training.layout import AXIS, Layout
from dienjax.training.lazy_rows import RowsBatch, gather_rows, renumber, scatter_rows
from dienjax.training.losses import LossConfig
from dienjax.training.step import Metrics, TrainState, make_descend, make_gradient

ALL, DIVIDED = PartitionSpec(), PartitionSpec(AXIS)
"""An array that every device has; one whose rows are divided."""


def divide(batch: Batch, layout: Layout) -> RowsBatch:
    """The rows of a batch that this process has, renumbered for each of its devices: lists and parts side by side."""
    parts = layout.parts_here
    split = jax.tree.map(lambda a: np.split(a, parts), batch)
    each = [
        renumber(
            jax.tree.map(lambda pieces, i=i: pieces[i], split, is_leaf=lambda x: isinstance(x, list)), layout.schema
        )
        for i in range(parts)
    ]
    return jax.tree.map(lambda *pieces: np.concatenate(pieces), *each)


def make_divided_train_step(
    model: nn.Module, tx: optax.GradientTransformation, loss: LossConfig, unknown: float, layout: Layout, lazy: bool
) -> Callable[[TrainState, RowsBatch, jax.Array], tuple[TrainState, Metrics]]:
    """A jitted, pure `step(state, rows_batch, root_key) -> (state, metrics)` that donates the old state.

    It is that of `make_lazy_train_step` or, without `lazy`, that of `make_train_step`, on the devices of a layout.
    """
    gradient = make_gradient(model, loss, unknown, layout.devices[0].platform)
    descend = make_descend(tx, loss)

    def summed(state: TrainState, rows: RowsBatch, root_key: jax.Array) -> tuple[Any, Any, Metrics]:
        """The gradients of one device's part, summed over the devices; of a table: what `_gathered` returns."""
        params = {**state.params, "embedder": _fetch(layout, state.params["embedder"], rows.row_R)}
        grads, batch_stats, metrics = gradient(replace(state, params=params), rows.batch, root_key, rows.row_R)
        tables = jax.tree.map(_gathered, rows.row_R, grads.pop("embedder"))
        return {**jax.lax.psum(grads, AXIS), "embedder": tables}, batch_stats, jax.lax.psum(metrics, AXIS)

    def lazy_part(state: TrainState, rows: RowsBatch, root_key: jax.Array) -> tuple[TrainState, Metrics]:
        grads, batch_stats, metrics = summed(state, rows, root_key)
        distinct = {name: _distinct(*table) for name, table in grads["embedder"].items()}
        here = {name: _place(layout, name, id_N) for name, (id_N, _) in distinct.items()}
        grads["embedder"] = {name: grad_ND for name, (_, grad_ND) in distinct.items()}
        small = gather_rows(state, here, layout.rows_here())
        if loss.l2_embedding:  # what it adds counts in the norm of the gradients: each device needs all rows
            tables = small.params["embedder"]
            whole = {name: jax.lax.psum(tables[name], AXIS) for name in layout.spread}
            small = replace(small, params={**small.params, "embedder": {**tables, **whole}})
        small, metrics = descend(small, grads, batch_stats, metrics)
        return scatter_rows(state, small, here, layout.rows_here()), metrics

    def dense_part(state: TrainState, rows: RowsBatch, root_key: jax.Array) -> tuple[Any, Any, Metrics]:
        grads, batch_stats, metrics = summed(state, rows, root_key)
        grads["embedder"] = {
            name: jnp.zeros_like(state.params["embedder"][name])
            .at[_place(layout, name, id_N)]
            .add(grad_ND, mode="drop")
            for name, (id_N, grad_ND) in grads["embedder"].items()
        }
        return grads, batch_stats, metrics

    def step(state: TrainState, rows: RowsBatch, root_key: jax.Array) -> tuple[TrainState, Metrics]:
        specs = layout.specs(state)
        over = partial(jax.shard_map, mesh=layout.mesh, in_specs=(specs, DIVIDED, ALL), check_vma=False)
        if lazy:
            return over(lazy_part, out_specs=(specs, ALL))(state, rows, root_key)
        state, metrics = descend(state, *over(dense_part, out_specs=(specs.params, ALL, ALL))(state, rows, root_key))
        return jax.lax.with_sharding_constraint(state, layout.shardings(state)), metrics

    return jax.jit(step, donate_argnums=0)


def make_divided_eval_step(model: nn.Module, layout: Layout) -> Callable[[dict[str, Any], RowsBatch], jax.Array]:
    """A jitted, pure `step(variables, rows_batch) -> logit_BK`, each device the logits of its part."""

    def part(variables: dict[str, Any], rows: RowsBatch) -> jax.Array:
        tables = _fetch(layout, variables["params"]["embedder"], rows.row_R)
        embedded = embed(model.schema, tables, rows.batch)
        output: Any = model.apply(variables, embedded, method="net")
        return output.logit_BK

    def step(variables: dict[str, Any], rows: RowsBatch) -> jax.Array:
        logits = jax.shard_map(
            part, mesh=layout.mesh, in_specs=(layout.specs(variables), DIVIDED), out_specs=DIVIDED, check_vma=False
        )
        logit_BK: jax.Array = logits(variables, rows)
        return logit_BK

    return jax.jit(step)


def _fetch(layout: Layout, tables: dict[str, jax.Array], row_R: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """The rows [R, D] of this device's list of each table."""

    def rows(name: str) -> jax.Array:
        if name not in layout.spread:
            return tables[name].at[row_R[name]].get(mode="fill", fill_value=0)
        wanted_N = _place(layout, name, jax.lax.all_gather(row_R[name], AXIS, tiled=True))
        held_ND = tables[name].at[wanted_N].get(mode="fill", fill_value=0)
        return jax.lax.psum_scatter(held_ND, AXIS, tiled=True)

    return {name: rows(name) for name in tables}


def _place(layout: Layout, table: str, id_N: jax.Array) -> jax.Array:
    """Where this device holds the rows `id_N` of a table; beyond its rows, at places of their own, those it has not."""
    rows, size = layout.rows_here()[table], layout.schema.table(table).size
    start = jax.lax.axis_index(AXIS) * rows if table in layout.spread else 0
    place_N = id_N - start
    return jnp.where((place_N >= 0) & (place_N < rows) & (id_N < size), place_N, rows + jnp.arange(len(id_N)))


def _gathered(row_R: jax.Array, grad_RD: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The lists of all devices and their gradients, [n·R] and [n·R, D]; a row that several read is there as often."""
    return jax.lax.all_gather(row_R, AXIS, tiled=True), jax.lax.all_gather(grad_RD, AXIS, tiled=True)


def _distinct(id_N: jax.Array, grad_ND: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Each id once, with the sum of its gradients; what is left of N are ids beyond any table, with gradients of 0."""
    N = len(id_N)
    order = jnp.argsort(id_N)
    sorted_N = id_N[order]
    place_N = jnp.cumsum(jnp.append(True, sorted_N[1:] != sorted_N[:-1])) - 1
    beyond_N = jnp.iinfo(id_N.dtype).max - jnp.arange(N, dtype=id_N.dtype)
    distinct_N = beyond_N.at[place_N].set(sorted_N)
    return distinct_N, jax.ops.segment_sum(grad_ND[order], place_N, N, indices_are_sorted=True)
