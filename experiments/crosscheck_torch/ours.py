"""Our side: the same weights in our modules, and what these compute, by the library's state_dict keys."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from dienjax.batch import Batch
from dienjax.interop import from_state_dict, to_state_dict
from dienjax.training.losses import LossConfig, total_loss
from experiments.crosscheck_torch.compare import Arrays, Run
from experiments.crosscheck_torch.variants import Variant

LEARNING_RATE = 1e-3
FAST_COMPILE = {
    "xla_backend_optimization_level": 0,
    "xla_llvm_disable_expensive_passes": True,
} | ({"xla_cpu_use_fusion_emitters": False} if jax.__version_info__ < (0, 11) else {})  # XLA dropped it
"""Nearly all of the time goes to compiling, and these programs run a few milliseconds."""


def build(variant: Variant, weights: Arrays) -> tuple[nn.Module, Any]:
    """Our module, and its variables."""
    features = variant.features
    return from_state_dict(variant.source, variant.name, features.schema, weights, features.columns, **variant.ours)


def state_of(variant: Variant, model: nn.Module, variables: Any) -> Arrays:
    """The library's state_dict; also of gradients, since ours are theirs with numbers moved and negated.

    It comes in float32: what that rounds away from float64 is converted the same way, and added.
    """

    def in_32(part: Any) -> Arrays:
        return to_state_dict(variant.source, model, part, variant.features.columns)

    variables = jax.tree.map(np.asarray, variables)
    high = jax.tree.map(lambda a: a.astype(np.float32), variables)
    if all(a.dtype == np.float32 for a in jax.tree.leaves(variables)):
        return in_32(high)
    low = in_32(jax.tree.map(np.subtract, variables, high))
    return {key: a + low[key].astype(np.float64) for key, a in in_32(high).items()}


def round_trip_is_exact(variant: Variant, weights: Arrays) -> bool:
    """Whether weights come back from our module bit for bit, and then make the same variables."""
    model, variables = build(variant, weights)
    back = state_of(variant, model, variables)
    same = back.keys() == weights.keys() and all(_same_bits(back[key], weights[key]) for key in weights)
    return same and all(map(_same_bits, *map(jax.tree.leaves, (variables, build(variant, back)[1]))))


@functools.partial(jax.jit, static_argnums=0, compiler_options=FAST_COMPILE)
def probability(model: nn.Module, variables: Any, batch: Batch) -> jax.Array:
    """probability_B with running statistics."""
    output: Any = model.apply(variables, batch)
    return jax.nn.sigmoid(output.logit_BK[:, 0])


@functools.partial(jax.jit, static_argnums=(0, 1), compiler_options=FAST_COMPILE)
def train_step(model: nn.Module, alpha: float, variables: Any, moments: Any, batch: Batch) -> tuple[Any, ...]:
    """(new variables, new moments, gradients, probability_B, alpha × auxiliary loss) of one Adam step."""

    def objective(params: Any) -> tuple[jax.Array, Any]:
        output, updated = model.apply(variables | {"params": params}, batch, train=True, mutable=["batch_stats"])
        loss, parts = total_loss(output, batch, params, LossConfig(alpha=alpha))
        auxiliary = alpha * parts.get("auxiliary_loss", 0.0)
        return loss, (updated.get("batch_stats", {}), jax.nn.sigmoid(output.logit_BK[:, 0]), auxiliary)

    (_, (batch_stats, *outputs)), gradients = jax.value_and_grad(objective, has_aux=True)(variables["params"])
    updates, moments = optax.adam(LEARNING_RATE).update(gradients, moments)
    new = {"params": optax.apply_updates(variables["params"], updates), "batch_stats": batch_stats}
    return new, moments, gradients, *outputs


def run(variant: Variant, weights: Arrays, dtype: str, steps: int) -> Run:
    """What our module computes from these weights."""
    with jax.enable_x64(dtype == "float64"):
        model, variables = build(variant, weights)
        variables = jax.tree.map(lambda a: jnp.asarray(a, dtype), variables)
        evaluated_B = np.asarray(probability(model, variables, variant.batch(0)))
        moments = optax.adam(LEARNING_RATE).init(variables["params"])
        for step in range(steps):
            variables, moments, gradients, probability_B, auxiliary = train_step(
                model, variant.our_alpha, variables, moments, variant.batch(step)
            )
            if step == 0:
                first = np.asarray(probability_B), float(auxiliary) / (variant.alpha or 1.0)
                of_first = state_of(variant, model, variables | {"params": gradients})
        return Run(evaluated_B, *first, of_first, state_of(variant, model, variables))


def _same_bits(a: Any, b: Any) -> bool:
    a, b = np.asarray(a), np.asarray(b)
    return a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()
