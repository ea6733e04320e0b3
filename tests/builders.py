"""A tiny schema, random ragged batches for it, and other shapes of the same batch."""

import functools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import jax
import numpy as np
from flax import linen as nn

from dienjax.batch import Batch
from dienjax.inputs.channels import numbers
from dienjax.schema import Behaviour, Channel, Dense, Field, Scale, Schema, Sparse, Table, shaped

FAST_COMPILATION = "--xla_cpu_use_fusion_emitters=false" if jax.__version_info__ < (0, 11) else ""
"""For XLA_FLAGS: compiles in half the time, and trains as fast. From jax 0.11 on XLA ends the process at this flag."""

SCHEMA = Schema(
    tables=(Table("item", 12, 3), Table("category", 9, 2), Table("city", 8, 2), Table("slot", 8, 2)),
    behaviours=(Behaviour("item"), Behaviour("category")),
    sparse=(Sparse("city"), Sparse("slot", of="candidate")),
    dense=(Dense("age"), Dense("price", of="candidate")),
)
EVERY_KIND = Schema(
    tables=(Table("item", 12, 3), Table("tag", 9, 2), Table("hobby", 8, 2), Table("slot", 8, 2)),
    behaviours=(Behaviour("item"), Behaviour("tags", "tag", most=3), Behaviour("marks", "tag", most=2, pool="max")),
    sparse=(Sparse("hobbies", "hobby", most=2, pool="sum"), Sparse("slot", of="candidate", most=1)),
    dense=(
        Dense("age", scale=Scale(0.5, 2.0)),
        Dense("price", of="event", scale=Scale(0.2, 0.5, log=True)),
        Dense("dwell", of="event"),
        Dense("rank", of="candidate"),
    ),
)
"""Sets of ids and numbers on every side, with and without a scale."""
CHANNELS = Schema(
    tables=(*SCHEMA.tables[::2], Table("type", 9, 2), SCHEMA.tables[3]),
    behaviours=(Behaviour("item"), Behaviour("type")),
    sparse=SCHEMA.sparse,
    dense=SCHEMA.dense,
    type="type",
    channels=(Channel("click", (5, 6), most=4), Channel("buy", (8,), most=9), Channel("cart", (7,), most=4)),
)
"""Every real event is in one of its channels."""
TIMED = replace(
    SCHEMA,
    tables=(*SCHEMA.tables, Table("gap", 9, 3, edges=tuple(2.0**n for n in range(6)))),
    behaviours=(*SCHEMA.behaviours, Behaviour("gap", time="gap")),
)
"""With a field of time."""
FAST_COMPILE = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
"""For `jax.jit(compiler_options=...)`: tiny programs spend their time in the compiler."""

FIRST_REAL = 5
"""Batches hold no id between padding and this one: tests give 1 to 4 a meaning of their own."""


