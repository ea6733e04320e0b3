"""What is inside a trained model: attention weights, gates, interest states and auxiliary logits of given rows."""

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from flax import linen as nn
from flax import struct

from dienjax.batch import Array, Batch
from dienjax.data.arrays import PaddedArrays
from dienjax.models.embedding import events
from dienjax.models.fields import parts_of
from dienjax.models.output import Auxiliary
from dienjax.schema import Schema
from dienjax.training.prediction import table_arrays
from dienjax.training.run import Run


@struct.dataclass
class Intermediates:
    """Arrays of a batch by the name of the top-level module that they come from, such as "target_attention".

    Attributes:
      logit_BK: the logits.
      weight_BKT: attention weights a_t.
      gate_BKTH: what a recurrence's gate lets in at each step, û of h' = (1 − û)·h + û·h̃: a_t·u_t for an AUGRU or a
        minAUGRU; K is 1 where all candidates share the recurrence. A step function of one's own has its u here.
      state_BKTH: the states of a recurrence after each step, likewise.
      next_logit_BS: the auxiliary logit that behaviour t + 1 follows the interest state at t; S = T − 1, or where each
        field has states of its own, T − 1 for each field, side by side.
      negative_logit_BS: the same for the sampled negatives, if the batch has them.

    A channel has modules of its own. Where events of others stand their weights and gates are 0, and their states are
    as before. An auxiliary logit is that of the event's channel: S = T − 1, NaN where it has none.
    """

    logit_BK: Array
    weight_BKT: dict[str, Array]
    gate_BKTH: dict[str, Array]
    state_BKTH: dict[str, Array]
    next_logit_BS: Array | None
    negative_logit_BS: Array | None


def intermediates(model: nn.Module, variables: Any, batch: Batch, auxiliary: bool = True) -> Intermediates:
    """What a model computes on its way to the logits of a batch; pure, and for any model made of dienjax's layers.

    A module of one's own adds its attention by `self.sow("intermediates", "weight_BKT", weight_BKT)`.

    Args:
      auxiliary: whether to give the auxiliary logits; a model that was trained without that loss has no weights for it.
    """
    output: Any
    # Without negatives a model leaves its auxiliary logits out: the history stands in for them.
    negative = (batch.negative or dict(batch.history)) if auxiliary and hasattr(model, "auxiliary") else None
    output, found = model.apply(variables, replace(batch, negative=negative), mutable=["intermediates"])
    sown: dict[str, dict[str, jax.Array]] = {"weight_BKT": {}, "gate_THKB": {}, "state_THKB": {}}
    for path, leaf in jax.tree.leaves_with_path(found["intermediates"]):
        *modules, name = (key.key for key in path[:-1])  # the last key is 0: each is sown once
        if name in sown:
            sown[name][modules[0] if modules else ""] = leaf
    logits = output.auxiliary
    computed = Intermediates(
        output.logit_BK,
        sown["weight_BKT"],
        {name: gate.transpose(3, 2, 0, 1) for name, gate in sown["gate_THKB"].items()},
        {name: state.transpose(3, 2, 0, 1) for name, state in sown["state_THKB"].items()},
        None if logits is None else logits.positive_logit_BS,
        None if logits is None or batch.negative is None else logits.negative_logit_BS,
    )
    return _in_slots_of_all(model.schema, computed, batch, logits) if model.schema.channels else computed


def _in_slots_of_all(schema: Schema, found: Intermediates, batch: Batch, auxiliary: Auxiliary | None) -> Intermediates:
    """What channels have of their own events, in the slots of the whole history."""
    parts = {part.suffix: part for part in parts_of(schema, "joined")}

    def spread(arrays: dict[str, jax.Array], carried: bool = False) -> dict[str, jax.Array]:
        return {name: of_module(name, array, carried) for name, array in arrays.items()}

    def of_module(name: str, array: jax.Array, carried: bool) -> jax.Array:
        """[B, K, S, ...] as [B, K, T, ...]; what is `carried` lasts until the channel's next event."""
        suffix = max((suffix for suffix in parts if name.endswith(suffix)), key=len, default="")
        if not suffix:  # a module of no channel
            return array
        mask_BT = parts[suffix].mask(batch)
        place_BT = jnp.cumsum(mask_BT, axis=1) - 1
        wide = (slice(None), None, slice(None), *[None] * (array.ndim - 3))
        there = ((place_BT >= 0) if carried else mask_BT)[wide]
        return jnp.where(there, jnp.take_along_axis(array, jnp.maximum(place_BT, 0)[wide], axis=2), 0)

    def of_slots(logit_BS: jax.Array | None) -> jax.Array | None:
        if logit_BS is None or auxiliary is None or auxiliary.slot_BS is None:
            return logit_BS
        slot_BS = jnp.where(auxiliary.mask_BS, auxiliary.slot_BS, 0)
        row_B1 = jnp.arange(len(slot_BS))[:, None]
        return jnp.full(batch.mask_BT.shape, jnp.nan).at[row_B1, slot_BS].set(logit_BS)[:, 1:]

    return Intermediates(
        found.logit_BK,
        spread(found.weight_BKT),
        spread(found.gate_BKTH),
        spread(found.state_BKTH, carried=True),
        of_slots(found.next_logit_BS),
        of_slots(found.negative_logit_BS),
    )


