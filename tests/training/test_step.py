"""The training step: it learns, compiles once per shape, donates its state, and repeats itself bit for bit."""

import functools
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import builders
from dienjax.batch import Batch
from dienjax.models import DIEN, DIN
from dienjax.training.losses import LossConfig
from dienjax.training.metrics import auc, auc_from_histogram
from dienjax.training.optimizers import OptimizerConfig, make_optimizer
from dienjax.training.step import init_state, make_eval_step, make_train_step

SIZES = {"attention_hidden": (8,), "tower": (16,)}
SMALL = {
    "DIN": DIN(builders.SCHEMA, **SIZES),
    "DIEN": DIEN(builders.SCHEMA, auxiliary_hidden=(8,), **SIZES),
}
BATCH = builders.make_batch([i % 5 for i in range(64)], K=2)
KEY = jax.random.key(7)
ADAM = make_optimizer(OptimizerConfig(learning_rate=0.02), 1, 1)


@functools.cache
def train_step(name):
    return make_train_step(SMALL[name], ADAM, LossConfig(alpha=0.1))


def start(name, batch=BATCH):
    return init_state(SMALL[name], ADAM, batch, jax.random.key(0))


def assert_equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.fixture(params=SMALL)
def name(request):
    return request.param


@pytest.mark.slow
def test_overfits_64_rows(name):
    state, step = start(name), train_step(name)
    for _ in range(120):
        state, metrics = step(state, BATCH, KEY)
    assert metrics["ctr_loss"] < 0.05
    assert auc_from_histogram(metrics["auc_histogram"]) == 1.0
    logit_BK = np.asarray(make_eval_step(SMALL[name])(state.variables, BATCH))  # running statistics lag behind
    assert auc(logit_BK[BATCH.mask_BK], BATCH.label_BK[BATCH.mask_BK]) > 0.9


def test_one_step_of_dien_gives_this_loss():
    """Frozen: a change means that another model is trained, wanted or not."""
    state, first = train_step("DIEN")(start("DIEN"), BATCH, KEY)
    _, second = train_step("DIEN")(state, BATCH, KEY)
    golden = {"ctr_loss": (0.76981, 0.71655), "auxiliary_loss": (0.97956, 0.91503)}
    got = {name: (float(first[name]), float(second[name])) for name in golden}
    assert got == {name: pytest.approx(values, abs=1e-4) for name, values in golden.items()}


def test_compiles_once_for_each_number_of_history_slots():
    step = train_step("DIN")
    state, _ = step(start("DIN"), BATCH, KEY)
    before = step._cache_size()
    for extra in (3, 0, 3, 0):
        state, _ = step(state, builders.more_padding(BATCH, extra), KEY)
    assert step._cache_size() == before + 1
    assert state.step == 5


def test_the_old_state_is_donated(name):
    state = start(name)
    old = jax.tree.leaves(state)
    train_step(name)(state, BATCH, KEY)
    assert all(leaf.is_deleted() for leaf in old)


def test_the_same_key_gives_the_same_step_bit_for_bit(name):
    assert_equal(train_step(name)(start(name), BATCH, KEY), train_step(name)(start(name), BATCH, KEY))


def test_a_step_changes_everything_that_can_learn(name):
    before = jax.tree.map(np.array, start(name))
    after, _ = train_step(name)(start(name), BATCH, KEY)
    assert after.step == 1
    changed = jax.tree.map(lambda a, b: bool((a != b).any()), before.params, after.params)
    if name == "DIEN":
        del changed["target_attention"]["mlp"]["out"]["bias"]  # softmax forgets a constant
    assert all(jax.tree.leaves(changed)), changed
    moved = jax.tree.map(lambda a, b: bool((a != b).any()), before.batch_stats, after.batch_stats)
    assert all(jax.tree.leaves(moved)), moved
    for table, rows_VD in after.params["embedder"].items():
        np.testing.assert_array_equal(rows_VD[: builders.FIRST_REAL], before.params["embedder"][table][:5])


def test_metrics_count_every_real_candidate_once(name):
    _, metrics = train_step(name)(start(name), BATCH, KEY)
    parts = {"loss", "ctr_loss", "auc_histogram"} | ({"auxiliary_loss"} if name == "DIEN" else set())
    assert metrics.keys() == parts
    negatives, positives = metrics["auc_histogram"].sum(axis=1)
    assert (positives, positives + negatives) == (BATCH.label_BK.sum(), BATCH.mask_BK.sum())


