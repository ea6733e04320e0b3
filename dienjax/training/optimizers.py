"""Optimizers and learning-rate schedules by name, from optax."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import optax
from pydantic import Field

from dienjax.models.settings import Count, Factor, Share, check


@dataclass(frozen=True)
class OptimizerConfig:
    """The optimizer and its learning rate.

    Attributes:
      name: "adam" (both papers' code), "adamw", "sgd", "adagrad" or "rowwise_adagrad" (one accumulator for each row
        of an embedding table, see `scale_by_rowwise_rss`).
      learning_rate: the peak learning rate.
      schedule: "constant"; "cosine" to 0 at the last step; "exponential", × decay per epoch; or "staircase", × decay
        after each epoch (the DIEN authors' code: 0.5).
      decay: factor per epoch of the exponential and staircase schedules, at most 1.
      warmup_steps: linear warm-up from 0; the schedule, and its decay per epoch, starts after it.
      weight_decay: decoupled for adamw; for the others added to the gradient, as torch does.
      momentum: momentum of sgd; 0 for none.
      clip_norm: largest global norm of the gradient; 0 for no clipping.
      rows: "lazy" updates only those rows of the tables that the batch reads, at a cost that does not grow with the
        vocabulary; "dense" all of them at each step, as the papers' Adam does. They are equal for sgd and adagrad; see
        `dienjax.training.lazy_rows` for adam, momentum and decay.
    """

    name: Literal["adam", "adamw", "sgd", "adagrad", "rowwise_adagrad"] = "adam"
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    schedule: Literal["constant", "cosine", "exponential", "staircase"] = "constant"
    decay: Annotated[float, Field(gt=0, le=1)] = 0.5
    warmup_steps: Count = 0
    weight_decay: Factor = 0.0
    momentum: Share = 0.0
    clip_norm: Factor = 0.0
    rows: Literal["lazy", "dense"] = "lazy"

    def __post_init__(self) -> None:
        check("optimizer", self)


def learning_rate(config: OptimizerConfig, steps_per_epoch: int, epochs: int) -> optax.Schedule:
    """The learning rate by step."""
    peak, steps_per_epoch = config.learning_rate, max(steps_per_epoch, 1)
    if config.schedule == "cosine":
        schedule = optax.cosine_decay_schedule(peak, max(steps_per_epoch * epochs - config.warmup_steps, 1))
    elif config.schedule == "constant":
        schedule = optax.constant_schedule(peak)
    else:
        staircase = config.schedule == "staircase"
        schedule = optax.exponential_decay(peak, steps_per_epoch, config.decay, staircase=staircase)
    if not config.warmup_steps:
        return schedule
    warmup = optax.linear_schedule(0.0, peak, config.warmup_steps)
    return optax.join_schedules([warmup, schedule], [config.warmup_steps])


def make_optimizer(config: OptimizerConfig, steps_per_epoch: int, epochs: int) -> optax.GradientTransformation:
    """The optax transformation that the config names."""
    rate = learning_rate(config, steps_per_epoch, epochs)
    parts = [optax.clip_by_global_norm(config.clip_norm)] if config.clip_norm else []
    if config.name == "adamw":
        return optax.chain(*parts, optax.adamw(rate, weight_decay=config.weight_decay))
    if config.weight_decay:
        parts.append(optax.add_decayed_weights(config.weight_decay))
    if config.name == "sgd":
        return optax.chain(*parts, optax.sgd(rate, momentum=config.momentum or None))
    if config.name == "rowwise_adagrad":
        return optax.chain(*parts, scale_by_rowwise_rss(), optax.scale_by_learning_rate(rate))
    return optax.chain(*parts, {"adam": optax.adam, "adagrad": optax.adagrad}[config.name](rate))


def scale_by_rowwise_rss(initial: float = 0.1, epsilon: float = 1e-7) -> optax.GradientTransformation:
    """Adagrad's scaling with one accumulator for each row of an embedding table.

    It sums the row's mean square gradients, as in DLRM and FBGEMM (which start at 0). A table [V, D] has a state [V];
    anything else is scaled elementwise, as by `optax.adagrad`, which has the same start and epsilon.
    """

    def init(params: Any) -> optax.ScaleByRssState:
        def start(path: Any, x: jax.Array) -> jax.Array:
            return jnp.full(x.shape[:1] if path[0].key == "embedder" else x.shape, initial, x.dtype)

        return optax.ScaleByRssState(jax.tree.map_with_path(start, params))

    def update(grads: Any, state: optax.ScaleByRssState, params: Any = None) -> tuple[Any, optax.ScaleByRssState]:
        def accumulate(g: jax.Array, s: jax.Array) -> jax.Array:
            return s + jnp.mean(jnp.square(g), axis=range(s.ndim, g.ndim))

        def scale(g: jax.Array, s: jax.Array) -> jax.Array:
            return g * jnp.expand_dims(jax.lax.rsqrt(s + epsilon), range(s.ndim, g.ndim))

        sum_of_squares = jax.tree.map(accumulate, grads, state.sum_of_squares)
        return jax.tree.map(scale, grads, sum_of_squares), optax.ScaleByRssState(sum_of_squares)

    return optax.GradientTransformation(init, update)
