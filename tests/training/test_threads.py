"""A step on several threads is the step on one: to rounding, twice to the bit, and compiled once for a shape."""

import os

import jax
import numpy as np
import optax
import pytest

import builders
from dienjax.models import DIEN, DIN
from dienjax.training import threads
from dienjax.training.host_tables import make_host_train_step
from dienjax.training.layout import DevicesConfig, Layout
from dienjax.training.lazy_rows import make_lazy_train_step, renumber
from dienjax.training.losses import LossConfig
from dienjax.training.step import init_state, make_train_step

RELU = {"attention_hidden": (4,), "tower": (5,), "attention_activation": "relu", "tower_activation": "relu"}
MODELS = {"DIN": DIN(builders.SCHEMA, dropout=0.3, **RELU)} | {
    kind: DIEN(builders.SCHEMA, kind=kind, dropout=0.3, auxiliary_hidden=(4,), **RELU)
    for kind in ("GRU", "AIGRU", "AGRU", "AUGRU", "minAUGRU")
}
MODELS["channels"] = DIEN(builders.CHANNELS, kind="AGRU", auxiliary_hidden=(4,), **RELU)
LOSS, TX, KEY = LossConfig(alpha=0.7, l2_embedding=0.1), optax.sgd(0.1), jax.random.key(7)
BATCHES = [builders.make_batch([(i + shift) % 5 for i in range(24)], K=2) for shift in range(3)]
OF_CHANNELS = [builders.make_batch([i % 5 for i in range(24)], K=2, seed=s, schema=builders.CHANNELS) for s in range(3)]


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """A part is worth a thread whatever its size."""
    monkeypatch.setattr(threads, "LEAST", 1)


def after(model, rows, threads, dtype=np.float32, tx=TX):
    """The state after three steps, and the metrics of each."""

    def cast(tree):
        return jax.tree.map(lambda x: x.astype(dtype) if x.dtype == np.float32 else x, tree)

    make = make_lazy_train_step if rows == "lazy" else make_train_step
    step, metrics = make(model, tx, LOSS, 0.1, threads=threads), []
    batches = OF_CHANNELS if model.schema.channels else BATCHES
    state = cast(init_state(model, tx, batches[0], jax.random.key(0)))
    for batch in map(cast, batches):
        state, found = step(state, renumber(batch, model.schema) if rows == "lazy" else batch, KEY)
        metrics.append(found)
    return jax.device_get((state, metrics))


def assert_close(parts, whole, tolerance):
    for a, b in zip(jax.tree.leaves(parts), jax.tree.leaves(whole), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * max(1e-3, np.abs(b).max(initial=0)))


CASES = [(name, rows) for name in MODELS for rows in ("lazy", "dense")]
FIRST = [("AUGRU", "lazy"), ("DIN", "dense")]


@pytest.mark.parametrize(
    ("name", "rows"), [*FIRST, *(pytest.param(*c, marks=pytest.mark.slow) for c in CASES if c not in FIRST)]
)
def test_equals_one_thread(name, rows):
    """Histories of every length, empty ones too, padded candidates, dropout, unknown ids and a penalty."""
    assert_close(after(MODELS[name], rows, 3), after(MODELS[name], rows, 1), 2e-6)


@pytest.mark.parametrize("name", ["AUGRU", *(pytest.param(n, marks=pytest.mark.slow) for n in MODELS if n != "AUGRU")])
def test_equals_one_thread_in_float64(name):
    """The setting is this thread's own: the others must compute in it too."""
    with jax.enable_x64(True):
        parts, whole = (after(MODELS[name], "dense", n, np.float64) for n in (2, 1))
    assert parts[0].params["embedder"]["item"].dtype == np.float64
    assert_close(parts, whole, 1e-12)


def test_repeats_itself_to_the_bit():
    once, again = (after(MODELS["AUGRU"], "lazy", 3, tx=optax.adam(0.1)) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(jax.tree.leaves(once), jax.tree.leaves(again), strict=True))


def test_tables_on_the_host():
    layout = Layout(builders.SCHEMA, tables="host", small=2, threads=2)
    step = make_host_train_step(MODELS["DIN"], TX, LOSS, 0.1, layout)
    state = jax.tree.map(np.array, init_state(MODELS["DIN"], TX, BATCHES[0], jax.random.key(0)))
    for batch in BATCHES:
        state, _ = step(state, renumber(batch, builders.SCHEMA), KEY)
    assert_close(jax.device_get(state), after(MODELS["DIN"], "lazy", 1)[0], 2e-6)


@pytest.mark.parametrize(
    ("B", "T", "K", "most", "count"),
    [
        (64, 50, 2, 2, 2),
        (64, 16, 2, 2, 1),
        (512, 50, 2, 16, 16),
        (512, 50, 2, 6, 4),
        (63, 99, 2, 2, 1),
        (9, 999, 2, 4, 3),
    ],
)
def test_parts_of_one_size_that_are_worth_a_thread(B, T, K, most, count, monkeypatch):
    monkeypatch.undo()
    assert threads.parts(B, T, K, most) == count


def parts_seen(model, batches, most=2):
    """The `part` of each time that the gradient was traced."""
    seen = []

    def gradient(state, batch, root_key, part=None):
        seen.append(part and part[1])
        zeros = jax.tree.map(jax.numpy.zeros_like, state.params)
        return zeros, state.batch_stats, {"loss": jax.numpy.sum(batch.mask_BK)}

    def update(state, batch, grads, batch_stats, metrics):
        return state, metrics

    step = threads.make_threaded_step(model, gradient, update, most)
    state = init_state(model, TX, batches[0], jax.random.key(0))
    for batch in batches:
        state, _ = step(state, batch, KEY)
    return seen


def test_compiles_once_for_a_shape():
    longer = builders.make_batch([1] * 24, T=9)
    assert parts_seen(MODELS["DIN"], [BATCHES[0], longer, BATCHES[1], longer]) == [2, 2]


def test_a_model_that_needs_the_whole_batch_gets_it():
    class Whole(DIN):
        whole_batch = True

    assert parts_seen(DIN(builders.SCHEMA, **RELU), BATCHES) == [2]
    assert parts_seen(Whole(builders.SCHEMA, **RELU), BATCHES) == [None]
    assert parts_seen(DIN(builders.SCHEMA, attention_hidden=(4,), tower=(5,)), BATCHES) == [None], "Dice"
    assert parts_seen(DIN(builders.SCHEMA, **RELU), [builders.make_batch([1, 2, 0])]) == [None], "of three histories"
    assert parts_seen(DIN(builders.SCHEMA, **RELU), BATCHES, most=1) == [None]


def test_as_many_threads_as_cores_or_as_asked_for():
    assert Layout.of(DevicesConfig(), builders.SCHEMA, 8).threads == threads.cores() <= (os.cpu_count() or 1)
    assert Layout.of(DevicesConfig(threads=3), builders.SCHEMA, 8).threads == 3
