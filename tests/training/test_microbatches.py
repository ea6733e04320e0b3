"""A step in microbatches is the step on the whole batch, takes less memory, and is taken where it may be."""

import jax
import numpy as np
import optax
import pytest

import builders
from dienjax.batch import Batch
from dienjax.models import DIEN, DIN
from dienjax.training import microbatches
from dienjax.training.losses import LossConfig
from dienjax.training.step import init_state, make_gradient, make_train_step

RELU = {"attention_hidden": (4,), "tower": (5,), "attention_activation": "relu", "tower_activation": "relu"}
SMALL = {"auxiliary_hidden": (4,), **RELU}
SEPARATE = {"fields": "separate", "auxiliary": "inner", "attention": "bilinear", **RELU}
MODELS = {"DIN": DIN(builders.SCHEMA, dropout=0.3, **RELU)} | {
    kind: DIEN(builders.SCHEMA, kind=kind, dropout=0.3, **SMALL) for kind in ("GRU", "AIGRU", "AGRU", "AUGRU")
}
MODELS["separate"] = DIEN(builders.SCHEMA, **SEPARATE)
MODELS["channels"] = DIEN(builders.CHANNELS, dropout=0.3, auxiliary_channels=("click", "cart"), **SMALL)
QUICK = ("AUGRU", "channels")
BATCH = builders.make_batch([i % 5 for i in range(24)], K=2)
KEY = jax.random.key(7)


@pytest.fixture
def small(monkeypatch):
    """Microbatches of four histories."""
    monkeypatch.setattr(microbatches, "LEAST", 4)
    monkeypatch.setattr(microbatches, "CACHED", 4 * BATCH.mask_BT.shape[1] * 2)


def batch_of(model):
    return builders.make_batch([i % 5 for i in range(24)], K=2, schema=model.schema)


def gradients(model, batch, platform, loss=LossConfig(alpha=0.7), unknown=0.1):  # noqa: B008
    state = init_state(model, optax.sgd(0.1), batch, jax.random.key(0))
    dtype = batch.label_BK.dtype
    state = jax.tree.map(lambda x: x.astype(dtype) if x.dtype == np.float32 else x, state)
    return jax.jit(make_gradient(model, loss, unknown, platform))(state, batch, KEY)


def assert_close(part, whole, tolerance):
    for a, b in zip(jax.tree.leaves(part), jax.tree.leaves(whole), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * max(1e-3, np.abs(b).max()))


@pytest.mark.parametrize(
    ("B", "T", "K", "count"),
    [
        (512, 50, 2, 8),
        (512, 16, 2, 4),
        (512, 4, 2, 1),
        (64, 50, 2, 1),
        (256, 256, 2, 8),
        (384, 20, 2, 4),
        (37, 500, 2, 1),
        (8, 900, 9, 1),
    ],
)
def test_the_largest_divisor_that_fits(B, T, K, count):
    assert microbatches.microbatches(B, T, K) == count


@pytest.mark.parametrize("name", [*QUICK, *(pytest.param(n, marks=pytest.mark.slow) for n in MODELS if n not in QUICK)])
def test_equals_the_whole_batch(name, small):
    """Histories of every length, empty ones too, padded candidates, labels of histories, dropout and unknown ids."""
    model = MODELS[name]
    part, whole = (gradients(model, batch_of(model), platform) for platform in ("cpu", "gpu"))
    assert_close(part, whole, 1e-6)
    assert part[2].keys() == whole[2].keys()


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_equals_the_whole_batch_in_float64(name, small):
    with jax.enable_x64(True):
        batch = jax.tree.map(lambda x: x.astype(np.float64) if x.dtype == np.float32 else x, batch_of(MODELS[name]))
        part, whole = (gradients(MODELS[name], batch, platform) for platform in ("cpu", "gpu"))
        assert {x.dtype for x in jax.tree.leaves(part[0])} == {np.dtype(np.float64)}
        assert_close(part, whole, 1e-12)


def test_regression_and_no_real_candidate(small):
    for batch in (BATCH, BATCH.replace(mask_BK=np.zeros_like(BATCH.mask_BK))):
        part, whole = (gradients(MODELS["DIN"], batch, p, LossConfig("regression")) for p in ("cpu", "gpu"))
        assert_close(part, whole, 1e-6)


def is_divided(model, batch=BATCH):
    """Whether the step scans over microbatches: those of a DIN have no other scan."""
    state = jax.eval_shape(lambda: init_state(model, optax.sgd(0.1), batch, jax.random.key(0)))
    return " scan[" in str(jax.make_jaxpr(make_gradient(model, LossConfig(), platform="cpu"))(state, batch, KEY))


def test_a_model_that_needs_the_whole_batch_gets_it(small):
    class Whole(DIN):
        whole_batch = True

    assert is_divided(DIN(builders.SCHEMA, **RELU))
    assert not is_divided(Whole(builders.SCHEMA, **RELU))
    assert not is_divided(DIN(builders.SCHEMA, attention_hidden=(4,), tower=(5,))), "Dice has statistics of the batch"
    assert not is_divided(DIN(builders.SCHEMA, **RELU), builders.make_batch([1, 2, 0], T=9)), "of three histories"


def test_memory_falls():
    """Of 256 histories of 50 a quarter is in memory at a time."""
    model = DIEN(builders.SCHEMA, **SMALL)
    batch = Batch.abstract(builders.SCHEMA, 256, 50, 2, negatives=True)
    state = jax.eval_shape(lambda: init_state(model, optax.sgd(0.1), batch, jax.random.key(0)))

    def temporary(platform):
        step = make_train_step(model, optax.sgd(0.1), LossConfig(), platform=platform)
        return step.lower(state, batch, KEY).compile().memory_analysis().temp_size_in_bytes

    assert temporary("cpu") < 0.5 * temporary("gpu")