def make_batch(
    lengths: Sequence[int] = (0, 1, 4, 2, 3, 0),
    T: int = 4,
    K: int = 3,
    *,
    negatives: bool = True,
    seed: int = 0,
    schema: Schema = SCHEMA,
) -> Batch:
    """One row per length; row i has K − i mod K real candidates, and the last row of several has none.

    A set of ids has any number of them, also none; of the numbers with a scale some are missing.
    """
    rng = np.random.default_rng(seed)
    B, sizes = len(lengths), schema.sizes()
    mask_BT = np.arange(T) < np.array(lengths)[:, None]
    mask_BK = np.arange(K) < K - np.arange(B)[:, None] % K
    mask_BK[B - 1 :] &= B == 1

    def values(field: Field, mask: np.ndarray) -> np.ndarray:
        shape, dtype = shaped(field, *mask.shape)
        mask = mask.reshape(mask.shape + (1,) * (len(shape) - mask.ndim))
        if isinstance(field, Dense):
            drawn = rng.normal(size=shape)
            drawn = np.where(rng.random(shape) < 0.3, np.nan, drawn) if field.scale else drawn
        else:
            drawn = rng.integers(FIRST_REAL, sizes[field.name], shape)
            if field.most:
                mask = mask & (np.arange(field.most) < rng.integers(0, field.most + 1, (*shape[:-1], 1)))
        return np.where(mask, drawn, 0).astype(dtype)

    events, of_candidates = schema.event_fields, (*schema.event_fields, *schema.side("candidate"))
    user = {f.name: values(f, mask_BK[:, 0]) for f in schema.side("user")}
    history = {f.name: values(f, mask_BT) for f in events}
    return Batch(
        user=user,
        history=history,
        candidate={f.name: values(f, mask_BK) for f in of_candidates},
        mask_BT=mask_BT,
        mask_BK=mask_BK,
        label_BK=np.where(mask_BK, rng.integers(0, 2, (B, K)), 0).astype(np.float32),
        negative={f.name: values(f, mask_BT) for f in events} if negatives else None,
        hist_label_BT=np.where(mask_BT, rng.integers(0, 2, (B, T)), 0).astype(np.float32),
        channel_BT=numbers(schema)[history[schema.type]] if schema.channels else None,
    )


def with_ids(arrays: dict[str, np.ndarray], mask: np.ndarray, id: int) -> dict[str, np.ndarray]:
    """The same arrays with every id replaced by `id` where mask is True."""

    def replaced(array: np.ndarray) -> np.ndarray:
        wide = mask.reshape(mask.shape + (1,) * (array.ndim - mask.ndim))
        return np.where(wide, np.int32(id), array) if array.dtype == np.int32 else array

    return {name: replaced(array) for name, array in arrays.items()}


def more_padding(batch: Batch, extra: int) -> Batch:
    """The same batch with `extra` more padded history slots."""

    def pad(tree: Any) -> Any:
        return jax.tree.map(lambda a: np.pad(a, ((0, 0), (0, extra), *((0, 0),) * (a.ndim - 2))), tree)

    return batch.replace(
        history=pad(batch.history),
        negative=pad(batch.negative),
        mask_BT=pad(batch.mask_BT),
        hist_label_BT=pad(batch.hist_label_BT),
        channel_BT=pad(batch.channel_BT),
    )


def one_candidate(batch: Batch, k: int) -> Batch:
    """The same histories with candidate k alone: K = 1."""
    return batch.replace(
        candidate={name: a[:, k : k + 1] for name, a in batch.candidate.items()},
        mask_BK=batch.mask_BK[:, k : k + 1],
        label_BK=batch.label_BK[:, k : k + 1],
    )


def randomised(tree: Any, seed: int = 0) -> Any:
    """Arrays like the given ones but random, so that no bias or slope is 0; variances are positive."""
    rng = np.random.default_rng(seed)

    def draw(path: Any, leaf: Any) -> np.ndarray:
        x = rng.uniform(0.5, 2.0, leaf.shape) if path[-1].key == "var" else rng.normal(0, 0.5, leaf.shape)
        return x.astype(np.float32)

    return jax.tree.map_with_path(draw, tree)


def random_variables(module: nn.Module, *arrays: Any, seed: int = 0, **static: Any) -> dict[str, Any]:
    """Random variables for a module: no bias is 0, so each one counts; "batch_stats" may be empty."""
    shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), *arrays, **static))
    return {"params": {}, "batch_stats": {}} | randomised(shapes, seed)


@functools.cache
def _jitted(module: nn.Module, static: tuple[tuple[str, Any], ...]) -> Any:
    return jax.jit(functools.partial(module.apply, **dict(static)), compiler_options=FAST_COMPILE)


def apply(module: nn.Module, variables: dict[str, Any], *arrays: Any, **static: Any) -> Any:
    """`module.apply`, compiled once for the whole suite by module, static arguments and shapes."""
    return _jitted(module, tuple(sorted(static.items())))(variables, *arrays)
