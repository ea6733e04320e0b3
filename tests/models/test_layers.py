"""Normalisation, activations, MLP and attention against oracles written from their formulas."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import builders
from dienjax.models import layers
from dienjax.models.layers import (
    MLP,
    Activate,
    Dice,
    MaskedBatchNorm,
    TargetAttention,
    _project_pairs,
)
from reference import layers as oracle

SHAPES = {"2-D": (7, 3), "3-D": (4, 5, 3), "4-D": (3, 4, 2, 3)}
A_QUERY, B, K, T, H = 4, 5, 2, 4, 3


def random(*shape, seed=0, scale=1.0):
    return (np.random.default_rng(seed).normal(size=shape) * scale).astype(np.float32)


def some_mask(shape, seed=1):
    """Real and padded positions, both at least one."""
    mask = np.random.default_rng(seed).random(shape) < 0.6
    mask.flat[0], mask.flat[-1] = True, False
    return mask


def running(variables):
    return {name: np.asarray(value) for name, value in variables["batch_stats"].items()}


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_batch_norm_in_training_uses_and_records_the_statistics_of_real_positions(shape, affine):
    x, mask = random(*shape) * 3 + 5, some_mask(shape[:-1])
    norm = MaskedBatchNorm(affine, momentum=0.9, epsilon=1e-3)
    variables = builders.random_variables(norm, x, mask, train=False)
    y, updated = builders.apply(norm, variables, x, mask, train=True, mutable="batch_stats")

    mean, var = oracle.statistics(x, mask)
    expected = oracle.normalise(x, mean, var, 1e-3)
    if affine:
        expected = expected * variables["params"]["scale"] + variables["params"]["bias"]
    np.testing.assert_allclose(y, expected, atol=1e-5)
    before = running(variables)
    np.testing.assert_allclose(updated["batch_stats"]["mean"], 0.9 * before["mean"] + 0.1 * mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(updated["batch_stats"]["var"], 0.9 * before["var"] + 0.1 * var, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_batch_norm_at_inference_uses_the_running_statistics(shape):
    x, mask = random(*shape), some_mask(shape[:-1])
    norm = MaskedBatchNorm()
    variables = builders.random_variables(norm, x, mask, train=False)
    params, stats = variables["params"], running(variables)
    expected = oracle.normalise(x, stats["mean"], stats["var"], 1e-5) * params["scale"] + params["bias"]
    np.testing.assert_allclose(builders.apply(norm, variables, x, mask, train=False), expected, atol=1e-5)


def test_batch_norm_variance_of_large_close_numbers_keeps_its_digits():
    x = np.float32(1000) + random(64, 1, scale=0.1)
    variables = {"batch_stats": {"mean": np.zeros(1, np.float32), "var": np.ones(1, np.float32)}}
    y, _ = builders.apply(MaskedBatchNorm(False), variables, x, np.ones(64, bool), train=True, mutable="batch_stats")
    np.testing.assert_allclose(np.std(y), 1.0, atol=5e-3)


def test_padded_positions_do_not_reach_the_statistics():
    mask = some_mask((4, 5))
    x = random(4, 5, 3)
    variables = builders.random_variables(Dice(), x, mask, train=False)
    y, stats = builders.apply(Dice(), variables, x, mask, train=True, mutable="batch_stats")
    garbage = np.where(mask[..., None], x, np.float32(1e3))
    other, other_stats = builders.apply(Dice(), variables, garbage, mask, train=True, mutable="batch_stats")
    np.testing.assert_array_equal(y[mask], other[mask])
    jax.tree.map(np.testing.assert_array_equal, stats, other_stats)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("train", [True, False])
def test_dice(shape, train):
    x, mask = random(*shape), some_mask(shape[:-1])
    variables = builders.random_variables(Dice(), x, mask, train=False)
    y, updated = builders.apply(Dice(), variables, x, mask, train=train, mutable="batch_stats")
    norm = variables["batch_stats"]["norm"]
    mean, var = oracle.statistics(x, mask) if train else (norm["mean"], norm["var"])
    np.testing.assert_allclose(y, oracle.dice(x, variables["params"]["alpha"], mean, var), atol=1e-5)
    if not train:
        jax.tree.map(np.testing.assert_array_equal, updated["batch_stats"], variables["batch_stats"])


def test_dice_by_hand():
    # Real values −1 and 1: mean 0, variance 1, so p = σ(±1) = 0.26894 and 0.73106; α = 0 leaves p·x.
    x, mask = np.array([[-1.0], [1.0], [50.0]], np.float32), np.array([True, True, False])
    variables = jax.jit(lambda: Dice().init(jax.random.key(0), x, mask, False))()
    y, _ = builders.apply(Dice(), variables, x, mask, train=True, mutable="batch_stats")
    np.testing.assert_allclose(y[:2, 0], [-0.2689414, 0.7310586], atol=1e-6)


@pytest.mark.parametrize("real", [0, 1], ids=["no real row", "one real row"])
def test_dice_is_finite_on_degenerate_batches(real):
    x, mask = random(4, 3), np.arange(4) < real
    variables = builders.random_variables(Dice(), x, mask, train=False)

    def loss(params, x):
        y, updated = Dice().apply(variables | {"params": params}, x, mask, True, mutable="batch_stats")
        return jnp.sum(y * y), (y, updated)

    grads, (y, updated) = jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True))(variables["params"], x)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((grads, y, updated)))
    if real == 0:
        jax.tree.map(np.testing.assert_array_equal, updated["batch_stats"], variables["batch_stats"])
        norm = variables["batch_stats"]["norm"]
        np.testing.assert_allclose(
            y, oracle.dice(x, variables["params"]["alpha"], norm["mean"], norm["var"]), atol=1e-6
        )


def test_dice_gradient_against_finite_differences():
    x, mask = random(5, 2), np.array([True, True, True, True, False])
    variables = builders.random_variables(Dice(), x, mask, train=False)
    weight = random(5, 2, seed=4) * mask[:, None]

    def loss(x):
        return jnp.sum(weight * Dice().apply(variables, x, mask, True, mutable="batch_stats")[0])

    def exact(x):
        return np.sum(weight * oracle.dice(x, variables["params"]["alpha"], *oracle.statistics(x, mask)))

    step = 1e-5 * np.eye(10).reshape(10, 5, 2)
    difference = [(exact(x + d) - exact(x - d)) / 2e-5 for d in step.astype(np.float64)]
    np.testing.assert_allclose(jax.jit(jax.grad(loss))(x).ravel(), difference, atol=1e-4)


@pytest.mark.parametrize("kind", ["relu", "sigmoid", "tanh", "prelu", "dice"])
def test_activations(kind):
    x, mask = random(6, 3), np.ones(6, bool)
    initial = jax.jit(lambda: Activate(kind).init(jax.random.key(0), x, mask, False))()
    start = {"prelu": {"alpha": np.full(3, 0.1)}, "dice": {"dice": {"alpha": np.zeros(3)}}}.get(kind, {})
    jax.tree.map(np.testing.assert_allclose, dict(initial.get("params", {})), start)
    variables = builders.random_variables(Activate(kind), x, mask, train=False)
    expected = [oracle.activate(kind, row, variables["params"], variables["batch_stats"]) for row in x]
    np.testing.assert_allclose(builders.apply(Activate(kind), variables, x, mask, train=False), expected, atol=1e-6)


@pytest.mark.parametrize(("hidden", "batch_norm"), [((5, 3), False), ((5, 3), True), ((), False)])
def test_mlp(hidden, batch_norm):
    x, mask = random(6, 4), np.ones(6, bool)
    mlp = MLP(hidden, "prelu", batch_norm)
    variables = builders.random_variables(mlp, x, mask, train=False)
    expected = [oracle.mlp(row, variables["params"], variables["batch_stats"], "prelu", batch_norm) for row in x]
    np.testing.assert_allclose(builders.apply(mlp, variables, x, mask, train=False), expected, atol=1e-5)


def test_dropout_acts_in_training_only():
    x, mask = np.ones((4, 4), np.float32), np.ones(4, bool)
    mlp = MLP((64,), "relu", dropout=0.5)
    variables = builders.random_variables(mlp, x, mask, train=False)
    apply = jax.jit(lambda key, train: mlp.apply(variables, x, mask, train, rngs={"dropout": key}), static_argnums=1)
    kept = mlp.apply(variables, x, mask, False)
    np.testing.assert_allclose(apply(jax.random.key(1), False), kept, rtol=1e-6)
    dropped = [apply(jax.random.key(seed), True) for seed in range(200)]
    assert not np.allclose(dropped[0], dropped[1])
    np.testing.assert_allclose(np.mean(dropped), np.mean(kept), atol=4 * np.std(dropped) / 200**0.5)


ATTENTION = {
    "mlp": TargetAttention(hidden=(6, 5), softmax=False),
    "mlp, softmax": TargetAttention(hidden=(6, 5), activation="prelu"),
    "bilinear": TargetAttention("bilinear", softmax=False),
    "bilinear, softmax": TargetAttention("bilinear"),
}


@pytest.fixture(params=ATTENTION)
def attention(request):
    return ATTENTION[request.param]


def attention_case(attention, query_width=H):
    """Five histories (empty, one behaviour, full, 2 and 3), all candidates real, variables without zeros."""
    query_BKE, key_BTH = random(B, K, query_width), random(B, T, H, seed=1)
    mask_BK, mask_BT = np.ones((B, K), bool), np.arange(T) < np.array([0, 1, 4, 2, 3])[:, None]
    arrays = query_BKE, key_BTH, mask_BK, mask_BT
    variables = builders.random_variables(attention, *arrays, train=False)
    return variables, arrays


@pytest.mark.parametrize("query_width", [H, A_QUERY])
def test_attention(attention, query_width):
    variables, (query_BKE, key_BTH, mask_BK, mask_BT) = attention_case(attention, query_width)
    params, stats = variables["params"], variables["batch_stats"]
    weight_BKT = builders.apply(attention, variables, query_BKE, key_BTH, mask_BK, mask_BT, train=False)

    def score(query, key):
        if attention.form == "bilinear":
            return oracle.bilinear_score(query, key, params)
        return oracle.mlp_score(query, key, params, stats, attention.activation)

    for b in range(B):
        for k in range(K):
            scores = [score(query_BKE[b, k], key_BTH[b, t]) for t in range(T)]
            expected = oracle.weights(scores, mask_BT[b], attention.softmax)
            np.testing.assert_allclose(weight_BKT[b, k], expected, atol=1e-5)
    assert ("query" in params) == (attention.form == "mlp" and query_width != H)


@pytest.mark.parametrize("train", [True, False])
def test_attention_to_padded_behaviours_is_exactly_zero(attention, train):
    variables, arrays = attention_case(attention)
    weight_BKT, _ = builders.apply(attention, variables, *arrays, train=train, mutable="batch_stats")
    assert (np.asarray(weight_BKT)[~np.broadcast_to(arrays[3][:, None], (B, K, T))] == 0).all()
    if attention.softmax:
        np.testing.assert_array_equal(weight_BKT[1, :, 0], 1)
        np.testing.assert_allclose(weight_BKT[1:].sum(-1), 1, rtol=1e-6)
    else:
        assert (weight_BKT[1, :, 0] != 1).all()


@pytest.mark.parametrize("train", [True, False])
def test_attention_ignores_what_stands_in_padding_and_how_much_of_it(attention, train):
    variables, (query_BKE, key_BTH, mask_BK, mask_BT) = attention_case(attention)
    mask_BK = mask_BK & ~(np.arange(B) == 2)[:, None] | (np.arange(K) == 0)  # a padded candidate too
    weight_BKT, stats = builders.apply(
        attention, variables, query_BKE, key_BTH, mask_BK, mask_BT, train=train, mutable="batch_stats"
    )
    longer_BTH = np.concatenate([np.where(mask_BT[..., None], key_BTH, 9), random(B, 3, H, seed=8)], axis=1)
    other_BKE = np.where(mask_BK[..., None], query_BKE, np.float32(-9))
    longer_mask_BT = np.pad(mask_BT, ((0, 0), (0, 3)))
    longer_BKT, longer_stats = builders.apply(
        attention, variables, other_BKE, longer_BTH, mask_BK, longer_mask_BT, train=train, mutable="batch_stats"
    )
    np.testing.assert_allclose(longer_BKT[..., :T][mask_BK], weight_BKT[mask_BK], atol=1e-6)
    assert (longer_BKT[..., T:] == 0).all()
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), stats, longer_stats)


def test_attention_of_empty_histories_has_finite_gradients(attention):
    variables, (query_BKE, key_BTH, mask_BK, mask_BT) = attention_case(attention)

    def loss(params, key_BTH):
        arrays = query_BKE, key_BTH, mask_BK, np.zeros_like(mask_BT)
        weight_BKT, _ = attention.apply(variables | {"params": params}, *arrays, True, mutable="batch_stats")
        return jnp.sum(weight_BKT * weight_BKT)

    value, grads = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))(variables["params"], key_BTH)
    assert value == 0
    assert all((np.asarray(g) == 0).all() for g in jax.tree.leaves(grads))


@pytest.mark.parametrize("K", [1, 3, 4, 7])
def test_an_export_projects_many_candidates_to_the_same_numbers(K, monkeypatch):
    monkeypatch.setattr(layers, "MANY", 4)
    kernel, bias_A = random(16, 6, seed=2), random(6, seed=3)
    B, T, symbolic_K = jax.export.symbolic_shape("B, T, K")
    symbolic = [jax.ShapeDtypeStruct((B, length, 4), np.float32) for length in (symbolic_K, T)]
    exported = jax.export.export(jax.jit(lambda *arrays: _project_pairs(*arrays, kernel, bias_A)))(*symbolic)
    query_BKH, key_BTH = random(3, K, 4), random(3, 5, 4, seed=1)
    want_BTKA = _project_pairs(query_BKH, key_BTH, kernel, bias_A)
    assert want_BTKA.shape == (3, 5, K, 6)
    np.testing.assert_allclose(exported.call(query_BKH, key_BTH), want_BTKA, rtol=1e-5, atol=1e-6)


def test_attention_scores_the_four_blocks_of_a_pair():
    pairs = query_BKH, key_BTH = random(2, 3, 4), random(2, 5, 4, seed=1)
    kernel, bias_A = random(16, 6, seed=2), random(6, seed=3)
    q_BTKH, k_BTKH = np.broadcast_arrays(query_BKH[:, None], key_BTH[:, :, None])
    blocks = np.concatenate([q_BTKH, k_BTKH, q_BTKH - k_BTKH, q_BTKH * k_BTKH], axis=-1)
    np.testing.assert_allclose(_project_pairs(*pairs, kernel, bias_A), blocks @ kernel + bias_A, rtol=1e-4, atol=1e-5)
