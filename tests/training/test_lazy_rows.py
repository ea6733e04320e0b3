"""The lazy-row step: equal to the ordinary step where that is promised, LazyAdam elsewhere, and in place."""

import functools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from builders import CHANNELS, EVERY_KIND, TIMED
from dienjax.batch import Batch
from dienjax.models import DIEN, DIN
from dienjax.schema import PADDING, UNKNOWN, Behaviour, Dense, Schema, Sparse, Table
from dienjax.training.lazy_rows import make_lazy_train_step, renumber
from dienjax.training.losses import LossConfig
from dienjax.training.optimizers import OptimizerConfig, make_optimizer
from dienjax.training.step import init_state, make_train_step

# A batch holds about 40 item ids, so it touches some items and every category; "liked" and "shelf" share tables.
SCHEMA = Schema(
    tables=(Table("item", 60, 3), Table("category", 6, 2)),
    behaviours=(Behaviour("item"), Behaviour("category")),
    sparse=(Sparse("liked", "item"), Sparse("shelf", "category", of="candidate")),
    dense=(Dense("age"), Dense("price", of="candidate")),
)
MODELS = {
    "DIN": DIN(SCHEMA, attention_hidden=(4,), attention_activation="sigmoid", tower=(4,), dropout=0.3),
    "DIEN": DIEN(SCHEMA, attention="bilinear", auxiliary_hidden=(4,), tower=(4,), dropout=0.3),
    "channels": DIEN(CHANNELS, attention="bilinear", auxiliary_hidden=(4,), tower=(4,), state=3),
    "every kind of field": DIEN(EVERY_KIND, attention="bilinear", auxiliary_hidden=(4,), tower=(4,), state=3),
    "time": DIEN(TIMED, attention_time="gap", auxiliary_hidden=(4,), tower=(4,), state=3),
}
OPTIMIZERS = {
    name: make_optimizer(OptimizerConfig(name, learning_rate=0.1, clip_norm=clip), 1, 1)
    for name, clip in {"sgd": 0.2, "adagrad": 0, "rowwise_adagrad": 0.2}.items()
}
OPTIMIZERS["adam"] = optax.adam(0.1, eps=1e-3)  # the usual 1e-8 makes steps of rounding errors
OPTIMIZERS["gradients"] = optax.trace(0.0)  # keeps the last gradient as its state
LOSS = LossConfig(l2_tower=0.1)
KEY = jax.random.key(3)


def random_batch(seed, lengths=(0, 4, 1, 3), T=4, K=2, schema=SCHEMA):
    """Ids of the whole range and one beyond it on either side, also in padded slots; the last row only fills."""
    rng, B, sizes = np.random.default_rng(seed), len(lengths), schema.sizes()

    def draw(path, x):
        if x.dtype == np.int32:
            return rng.integers(-1, sizes[path[-1].key] + 1, x.shape, np.int32)
        if x.dtype == np.int8:
            return rng.integers(0, len(schema.channels), x.shape, np.int8)
        return rng.random(x.shape).astype(x.dtype)

    batch = jax.tree.map_with_path(draw, Batch.abstract(schema, B, T, K, negatives=True))
    mask_BT, mask_BK = np.arange(T) < np.array(lengths)[:, None], np.arange(B)[:, None] + np.zeros(K) < max(B - 1, 1)
    return batch.replace(mask_BT=mask_BT, mask_BK=mask_BK, label_BK=np.round(batch.label_BK))


def nothing_real(batch):
    return batch.replace(mask_BT=np.zeros_like(batch.mask_BT), mask_BK=np.zeros_like(batch.mask_BK))


@functools.cache
def dense_step(model, optimizer):
    return make_train_step(MODELS[model], OPTIMIZERS[optimizer], LOSS)


@functools.cache
def lazy_step(model, optimizer):
    return make_lazy_train_step(MODELS[model], OPTIMIZERS[optimizer], LOSS)


@functools.cache
def initial(model):
    return jax.tree.map(
        np.array, init_state(MODELS[model], optax.identity(), random_batch(0, schema=MODELS[model].schema), KEY)
    )


def start(model, optimizer):
    state = jax.tree.map(jnp.asarray, initial(model))
    return replace(state, opt_state=OPTIMIZERS[optimizer].init(state.params))


def run(step, state, batches):
    """The state after the batches, and the metrics of every step."""
    metrics = []
    for batch in batches:
        state, of_step = step(state, batch, KEY)
        metrics.append(of_step)
    return jax.tree.map(np.array, (state, metrics))


def assert_close(got, expected):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-6), got, expected)


def assert_lazy_equals_dense(model, optimizer, batches):
    dense = run(dense_step(model, optimizer), start(model, optimizer), batches)
    lazy = run(
        lazy_step(model, optimizer), start(model, optimizer), [renumber(b, MODELS[model].schema) for b in batches]
    )
    assert_close(lazy, dense)


@pytest.mark.parametrize(
    ("model", "optimizer"),
    [
        ("DIN", "sgd"),
        pytest.param("DIN", "adagrad", marks=pytest.mark.slow),
        ("DIEN", "rowwise_adagrad"),
        ("every kind of field", "sgd"),
        ("time", "sgd"),
    ],
)
def test_equals_the_ordinary_step(model, optimizer):
    batches = [random_batch(seed, schema=MODELS[model].schema) for seed in range(4)]
    batches[1] = batches[1].replace(mask_BT=np.zeros_like(batches[1].mask_BT))
    batches[2] = nothing_real(batches[2])
    assert_lazy_equals_dense(model, optimizer, batches)


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_hides_the_values_that_the_ordinary_step_hides(share):
    model, tx, batches = MODELS["DIN"], OPTIMIZERS["sgd"], [random_batch(seed) for seed in range(3)]
    dense = run(make_train_step(model, tx, LOSS, share), start("DIN", "sgd"), batches)
    lazy = run(
        make_lazy_train_step(model, tx, LOSS, share), start("DIN", "sgd"), [renumber(b, SCHEMA) for b in batches]
    )
    assert_close(lazy, dense)