def test_dropout_depends_on_the_key_and_the_step_alone():
    model = DIN(builders.SCHEMA, tower_activation="relu", attention_activation="relu", dropout=0.5, **SIZES)
    still = optax.sgd(0.0)
    step = make_train_step(model, still, LossConfig())

    def losses(seed, steps):
        state, values = init_state(model, still, BATCH, jax.random.key(0)), []
        for _ in range(steps):
            state, metrics = step(state, BATCH, jax.random.key(seed))
            values.append(float(metrics["loss"]))
        return values

    assert len(set(losses(1, 3) + losses(2, 3))) == 6
    assert losses(1, 3)[:2] == losses(1, 2)


def test_resuming_from_a_copy_repeats_the_run(name):
    step = train_step(name)
    state, _ = step(start(name), BATCH, KEY)
    saved = jax.tree.map(np.array, state)
    straight, _ = step(state, BATCH, KEY)
    resumed, _ = step(jax.tree.map(jnp.asarray, saved), BATCH, KEY)
    assert_equal(straight, resumed)


def test_regression_learns_numbers():
    batch = BATCH.replace(label_BK=np.where(BATCH.mask_BK, 3 + BATCH.candidate["price"], 0).astype(np.float32))
    step, state, losses = make_train_step(SMALL["DIN"], ADAM, LossConfig("regression")), start("DIN"), []
    for _ in range(150):
        state, metrics = step(state, batch, KEY)
        losses.append(float(metrics["loss"]))
    assert losses[-1] < 0.05 * losses[0]
    assert metrics.keys() == {"loss", "ctr_loss"}


def test_the_initial_state_depends_on_shapes_alone(name):
    abstract = Batch.abstract(builders.SCHEMA, 8, 5, 2, negatives=True)
    state = init_state(SMALL[name], ADAM, abstract, jax.random.key(0))
    assert_equal(state, start(name))
    assert state.step == 0 and state.step.dtype == jnp.int32
    assert {leaf.dtype for leaf in jax.tree.leaves(state.params)} == {np.dtype(np.float32)}
    assert not jax.tree.leaves(state.batch_stats["tower"]["activation_0"]["dice"]["norm"]["mean"])[0].any()


def test_the_evaluation_step_uses_running_statistics_and_no_dropout():
    model = DIN(builders.SCHEMA, dropout=0.5, **SIZES)
    variables = builders.random_variables(model, BATCH)
    step = make_eval_step(model)
    alone = jax.tree.map(lambda a: a[2:3], BATCH)
    np.testing.assert_allclose(step(variables, BATCH)[2:3], step(variables, alone), atol=1e-5)
    assert_equal(step(variables, alone), step(variables, alone))


FOUR_DEVICES = """
import jax, numpy as np, optax
from jax.sharding import AxisType, NamedSharding, PartitionSpec
import builders
from dienjax.training.losses import LossConfig
from dienjax.models import DIEN
from dienjax.training.step import init_state, make_train_step

assert jax.device_count() == 4
model = DIEN(builders.SCHEMA, attention="bilinear", auxiliary_hidden=(4,), tower=(5,))
batch, tx = builders.make_batch((0, 1, 4, 2, 3, 4, 2, 0)), optax.sgd(0.1)
step = make_train_step(model, tx, LossConfig())
key = jax.random.key(1)
mesh = jax.make_mesh((4,), ("data",), axis_types=(AxisType.Auto,))

one = jax.tree.map(np.array, step(init_state(model, tx, batch, jax.random.key(0)), batch, key))
state = jax.device_put(init_state(model, tx, batch, jax.random.key(0)), NamedSharding(mesh, PartitionSpec()))
cut = jax.device_put(batch, NamedSharding(mesh, PartitionSpec("data")))
assert [shard.data.shape for shard in cut.label_BK.addressable_shards] == [(2, 3)] * 4
four = jax.tree.map(np.array, step(state, cut, key))
jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), one, four)
"""


@pytest.mark.slow
def test_four_devices_equal_one():
    """The batch cut along B: masked means and batch statistics must be those of the whole batch."""
    tests = Path(__file__).parent
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",  # faster to compile
        "XLA_FLAGS": "--xla_force_host_platform_device_count=4",
        "PYTHONPATH": os.pathsep.join([str(tests), str(tests.parent)]),
    }
    done = subprocess.run([sys.executable, "-c", FOUR_DEVICES], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
