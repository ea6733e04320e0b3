"""Optimizers and learning-rate schedules by name, from optax."""

from dataclasses import dataclass
from typing import Literal

import optax


@dataclass(frozen=True)
class OptimizerConfig:
    """The optimizer and its learning rate.

    Attributes:
      name: "adam" (both papers' code), "adamw", "sgd" or "adagrad".
      learning_rate: the peak learning rate.
      schedule: "constant"; "cosine" to 0 at the last step; "exponential", × decay per epoch; or "staircase", × decay
        after each epoch (the DIEN authors' code: 0.5).
      decay: factor per epoch of the exponential and staircase schedules.
      warmup_steps: linear warm-up from 0; the schedule, and its decay per epoch, starts after it.
      weight_decay: decoupled for adamw; for the others added to the gradient, as torch does.
      momentum: of sgd; 0 is none.
      clip_norm: largest global norm of the gradient; 0 does not clip.
    """

    name: Literal["adam", "adamw", "sgd", "adagrad"] = "adam"
    learning_rate: float = 1e-3
    schedule: Literal["constant", "cosine", "exponential", "staircase"] = "constant"
    decay: float = 0.5
    warmup_steps: int = 0
    weight_decay: float = 0.0
    momentum: float = 0.0
    clip_norm: float = 0.0


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
    return optax.chain(*parts, {"adam": optax.adam, "adagrad": optax.adagrad}[config.name](rate))