def test_equals_adam_where_every_row_is_touched():
    """With histories of one slot."""
    batches = [random_batch(seed, [1] * 60 + [0, 0], T=1) for seed in range(3)]
    for batch in batches:
        batch.history["item"][:60, 0] = np.random.default_rng(0).permutation(60)
    assert_lazy_equals_dense("DIN", "adam", batches)


def test_adam_moves_the_touched_rows_alone():
    """Against NumPy: moments and rows of touched rows as in Adam; all others rest, bit for bit."""
    state = start("DIN", "adam")
    for t in range(1, 4):
        batch = random_batch(t)
        rows = renumber(batch, SCHEMA)
        before = jax.tree.map(np.array, state)
        probe = replace(jax.tree.map(jnp.asarray, before), opt_state=start("DIN", "gradients").opt_state)
        gradients = dense_step("DIN", "gradients")(probe, batch, KEY)[0].opt_state.trace
        state, _ = lazy_step("DIN", "adam")(state, rows, KEY)
        was, now = before.opt_state[0], state.opt_state[0]

        for table in ("item", "category"):
            x, mu, nu, g = (tree["embedder"][table] for tree in (before.params, was.mu, was.nu, gradients))
            after = [np.array(tree["embedder"][table]) for tree in (state.params, now.mu, now.nu)]
            touched = np.isin(np.arange(len(x)), rows.row_R[table])
            assert touched.all() == (table == "category")
            mu_new, nu_new = 0.9 * mu + 0.1 * g, 0.999 * nu + 0.001 * g**2
            x_new = x - 0.1 * (mu_new / (1 - 0.9**t)) / (np.sqrt(nu_new / (1 - 0.999**t)) + 1e-3)
            for got, old, new in zip(after, (x, mu, nu), (x_new, mu_new, nu_new), strict=True):
                np.testing.assert_array_equal(got[~touched], old[~touched])
                np.testing.assert_allclose(got[touched], new[touched], rtol=1e-4, atol=1e-6)


def test_compiles_once_for_each_number_of_history_slots():
    step, state = lazy_step("DIN", "adam"), start("DIN", "adam")
    sizes = set()
    for seed in range(3):
        for batch in (random_batch(seed), nothing_real(random_batch(seed)), random_batch(seed, (0, 0, 0, 0))):
            state, _ = step(state, renumber(batch, SCHEMA), KEY)
            sizes.add(step._cache_size())
    assert len(sizes) == 1


def test_the_number_of_filling_rows_changes_nothing():
    rows = [renumber(random_batch(seed), SCHEMA) for seed in range(2)]
    wider = [r.replace(row_R={t: np.append(v, 100 + np.arange(20)) for t, v in r.row_R.items()}) for r in rows]
    step = lazy_step("DIN", "sgd")
    assert_close(run(step, start("DIN", "sgd"), wider), run(step, start("DIN", "sgd"), rows))


def test_the_step_works_in_place_whatever_the_vocabulary():
    """The old state is donated; what the program allocates beside it has no room for a table, nor for one column."""
    size, adam = 10**6, OPTIMIZERS["adam"]
    schema = replace(SCHEMA, tables=(Table("item", size, 3), SCHEMA.tables[1]))
    batch, model = random_batch(0, schema=schema), replace(MODELS["DIN"], schema=schema)
    state = jax.eval_shape(lambda: init_state(model, adam, batch, KEY))
    step = make_lazy_train_step(model, adam, LOSS)
    memory = step.lower(state, renumber(batch, schema), KEY).compile().memory_analysis()
    assert memory.alias_size_in_bytes > 3 * size * 3 * 4
    assert memory.temp_size_in_bytes < size


@pytest.mark.parametrize("seed", range(20))
def test_renumbered_ids_point_at_their_rows(seed):
    rng = np.random.default_rng(seed)
    B, T, K, size = rng.integers(1, (6, 9, 4, 100))
    schema = replace(SCHEMA, tables=(Table("item", int(size) + 2, 3), SCHEMA.tables[1]))
    batch = random_batch(seed, rng.integers(0, T + 1, B), T, K, schema)
    if seed % 2:
        batch = batch.replace(negative=None)
    before = jax.tree.map(np.copy, batch)
    rows = renumber(batch, schema)
    jax.tree.map(np.testing.assert_array_equal, batch, before)

    fields, found = {f.name: schema.table(f.table) for f in schema.id_fields}, {t.name: [] for t in schema.tables}

    def check(path, old, new):
        table = fields.get(getattr(path[-1], "key", None))
        if table is None:
            return np.testing.assert_array_equal(new, old)
        assert new.dtype == np.int32
        expected = [i if 0 <= i < table.size else UNKNOWN for i in old.flat]
        np.testing.assert_array_equal(rows.row_R[table.name][new.ravel()], expected)
        found[table.name] += expected

    jax.tree.map_with_path(check, batch, rows.batch)
    for table in schema.tables:
        row_R, ids = rows.row_R[table.name], [PADDING, UNKNOWN, *found[table.name]]
        assert row_R.dtype == np.int32 and len(row_R) == len(set(row_R)) == min(len(ids), table.size)
        assert set(row_R[row_R < table.size]) == set(ids) and row_R[:2].tolist() == [PADDING, UNKNOWN]
