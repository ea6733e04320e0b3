"""The losses: pure functions of logits, each a mean with a stated denominator.

Where devices share a batch, each gets its part of a mean, a numerator of its own over the denominator of the whole.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax

from dienjax.batch import Batch
from dienjax.models.output import Auxiliary, Output
from dienjax.models.parts import sum_of_parts
from dienjax.models.settings import Factor, check
from dienjax.training.metrics import Task


@dataclass(frozen=True)
class LossConfig:
    """What is minimised: CTR loss + alpha × auxiliary loss + L2.

    Attributes:
      task: "binary" (logistic loss) or "regression" (squared error of the logit).
      alpha: weight of the auxiliary loss; 0 draws no negative histories. DIEN paper: 1. DIN has no auxiliary loss.
      l2_embedding: weight of the sum of squares of all embedding tables.
      l2_tower: weight of the sum of squares of the tower's kernels.
    """

    task: Task = "binary"
    alpha: Factor = 1.0
    l2_embedding: Factor = 0.0
    l2_tower: Factor = 0.0

    def __post_init__(self) -> None:
        check("loss", self)


def has_auxiliary(model: Any, loss: LossConfig) -> bool:
    """Whether training this model (or model class) with this loss takes negative histories: DIEN, alpha above 0."""
    return hasattr(model, "auxiliary") and loss.alpha > 0


def masked_mean(x: jax.Array, mask: jax.Array, count: jax.Array | None = None) -> jax.Array:
    """The mean of x where mask is True; if it is nowhere True, 0 with a zero gradient.

    `count` is the denominator if x is a part of what is averaged.
    """
    count = sum_of_parts(jnp.sum(mask)) if count is None else count
    return jnp.sum(jnp.where(mask, x, 0)) / jnp.maximum(count, 1)


def ctr_loss(
    logit_BK: jax.Array,
    label_BK: jax.Array,
    mask_BK: jax.Array,
    task: Task = "binary",
    count: jax.Array | None = None,
) -> jax.Array:
    """The mean loss over the real candidates of the batch: logistic, or squared error."""
    if task == "regression":
        return masked_mean(jnp.square(logit_BK - label_BK), mask_BK, count)
    return masked_mean(optax.sigmoid_binary_cross_entropy(logit_BK, label_BK), mask_BK, count)


def auxiliary_loss(
    auxiliary: Auxiliary, hist_label_BS: jax.Array | float = 1.0, count: jax.Array | None = None
) -> jax.Array:
    """The mean logistic loss over the real steps' positives and negatives (DIEN, eq. 6-7), as in deepctr-torch.

    hist_label_BS: 1 where the *next* behaviour was a positive signal; a step labelled 0 is trained towards 0.
    """
    positive = optax.sigmoid_binary_cross_entropy(auxiliary.positive_logit_BS, hist_label_BS)
    negative = optax.sigmoid_binary_cross_entropy(auxiliary.negative_logit_BS, 0.0)
    return masked_mean((positive + negative) / 2, auxiliary.mask_BS, count)


def sum_of_squares(tree: Any, leaf: str = "") -> jax.Array:
    """The sum of squares of all leaves, or of those called `leaf`."""
    leaves = [x for path, x in jax.tree.leaves_with_path(tree) if not leaf or path[-1].key == leaf]
    return sum((jnp.sum(jnp.square(x)) for x in leaves), jnp.zeros(()))


Counts = tuple[jax.Array, jax.Array]
"""How many real candidates a batch has, and how many real steps of the auxiliary loss."""


def counts(output: Output, batch: Batch) -> Counts:
    """The denominators of the losses; where devices share a batch, those of the whole."""
    steps = jnp.zeros(()) if output.auxiliary is None else sum_of_parts(jnp.sum(output.auxiliary.mask_BS))
    return sum_of_parts(jnp.sum(batch.mask_BK)), steps


def data_loss(
    output: Output, batch: Batch, config: LossConfig, of: Counts | None = None
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """CTR loss + alpha × auxiliary loss, and these parts by name; of a microbatch, given the counts `of` its batch."""
    candidates, steps = of or counts(output, batch)
    parts = {"ctr_loss": ctr_loss(output.logit_BK, batch.label_BK, batch.mask_BK, config.task, candidates)}
    loss = parts["ctr_loss"]
    if output.auxiliary is not None:
        hist_label_BS: Any = 1.0
        if batch.hist_label_BT is not None:
            label_BT, slot_BS = batch.hist_label_BT, output.auxiliary.slot_BS
            hist_label_BS = label_BT[:, 1:] if slot_BS is None else jnp.take_along_axis(label_BT, slot_BS, axis=1)
        parts["auxiliary_loss"] = auxiliary_loss(output.auxiliary, hist_label_BS, steps)
        loss += config.alpha * parts["auxiliary_loss"]
    return loss, parts


def penalty(params: Any, config: LossConfig) -> jax.Array:
    """The weighted sums of squares of the tables and of the tower's kernels; 0 where neither has a weight."""
    value = jnp.zeros(())
    if config.l2_embedding:
        value += config.l2_embedding * sum_of_squares(params["embedder"])
    if config.l2_tower:
        value += config.l2_tower * sum_of_squares(params["tower"], "kernel")
    return value


def total_loss(output: Output, batch: Batch, params: Any, config: LossConfig) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The loss to minimise, data loss + penalty, and its parts by name."""
    value, parts = data_loss(output, batch, config)
    loss = value + penalty(params, config)
    return loss, {"loss": loss, **parts}