@lru_cache(maxsize=16)
def _jitted(model: nn.Module, auxiliary: bool) -> Any:
    return jax.jit(lambda variables, batch: intermediates(model, variables, batch, auxiliary))


@dataclass(frozen=True)
class Explanation:
    """`Intermediates` of N rows as NumPy arrays, 0 where `mask_NT` or `mask_NK` says that a slot is padding.

    A history's behaviours stand from slot 0 on, oldest first, the most recent `data.max_len` of them.
    """

    mask_NT: np.ndarray
    mask_NK: np.ndarray
    arrays: Intermediates

    def left_NKT(self, module: str = "evolution") -> np.ndarray:
        """How much of each behaviour is left in a recurrence's last state, as the mean over its units.

        û_t·Π_{s > t}(1 − û_s): what step t wrote and no later step has overwritten.
        """
        gate_NKTH = self.arrays.gate_BKTH[module]
        kept_NKTH = np.cumprod(np.flip(1 - gate_NKTH, 2), axis=2)
        after_NKTH = np.flip(np.concatenate([np.ones_like(kept_NKTH[:, :, :1]), kept_NKTH[:, :, :-1]], axis=2), 2)
        return (gate_NKTH * after_NKTH).mean(axis=-1)


def explain(run: Run | str | Path, rows: pd.DataFrame | Batch, variables: Any = None) -> Explanation:
    """What a run's model sees in some rows: attention, gates, states, and how expected each behaviour was.

    Args:
      rows: a table of raw values as `dienjax.predict` takes it, or a batch of ids. All rows are computed at once.
      variables: `run.variables()`, for who has read them already.

    Raises:
      ValueError: as `dienjax.predict`.
    """
    run = run if isinstance(run, Run) else Run.open(run)
    batch = rows if isinstance(rows, Batch) else _batch(run, rows)
    found = jax.device_get(_jitted(run.model, run.config.auxiliary)(variables or run.variables(), batch))
    mask_NT, mask_NK = np.asarray(batch.mask_BT), np.asarray(batch.mask_BK)

    def masked(array: Any, mask: np.ndarray) -> Any:
        return None if array is None else np.where(mask, array, 0)

    K_mask = mask_NK[:, :, None] & mask_NT[:, None]

    def of_next(logit_NS: Any) -> Any:
        fields = 1 if logit_NS is None else logit_NS.shape[1] // max(mask_NT.shape[1] - 1, 1)
        return masked(logit_NS, np.tile(mask_NT[:, 1:], (1, fields)))

    def by_step(array_NKTH: np.ndarray) -> np.ndarray:
        return masked(array_NKTH, (mask_NT[:, None] if array_NKTH.shape[1] == 1 else K_mask)[..., None])

    return Explanation(
        mask_NT,
        mask_NK,
        Intermediates(
            masked(found.logit_BK, mask_NK),
            {name: masked(weight, K_mask) for name, weight in found.weight_BKT.items()},
            {name: by_step(gate) for name, gate in found.gate_BKTH.items()},
            {name: by_step(state) for name, state in found.state_BKTH.items()},
            of_next(found.next_logit_BS),
            of_next(found.negative_logit_BS),
        ),
    )


@lru_cache(maxsize=16)
def _jitted_next(model: nn.Module) -> Any:
    def logits(variables: Any, state_NH: dict[str, Array], id_V: dict[str, Array]) -> Any:
        behaviour_VE = events(model.schema, variables["params"]["embedder"], id_V)
        return model.apply(variables, state_NH, behaviour_VE, method="next_logit")

    return jax.jit(logits)


def next_logits(
    run: Run | str | Path, state_NH: dict[str, np.ndarray], id_V: dict[str, np.ndarray], variables: Any = None
) -> np.ndarray:
    """The auxiliary logit [N, V] that a behaviour comes next after an interest state, for each of V behaviours.

    Args:
      state_NH: states of the interest extractor, or of each field's, by the name of the module as in `Intermediates`.
      id_V: the ids [V] of the behaviours, of sets [V, M], and the numbers [V] of these events, by name.
      variables: as for `explain`.

    Raises:
      ValueError: the model has no auxiliary loss, or was trained without it.
    """
    run = run if isinstance(run, Run) else Run.open(run)
    if not run.config.auxiliary or not hasattr(run.model, "next_logit"):
        raise ValueError(
            f"next_logits: the model of {run.path} has not learned which behaviour comes next; expected a DIEN that "
            "was trained with loss.alpha > 0"
        )
    return jax.device_get(_jitted_next(run.model)(variables or run.variables(), state_NH, id_V))


def _batch(run: Run, frame: pd.DataFrame) -> Batch:
    if not isinstance(frame, pd.DataFrame):
        raise TypeError(f"explain: the rows are a {type(frame).__name__}; expected a pandas DataFrame or a Batch")
    arrays, _ = table_arrays(run, frame)
    dataset = PaddedArrays(run.schema, arrays)
    return dataset.rows(np.arange(len(frame)), max(1, int(dataset.length_N.max())), 0)
