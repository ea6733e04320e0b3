"""The steps of a run where its arrays live, and what they take in place of a batch."""

from functools import lru_cache
from typing import Any

import jax
import optax
from flax import linen as nn

from dienjax.batch import Batch
from dienjax.training.config import Config
from dienjax.training.divided import divide, make_divided_eval_step, make_divided_train_step
from dienjax.training.host_tables import make_host_eval_step, make_host_train_step
from dienjax.training.layout import Layout
from dienjax.training.lazy_rows import make_lazy_train_step, renumber
from dienjax.training.step import make_eval_step, make_train_step


def placed(batch: Batch, layout: Layout, lazy: bool) -> Any:
    """What a step takes for a batch of NumPy arrays, on the devices; any thread may call it."""
    if layout.divided:
        return layout.put(divide(batch, layout))
    if layout.hosted:
        return renumber(batch, layout.schema)
    return jax.device_put(renumber(batch, layout.schema) if lazy else batch)


def train_step(config: Config, model: nn.Module, tx: optax.GradientTransformation, layout: Layout) -> Any:
    """The step that a config asks for: `step(state, placed batch, root_key) -> (state, metrics)`."""
    lazy, settings = config.optimizer.rows == "lazy", (model, tx, config.loss, config.data.unknown)
    if layout.divided:
        return make_divided_train_step(*settings, layout, lazy)
    if layout.hosted:
        return make_host_train_step(*settings, layout)
    return (make_lazy_train_step if lazy else make_train_step)(*settings, threads=layout.threads)


def eval_step(model: nn.Module, layout: Layout | None = None) -> Any:
    """The `step(variables, batch) -> logit_BK`, the same for equal models: it compiles once for batches of one shape.

    It takes placed batches if the layout is `elsewhere`.
    """
    if layout is None or not layout.elsewhere:
        return _eval_step(model)
    return (_divided_eval_step if layout.divided else _host_eval_step)(model, layout)


_eval_step = lru_cache(maxsize=16)(make_eval_step)
_divided_eval_step = lru_cache(maxsize=16)(make_divided_eval_step)
_host_eval_step = lru_cache(maxsize=16)(make_host_eval_step)
