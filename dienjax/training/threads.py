"""A step on several threads: each computes what its rows of the batch add to the gradient, then one takes the step.

XLA's CPU computes what one thread asks for on about one core; what several threads ask for it computes at once.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import numpy as np
from flax import linen as nn

from dienjax.training.microbatches import in_parts

LEAST = 2048
"""The fewest pairs of a candidate and a history slot that are worth a thread."""


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def parts(B: int, T: int, K: int, threads: int) -> int:
    """Into how many parts B histories of T slots with K candidates are best divided for that many threads."""
    return max(n for n in range(1, threads + 1) if n == 1 or (B % n == 0 and B // n * T * K >= LEAST))


def make_threaded_step(
    model: nn.Module,
    gradient: Callable[..., tuple[Any, Any, Any]],
    update: Callable[..., tuple[Any, Any]],
    threads: int,
) -> Callable[[Any, Any, jax.Array], tuple[Any, Any]]:
    """The `step(state, batch, root_key) -> (state, metrics)` of a gradient and an update; it donates the old state.

    It is one jitted function for one thread, for small batches, and for a model that sees its batch whole (`in_parts`);
    else two, of which threads call the first at once, up to rounding with the same result.

    Args:
      model: decides with its state whether a batch may be seen in parts.
      gradient: `gradient(state, batch, root_key, part=None) -> (gradients, batch_stats, metrics)`, for `part` = (i, n)
        what the i-th n-th of the rows adds to them; it reads no state of the optimizer.
      update: `update(state, batch, gradients, batch_stats, metrics) -> (state, metrics)`.
      threads: the most that share a batch.
    """

    @partial(jax.jit, donate_argnums=0)
    def whole(state: Any, batch: Any, root_key: jax.Array) -> tuple[Any, Any]:
        return update(state, batch, *gradient(state, batch, root_key))

    if threads == 1:
        return whole

    @partial(jax.jit, static_argnums=4)
    def part(state: Any, batch: Any, root_key: jax.Array, i: Any, n: int) -> Any:
        grads, _, metrics = gradient(state, batch, root_key, (i, n))
        return grads, metrics

    @partial(jax.jit, donate_argnums=0)
    def joined(state: Any, batch: Any, each: list[Any]) -> tuple[Any, Any]:
        grads, metrics = jax.tree.map(lambda *terms: sum(terms[1:], terms[0]), *each)
        return update(state, batch, grads, state.batch_stats, metrics)

    others = [ThreadPoolExecutor(1, "dienjax-step") for _ in range(threads - 1)]
    compiled: dict[Any, Any] = {}

    def step(state: Any, batch: Any, root_key: jax.Array) -> tuple[Any, Any]:
        masks = getattr(batch, "batch", batch)
        (B, T), K = masks.mask_BT.shape, masks.mask_BK.shape[1]
        n = parts(B, T, K, threads)
        if n == 1 or not in_parts(model, state.batch_stats):
            return whole(state, batch, root_key)
        read, batch = jax.tree.map(_on_device, (replace(state, opt_state=()), batch))
        shapes = tuple(leaf.shape for leaf in jax.tree.leaves(batch))
        if shapes not in compiled:  # once, and with the settings of this thread: some of JAX's are a thread's own
            compiled[shapes] = part.lower(read, batch, root_key, np.int32(0), n).compile()
        compute = partial(compiled[shapes], read, batch, root_key)
        started = [thread.submit(compute, np.int32(i)) for i, thread in enumerate(others[: n - 1], 1)]
        return joined(state, batch, [compute(np.int32(0)), *(each.result() for each in started)])

    return step


def _on_device(leaf: Any) -> Any:
    """An array of NumPy's as JAX's, once for all threads."""
    return jax.device_put(leaf) if isinstance(leaf, np.ndarray) else leaf
