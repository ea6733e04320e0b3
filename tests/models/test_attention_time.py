"""The term of time in the attention score: a number for each bucket, before the softmax."""

import jax
import numpy as np
import optax
import pytest

import builders
from dienjax.models import DIEN, DIN
from dienjax.training import microbatches
from dienjax.training.explanation import intermediates
from dienjax.training.losses import LossConfig
from dienjax.training.step import init_state, make_gradient

SIZES = {"attention_hidden": (4,), "tower": (5,)}
BATCH = builders.make_batch(schema=builders.TIMED)
MASK_BKT = np.broadcast_to(BATCH.mask_BT[:, None], (6, 3, 4))
MODELS = {
    "DIN": DIN(builders.TIMED, **SIZES),
    "DIN softmax": DIN(builders.TIMED, softmax=True, **SIZES),
    "DIEN": DIEN(builders.TIMED, attention="bilinear", auxiliary_hidden=(4,), **SIZES),
    "each field": DIEN(builders.TIMED, fields="separate", auxiliary="inner", **SIZES),
}


def both(name):
    """The model without the term and its variables, and the model with it."""
    model = MODELS[name]
    timed = model.clone(attention_time="gap")
    return model, timed, builders.random_variables(timed, BATCH)


def without(variables):
    params = {name: value for name, value in variables["params"].items() if name != "attention_time"}
    return variables | {"params": params}


def bias_of(variables):
    """[B, T]: the number of each behaviour's bucket."""
    params = variables["params"]
    bias_V = params["embedder"]["gap"] @ params["attention_time"]["weight"]
    return bias_V[BATCH.history["gap"]]


@pytest.mark.parametrize("name", MODELS)
def test_the_term_is_added_to_the_score(name):
    model, timed, variables = both(name)
    plain = intermediates(model, without(variables), BATCH).weight_BKT
    found = intermediates(timed, variables, BATCH).weight_BKT
    bias_BKT = np.broadcast_to(bias_of(variables)[:, None], MASK_BKT.shape)
    assert plain.keys() == found.keys()
    for module, weight_BKT in plain.items():
        if getattr(model, "softmax", True):
            expected = np.where(MASK_BKT, np.asarray(weight_BKT) * np.exp(bias_BKT), 0)
            expected /= np.maximum(expected.sum(axis=-1, keepdims=True), 1e-30)
        else:
            expected = np.where(MASK_BKT, weight_BKT + bias_BKT, 0)
        np.testing.assert_allclose(found[module], expected, atol=1e-5)
        assert np.abs(np.asarray(found[module]) - np.asarray(weight_BKT)).max() > 0.01


@pytest.mark.parametrize("name", MODELS)
def test_it_starts_at_nothing_and_learns(name):
    model, timed, _ = both(name)
    variables = timed.init(jax.random.key(0), BATCH)
    without_BK = model.apply(without(variables), BATCH).logit_BK
    np.testing.assert_array_equal(timed.apply(variables, BATCH).logit_BK, without_BK)

    def total(params):
        return timed.apply(variables | {"params": params}, BATCH).logit_BK[BATCH.mask_BK].sum()

    assert (jax.grad(total)(variables["params"])["attention_time"]["weight"] != 0).all()


@pytest.mark.parametrize("name", MODELS)
def test_no_term_costs_no_parameter(name):
    model, _, variables = both(name)
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), BATCH))
    assert jax.tree.structure(shapes["params"]) == jax.tree.structure(without(variables)["params"])


@pytest.mark.parametrize("kind", [DIN, DIEN])
def test_a_field_that_is_no_time_is_refused(kind):
    with pytest.raises(ValueError, match=r"attention_time='category' is no field .* known names: gap"):
        kind(builders.TIMED, attention_time="category").init(jax.random.key(0), BATCH)
    with pytest.raises(ValueError, match=r"attention_time='gap' is no field .* known names: none: prepare the log"):
        kind(builders.SCHEMA, attention_time="gap").init(jax.random.key(0), builders.make_batch())


def test_a_step_in_microbatches_is_that_on_the_whole_batch(monkeypatch):
    batch = builders.make_batch([i % 5 for i in range(8)], K=2, schema=builders.TIMED)
    monkeypatch.setattr(microbatches, "LEAST", 4)
    monkeypatch.setattr(microbatches, "CACHED", 4 * 4 * 2)
    sizes = {"attention_hidden": (4,), "tower": (5,), "attention_activation": "relu", "tower_activation": "relu"}
    model = DIEN(builders.TIMED, attention_time="gap", auxiliary_hidden=(4,), **sizes)
    state = init_state(model, optax.sgd(0.1), batch, jax.random.key(0))
    params = state.params | {"attention_time": {"weight": np.array([0.3, -0.5, 0.2], np.float32)}}
    state = state.replace(params=params)
    part, whole = (
        jax.jit(make_gradient(model, LossConfig(alpha=0.7), 0.1, platform))(state, batch, jax.random.key(7))
        for platform in ("cpu", "gpu")
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), part, whole)
