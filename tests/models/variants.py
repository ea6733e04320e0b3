"""The model variants that every invariance is tested on, and their gradients, compiled once."""

import functools
from typing import Any

import jax
import numpy as np

import builders
from dienjax.batch import Batch
from dienjax.models import DIEN, DIN
from dienjax.training.losses import LossConfig, total_loss

DIN_SIZES = {"attention_hidden": (4,), "tower": (5,)}
DIEN_SIZES = DIN_SIZES | {"auxiliary_hidden": (4,)}
VARIANTS = {
    "DIN": DIN(builders.SCHEMA, **DIN_SIZES),
    "DIN softmax": DIN(builders.SCHEMA, softmax=True, attention_activation="prelu", batch_norm=True, **DIN_SIZES),
    "DIEN GRU": DIEN(builders.SCHEMA, kind="GRU", **DIEN_SIZES),
    "DIEN AIGRU": DIEN(builders.SCHEMA, kind="AIGRU", softmax=False, auxiliary="inner", **DIEN_SIZES),
    "DIEN AGRU": DIEN(builders.SCHEMA, kind="AGRU", state=4, auxiliary_activation="dice", **DIEN_SIZES),
    "DIEN AUGRU": DIEN(builders.SCHEMA, tower_activation="prelu", attention="bilinear", **DIEN_SIZES),
    "DIEN AUGRU author": DIEN(builders.SCHEMA, gate="author", state=3, **DIEN_SIZES),
    "DIEN minAUGRU": DIEN(builders.SCHEMA, kind="minAUGRU", extractor="minGRU", state=4, **DIEN_SIZES),
}
_RECHUB = {"fields": "separate", "tower_activation": "dice_torch_rechub", "batch_norm": "torch"}
SOURCES = {
    "author": DIEN(builders.SCHEMA, gate="author", cell="author", attention="author", head="author", **DIEN_SIZES),
    "author minAUGRU": DIEN(builders.SCHEMA, kind="minAUGRU", gate="author", cell="author", **DIEN_SIZES),
    "author AGRU": DIEN(builders.SCHEMA, kind="AGRU", cell="author", state=4, **DIEN_SIZES),
    "deepctr-torch DIN": DIN(
        builders.SCHEMA, attention_activation="dice_deepctr_torch", batch_norm="torch", **DIN_SIZES
    ),
    "deepctr-torch AGRU": DIEN(builders.SCHEMA, kind="AGRU", cell="deepctr_torch", softmax=False, **DIEN_SIZES),
    "deepctr-torch AUGRU": DIEN(
        builders.SCHEMA, cell="deepctr_torch", attention_activation="prelu_torch", **DIEN_SIZES
    ),
    "torch-rechub DIN": DIN(
        builders.SCHEMA,
        padding="torch_rechub",
        attention_activation="dice_torch_rechub",
        attention_batch_norm="torch",
        **_RECHUB,
        **DIN_SIZES,
    ),
    "torch-rechub DIEN": DIEN(
        builders.SCHEMA, cell="torch_rechub", attention="bilinear", auxiliary="inner", **_RECHUB, tower=(5,)
    ),
}
"""Variants that are named after their source, for the oracle alone: what each computes is theirs."""
INPUTS = {
    "DIN, every kind of field": DIN(builders.EVERY_KIND, softmax=True, **DIN_SIZES),
    "DIEN, every kind of field": DIEN(builders.EVERY_KIND, state=4, auxiliary_activation="dice", **DIEN_SIZES),
    "DIN, time": DIN(builders.TIMED, attention_time="gap", **DIN_SIZES),
    "DIEN, time": DIEN(builders.TIMED, attention_time="gap", kind="AGRU", state=4, **DIEN_SIZES),
    "DIEN GRU, time": DIEN(builders.TIMED, attention_time="gap", kind="GRU", **DIEN_SIZES),
    "DIEN, each field": DIEN(builders.EVERY_KIND, fields="separate", auxiliary="inner", **DIN_SIZES),
    "DIN, channels": DIN(builders.CHANNELS, **DIN_SIZES),
    "DIEN, channels": DIEN(builders.CHANNELS, state=4, auxiliary_activation="dice", **DIEN_SIZES),
}
"""Models of sets, of numbers and of the time of events, and of channels."""
DICE_EVERYWHERE = ["DIN", "DIEN AGRU", "DIEN, every kind of field", "DIEN, channels"]
DIENS = [name for name in VARIANTS if name.startswith("DIEN")]


@functools.cache
def variables(name: str) -> dict[str, Any]:
    return builders.random_variables(model(name), batch(name))


def model(name: str) -> Any:
    return (VARIANTS | INPUTS | SOURCES)[name]


def batch(name: str, *lengths: Any, **how: Any) -> Batch:
    """A batch of the schema of a variant's model."""
    return builders.make_batch(*lengths, schema=model(name).schema, **how)


def evaluate(name: str, batch: Batch, **static: Any) -> Any:
    """The output at inference."""
    return builders.apply(model(name), variables(name), batch, **static)


@functools.cache
def _gradient(name: str, dtype: str) -> Any:
    of_dtype = model(name).clone(dtype=dtype)

    def objective(params: Any, batch: Batch) -> Any:
        all_variables = variables(name) | {"params": params}
        output, stats = of_dtype.apply(all_variables, batch, train=True, mutable="batch_stats")
        loss, _ = total_loss(output, batch, params, LossConfig())
        return loss, (output.logit_BK, stats)

    return jax.jit(jax.grad(objective, has_aux=True), compiler_options=builders.FAST_COMPILE)


def train(name: str, batch: Batch, dtype: str = "float32") -> tuple[Any, np.ndarray, Any]:
    """The gradient of the total loss in training mode, the logits, and the new running statistics."""
    grads, (logit_BK, stats) = _gradient(name, dtype)(variables(name)["params"], batch)
    return grads, np.asarray(logit_BK), stats
