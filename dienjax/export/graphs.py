"""What is exported: the pure serving functions of a model, with their inputs and outputs by name.

ranker            history and candidates → probability
user_encoder      history → interest states
candidate_scorer  interest states and candidates → probability

A service that scores often for one user encodes the history once. `hist_<field>` [B, T] are the fields of past events,
`<field>` [B, K] those of the candidates; sparse and dense features go by their own names, [B] or [B, K]. A set of up to
M ids has one more axis, whose size is M in a graph, with 0 where it has fewer; a number with a scale may be NaN,
missing. A history slot is real where the first behaviour's id is not 0; an id outside its table counts as unknown.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dienjax.batch import Array, Batch
from dienjax.inputs.channels import numbers
from dienjax.models.embedding import Embedded, events, features
from dienjax.schema import PADDING, UNKNOWN, Schema
from dienjax.training.metrics import Task

Ids = Literal["int64", "int32"]
"""The dtype of the ids that ONNX graphs take."""

OUTPUT: dict[Task, str] = {"binary": "probability", "regression": "prediction"}
"""The name of the scores, by task."""

STATES, MASK, USER = "interest_states", "history_mask", "user_vector"
"""What the user encoder passes to the candidate scorer: [B, T, H], bool [B, T], [B, U] (if users have features).

With channels the mask is [B, T, C], True where an event is of the channel.
"""


@dataclass(frozen=True)
class Graph:
    """A pure function `call(variables, arrays by name) -> arrays by name`, and the shape and dtype of its inputs."""

    name: str
    inputs: dict[str, jax.ShapeDtypeStruct]
    outputs: tuple[str, ...]
    call: Callable[[Any, Mapping[str, Array]], dict[str, jax.Array]]


def graphs(model: nn.Module, variables: Any, task: Task, B: Any, T: Any, K: Any) -> tuple[Graph, Graph, Graph]:
    """The ranker, the user encoder and the candidate scorer of a model; B, T and K may be symbolic dimensions.

    Args:
      model: DIN or DIEN.
      variables: what `model.apply` takes; only their shapes matter here.
      task: "binary" or "regression".

    Raises:
      ValueError: two inputs or outputs would have the same name.
    """
    schema: Schema = model.schema
    batch = Batch.abstract(schema, B, T, K)
    histories = {f.name: f"hist_{f.name}" for f in schema.event_fields}
    history = {histories[name]: spec for name, spec in batch.history.items()}
    output = OUTPUT[task]
    _check_names([*history, *batch.user, *batch.candidate, STATES, MASK, USER, *OUTPUT.values()])

    def encode(variables: Any, arrays: Mapping[str, Array]) -> dict[str, jax.Array]:
        tables = variables["params"]["embedder"]
        history = {name: at_least_one_slot(arrays[there]) for name, there in histories.items()}
        mask_BT = history[schema.item] != PADDING
        mask = mask_BT[:, :, None] & _of_channels(schema, history[schema.type]) if schema.channels else mask_BT
        user_BU = features(schema, tables, "user", arrays, mask_BT.shape[:1])
        no_BKE = jnp.zeros((mask_BT.shape[0], 0, 0))
        no_BK = jnp.zeros(no_BKE.shape[:2], bool)
        e = Embedded(events(schema, tables, history), no_BKE, user_BU, no_BKE, **_masks(mask), mask_BK=no_BK)
        state_BTH: Any = model.apply(variables, e, method="encode")
        return {STATES: state_BTH, MASK: mask} | ({USER: user_BU} if user_BU.shape[1] else {})

    def score(variables: Any, arrays: Mapping[str, Array]) -> dict[str, jax.Array]:
        tables = variables["params"]["embedder"]
        state_BTH, mask = at_least_one_slot(arrays[STATES]), at_least_one_slot(arrays[MASK])
        B, K = arrays[schema.item].shape
        user_BU = arrays.get(USER, jnp.zeros((B, 0)))
        context_BKC = features(schema, tables, "candidate", arrays, (B, K))
        candidate_BKE = events(schema, tables, arrays)
        shown_BK = jnp.ones((B, K), bool)
        e = Embedded(state_BTH, candidate_BKE, user_BU, context_BKC, **_masks(mask), mask_BK=shown_BK)
        logit_BK: Any = model.apply(variables, state_BTH, e, method="score")
        return {output: logit_BK if task == "regression" else nn.sigmoid(logit_BK)}

    def rank(variables: Any, arrays: Mapping[str, Array]) -> dict[str, jax.Array]:
        return score(variables, encode(variables, arrays) | {name: arrays[name] for name in batch.candidate})

    of_user = history | batch.user
    shapes = jax.eval_shape(encode, variables, of_user)
    encoded = {name: shapes[name] for name in (STATES, MASK, USER) if name in shapes}
    return (
        Graph("ranker", of_user | batch.candidate, (output,), rank),
        Graph("user_encoder", of_user, tuple(encoded), encode),
        Graph("candidate_scorer", encoded | batch.candidate, (output,), score),
    )


def _of_channels(schema: Schema, type_BT: Array) -> jax.Array:
    """Whether each event is of each channel, bool [B, T, C]; an id outside its table counts as unknown."""
    number_V = jnp.asarray(numbers(schema), jnp.int32)
    in_range = (type_BT >= 0) & (type_BT < len(number_V))
    number_BT = jnp.take(number_V, jnp.where(in_range, type_BT, UNKNOWN), mode="clip")
    return number_BT[:, :, None] == jnp.arange(len(schema.channels))[None, None]


def _masks(mask: Array) -> dict[str, jax.Array]:
    """The masks of `Embedded`, from [B, T], or with channels [B, T, C]."""
    if mask.ndim == 2:
        return {"mask_BT": mask}
    number_C = jnp.arange(mask.shape[2])[None, None]
    return {"mask_BT": mask.any(axis=2), "channel_BT": jnp.sum(jnp.where(mask, number_C, 0), axis=2)}


def in_float32(model: nn.Module) -> nn.Module:
    """The model that is exported: one with `dtype="bfloat16"`, which jax2onnx cannot convert, multiplies in float32."""
    return model.clone(dtype="float32") if getattr(model, "dtype", "") == "bfloat16" else model


def at_least_one_slot(x: Array) -> Array:
    """x [B, T, ...], with an empty slot if T is 0, which softmax and scan do not accept."""
    return x if x.shape[1] else jnp.zeros((x.shape[0], 1, *x.shape[2:]), x.dtype)


def narrowed(ids: Array) -> Array:
    """The ids as int32; an id beyond int32 stays outside every table."""
    return ids.clip(-1, np.iinfo(np.int32).max).astype(np.int32)


def _check_names(names: list[str]) -> None:
    for name, count in Counter(names).items():
        if count > 1:
            raise ValueError(
                f"export: the name {name!r} is used for {count} inputs or outputs; expected unique names: rename "
                f"the field (hist_<field>, {', '.join((STATES, MASK, USER, *OUTPUT.values()))} are taken)"
            )
