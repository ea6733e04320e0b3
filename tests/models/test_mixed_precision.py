"""What `dtype="bfloat16"` means to layers and models: rounded factors in every product, float32 in all else."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import builders
from dienjax.models import DIEN, DIN
from dienjax.models.layers import MLP, Dense, _project_pairs
from dienjax.models.recurrent import Recurrence
from dienjax.training.losses import LossConfig
from dienjax.training.step import init_state, make_train_step
from reference import recurrences as oracle
from variants import SOURCES, VARIANTS, train

ALL = VARIANTS | SOURCES
BATCH = builders.make_batch()
FAST = ("DIN", "DIEN AUGRU")
"""The others are slow to compile."""
EACH = [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in ALL]


def rounded(x):
    """To bfloat16, as float64."""
    return np.asarray(x, np.float32).astype(jnp.bfloat16).astype(np.float64)


def random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_dense():
    """The bias is added to the sum; neither is rounded."""
    layer, parts = Dense(3, dtype="bfloat16"), (random(5, 4), random(5, 2, seed=1))
    variables = builders.random_variables(layer, *parts)
    kernel, bias = (variables["params"][name] for name in ("kernel", "bias"))
    expected = rounded(np.concatenate(parts, axis=1)) @ rounded(kernel) + bias
    np.testing.assert_allclose(builders.apply(layer, variables, *parts), expected, atol=1e-6)


def test_mlp():
    mlp, x, mask = MLP((3,), "tanh", dtype="bfloat16"), random(5, 4), np.ones(5, bool)
    variables = builders.random_variables(mlp, x, mask, train=False)
    first, out = (variables["params"][name] for name in ("dense_0", "out"))
    hidden = np.tanh(rounded(x) @ rounded(first["kernel"]) + first["bias"])
    expected = (rounded(hidden) @ rounded(out["kernel"]) + out["bias"])[:, 0]
    np.testing.assert_allclose(builders.apply(mlp, variables, x, mask, train=False), expected, atol=1e-6)


@pytest.mark.parametrize("kind", ["GRU", "AGRU", "AUGRU"])
@pytest.mark.parametrize("biases", ["linen", "author"])
def test_recurrence(kind, biases):
    """The state is rounded where it is multiplied, and carried on as it is."""
    module = Recurrence(3, kind, biases=biases, dtype="bfloat16")
    input_BTE, mask_BT = random(4, 5, 2), np.arange(5) < np.array([0, 1, 5, 3])[:, None]
    score_BKT = None if kind == "GRU" else np.abs(random(4, 1, 5, seed=1)) % 1
    variables = builders.random_variables(module, input_BTE, mask_BT, score_BKT)
    got = builders.apply(module, variables, input_BTE, mask_BT, score_BKT)
    for b in range(4):
        score_T = None if kind == "GRU" else score_BKT[b, 0]
        states = oracle.states(
            variables["params"], kind, "paper", input_BTE[b], mask_BT[b], score_T, biases, factor=rounded
        )
        expected, of_row = (states * mask_BT[b][:, None], got[b]) if kind == "GRU" else (states[-1], got[b, 0])
        np.testing.assert_allclose(of_row, expected, atol=1e-6)


def test_pairs_of_many_candidates():
    """The form of exports, of which no bfloat16 one is made, is near."""
    query_BKH, key_BTH, kernel, bias_A = random(2, 3, 4), random(2, 5, 4, seed=1), random(16, 6), random(6)
    specs = jax.export.symbolic_args_specs((query_BKH, key_BTH), ("b, k, 4", "b, t, 4"))
    export = jax.export.export(jax.jit(lambda q, k: _project_pairs(q, k, kernel, bias_A, "bfloat16")))(*specs)
    many = [np.concatenate([query_BKH] * 30, axis=1), key_BTH]
    expected = _project_pairs(*many, kernel, bias_A)
    difference = np.abs(export.call(*many) - expected).max() / np.abs(expected).max()
    assert 1e-4 < difference < 0.02


@pytest.mark.parametrize("name", EACH)
def test_every_product_of_a_training_step_is_in_bfloat16_and_nothing_else(name):
    """The parameters, moments, statistics and metrics have the dtypes that they have in float32."""

    def traced(model):
        tx = optax.adam(1e-3)
        state = jax.eval_shape(lambda: init_state(model, tx, BATCH, jax.random.key(0)))
        update = make_train_step(model, tx, LossConfig())
        step = update.trace(state, BATCH, jax.random.key(0))
        return step.lower(lowering_platforms=("cuda",)).as_text(), step.out_info

    (text, output), (plain, plain_output) = map(traced, (ALL[name].clone(dtype="bfloat16"), ALL[name]))
    assert (
        10 < text.count("stablehlo.dot_general") == text.count("lhs_precision_type = bf16, rhs_precision_type = bf16")
    )
    assert text.count("accumulation_type = f32") == text.count("stablehlo.dot_general")
    assert "xbf16>" not in text, "what a scan carries, and every other array, is float32"
    assert "reduce_precision" not in text, "the algorithm rounds the factors"
    assert "precision_type" not in plain and "reduce_precision" not in plain
    assert output == plain_output


@pytest.mark.parametrize("name", EACH)
def test_gradients_are_near_those_of_float32(name):
    """Each array's, relative to the whole: some are 0 but for rounding, such as a bias before a batch norm."""
    (grads, logit_BK, stats), exact = train(name, BATCH, "bfloat16"), train(name, BATCH)
    whole = np.linalg.norm([np.linalg.norm(g) for g in jax.tree.leaves(exact[0])])
    difference = jax.tree.map(lambda a, b: np.linalg.norm(a - b), grads, exact[0])
    assert 1e-4 < np.linalg.norm(jax.tree.leaves(difference)) / whole < 0.02
    jax.tree.map(
        lambda d, g: np.testing.assert_array_less(d, 0.03 * np.linalg.norm(g) + 0.002 * whole), difference, exact[0]
    )
    np.testing.assert_allclose(logit_BK[BATCH.mask_BK], exact[1][BATCH.mask_BK], atol=0.05)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=0.02), stats, exact[2])


@pytest.mark.parametrize("name", EACH[: len(VARIANTS)])
def test_padded_slots_change_nothing_and_empty_histories_are_finite(name):
    """Padded slots hold the ids 2, 3, 4, which stand nowhere else."""
    marked = BATCH.replace(
        history=builders.with_ids(BATCH.history, ~BATCH.mask_BT, 2),
        negative=builders.with_ids(BATCH.negative, ~BATCH.mask_BT, 3),
        candidate=builders.with_ids(BATCH.candidate, ~BATCH.mask_BK, 4),
    )
    (grads, logit_BK, stats), other = train(name, BATCH, "bfloat16"), train(name, marked, "bfloat16")
    jax.tree.map(np.testing.assert_array_equal, (grads, stats), (other[0], other[2]))
    np.testing.assert_array_equal(logit_BK[BATCH.mask_BK], other[1][BATCH.mask_BK])
    empty = train(name, builders.make_batch((0,) * 6), "bfloat16")
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(empty))


def test_the_default_is_float32():
    assert DIN(builders.SCHEMA).dtype == DIEN(builders.SCHEMA).dtype == "float32"
