"""The training state, and the pure steps that turn (state, batch) into the next state or into logits."""

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from flax import struct

from dienjax.batch import Array, Batch
from dienjax.models.embedding import Embedded, embed
from dienjax.models.output import Output
from dienjax.training.layout import Layout
from dienjax.training.losses import LossConfig, counts, data_loss, penalty
from dienjax.training.metrics import auc_histogram
from dienjax.training.microbatches import accumulated, in_parts, microbatches
from dienjax.training.threads import make_threaded_step
from dienjax.training.unknown import hide

Metrics = dict[str, jax.Array]
TrainStep = Callable[["TrainState", Batch, jax.Array], tuple["TrainState", Metrics]]


@struct.dataclass
class TrainState:
    """Everything that training changes: arrays only."""

    step: jax.Array
    params: Any
    batch_stats: Any
    opt_state: Any

    @property
    def variables(self) -> dict[str, Any]:
        """What `model.apply` takes."""
        return {"params": self.params, "batch_stats": self.batch_stats}


def init_state(
    model: nn.Module, tx: optax.GradientTransformation, batch: Batch, key: jax.Array, layout: Layout | None = None
) -> TrainState:
    """The state before the first step. `batch` may be abstract (`Batch.abstract`): only its shapes count.

    It lives where `layout` says (the default device, if there is none), and is drawn there: a table that is spread over
    devices is whole on none of them, at no time.
    """
    zeros = jax.tree.map(lambda a: jnp.zeros((1, *a.shape[1:]), a.dtype), batch)
    if layout is None or not layout.divided:
        variables = jax.jit(model.init)(key, zeros)
        params = variables["params"]
        return TrainState(jnp.zeros((), jnp.int32), params, variables.get("batch_stats", {}), jax.jit(tx.init)(params))

    def embed_alone(model: Any, batch: Batch) -> Any:
        return model.embedder(batch, layout.initial_rows)

    def init(key: jax.Array) -> TrainState:
        variables = model.init(key, zeros)
        tables = model.init(key, zeros, method=embed_alone)["params"]["embedder"]
        params = {**variables["params"], "embedder": tables}  # the others are drawn nowhere: nothing reads them
        return TrainState(jnp.zeros((), jnp.int32), params, variables.get("batch_stats", {}), tx.init(params))

    return jax.jit(init, out_shardings=layout.shardings(jax.eval_shape(init, key)))(key)


NO_VECTORS = "mask_BT", "mask_BK", "channel_BT"
"""What is the same in a batch before and after the tables."""

Gradient = Callable[..., tuple[Any, Any, Metrics]]


def make_gradient(model: nn.Module, loss: LossConfig, unknown: float = 0.0, platform: str | None = None) -> Gradient:
    """The pure `gradient(state, batch, root_key, row_R=None, part=None) -> (gradients, batch_stats, metrics)`.

    The penalty is not in it. The tables in the state may have fewer rows than the schema says, if the ids of the batch
    are theirs; `row_R` then says by table name which ids these rows are. `unknown` is the share of values that a
    step hides. Where devices share a batch, gradients and metrics are what each of them adds to those of the whole; so
    they are with `part` = (i, n), of the i-th n-th of the rows (see `in_parts`). On the platform "cpu" (None: the
    default device's) a large batch that may be seen in parts is seen in microbatches.
    """
    platform = platform or jax.default_backend()

    def gradient(
        state: TrainState,
        batch: Batch,
        root_key: jax.Array,
        row_R: Mapping[str, Array] | None = None,
        part: tuple[Any, int] | None = None,
    ) -> tuple[Any, Any, Metrics]:
        key = jax.random.fold_in(root_key, state.step)
        tables, params = state.params["embedder"], {n: x for n, x in state.params.items() if n != "embedder"}

        def output(params: Any, vectors: Any, batch: Batch) -> tuple[Output, Any]:
            variables, rngs = {"params": params, "batch_stats": state.batch_stats}, {"dropout": key}
            embedded = Embedded(**vectors, **{name: getattr(batch, name) for name in NO_VECTORS})
            return model.apply(variables, embedded, train=True, method="net", rngs=rngs, mutable=["batch_stats"])

        def embedded(tables: Any, batch: Batch) -> dict[str, jax.Array | None]:
            return _vectors(embed(model.schema, tables, batch))

        (B, T), K = batch.mask_BT.shape, batch.mask_BK.shape[1]
        i, n = part or (0, 1)
        first, B = i * (B // n), B // n
        count = microbatches(B, T, K) if platform == "cpu" and in_parts(model, state.batch_stats) else 1
        of = None
        if part or count > 1:  # of this output the masks alone are read, and nothing else of it is computed
            of = counts(output(params, embedded(tables, batch), batch)[0], batch)
        if part:
            batch = jax.tree.map(lambda x: jax.lax.dynamic_slice_in_dim(x, first, B), batch)
        batch = hide(batch, model.schema, unknown, jax.random.fold_in(key, 1), row_R)
        vectors, to_tables = jax.vjp(lambda tables: embedded(tables, batch), tables)

        def objective(params: Any, vectors: Any, batch: Batch) -> tuple[jax.Array, Any]:
            out, updated = output(params, vectors, batch)
            value, parts = data_loss(out, batch, loss, of)
            return value, ({"loss": value, **parts}, updated.get("batch_stats", {}), out.logit_BK)

        def differentiated(vectors: Any, batch: Batch) -> tuple[Any, Any]:
            differentiate = jax.value_and_grad(objective, argnums=(0, 1), has_aux=True)
            (_, (metrics, batch_stats, logit_BK)), (grads, grad_vectors) = differentiate(params, vectors, batch)
            return (grads, metrics, batch_stats), (grad_vectors, logit_BK)

        summed, (grad_vectors, logit_BK) = accumulated(differentiated, count, vectors, batch, first)
        grads, metrics, batch_stats = summed
        grads = {**grads, "embedder": to_tables(grad_vectors)[0]}
        if loss.task == "binary":
            metrics["auc_histogram"] = auc_histogram(logit_BK, batch.label_BK, batch.mask_BK)
        return grads, batch_stats, metrics

    return gradient


def _vectors(embedded: Embedded) -> dict[str, jax.Array | None]:
    """What a gradient goes into."""
    return {f.name: getattr(embedded, f.name) for f in fields(Embedded) if f.name not in NO_VECTORS}


def make_descend(tx: optax.GradientTransformation, loss: LossConfig) -> Callable[..., tuple[TrainState, Metrics]]:
    """The pure `descend(state, gradients, batch_stats, metrics) -> (state, metrics)`.

    It adds the penalty to the loss and to the gradients, and takes the optimizer's step.
    """

    def descend(state: TrainState, grads: Any, batch_stats: Any, metrics: Metrics) -> tuple[TrainState, Metrics]:
        if loss.l2_embedding or loss.l2_tower:
            value, more = jax.value_and_grad(lambda params: penalty(params, loss))(state.params)
            grads, metrics = jax.tree.map(jnp.add, grads, more), {**metrics, "loss": metrics["loss"] + value}
        updates, opt_state = tx.update(grads, state.opt_state, state.params)
        return TrainState(state.step + 1, optax.apply_updates(state.params, updates), batch_stats, opt_state), metrics

    return descend


def make_train_step(
    model: nn.Module,
    tx: optax.GradientTransformation,
    loss: LossConfig,
    unknown: float = 0.0,
    platform: str | None = None,
    threads: int = 1,
) -> TrainStep:
    """A `step(state, batch, root_key) -> (state, metrics)` that donates the old state: jitted and pure or, with several
    `threads` of a CPU, two such programs for a large batch.

    `unknown` is the share of the values of each table that a step takes for unknown (`dienjax.training.unknown`). Its
    randomness (dropout, unknown) is fold_in(root_key, state.step), so a resumed run repeats it. The metrics are device
    arrays: the losses as means over the batch, and an AUC histogram to be added up.
    """
    gradient, descend = make_gradient(model, loss, unknown, platform), make_descend(tx, loss)

    def of_batch(
        state: TrainState, batch: Batch, root_key: jax.Array, part: tuple[Any, int] | None = None
    ) -> tuple[Any, Any, Metrics]:
        return gradient(state, batch, root_key, None, part)

    def update(state: TrainState, _: Batch, *found: Any) -> tuple[TrainState, Metrics]:
        return descend(state, *found)

    return make_threaded_step(model, of_batch, update, threads)


def make_eval_step(model: nn.Module) -> Callable[[dict[str, Any], Batch], jax.Array]:
    """A jitted, pure `step(variables, batch) -> logit_BK` with running statistics and without dropout."""

    def step(variables: dict[str, Any], batch: Batch) -> jax.Array:
        output: Any = model.apply(variables, batch)
        return output.logit_BK

    return jax.jit(step)
