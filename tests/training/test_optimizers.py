"""Optimizers and schedules against values worked out by hand."""

import jax
import numpy as np
import optax
import pytest

from dienjax.training.optimizers import OptimizerConfig, learning_rate, make_optimizer

# name: config fields, {step: learning rate}; an epoch has 5 steps and there are 2 epochs
SCHEDULES = {
    "constant": ({}, {0: 1, 7: 1, 99: 1}),
    "constant, warm-up": ({"warmup_steps": 4}, {0: 0, 1: 0.25, 3: 0.75, 4: 1, 9: 1}),
    "cosine": ({"schedule": "cosine"}, {0: 1, 5: 0.5, 10: 0, 12: 0}),
    "cosine, warm-up": ({"schedule": "cosine", "warmup_steps": 4}, {0: 0, 2: 0.5, 4: 1, 7: 0.5, 10: 0}),
    "exponential": ({"schedule": "exponential", "decay": 0.25}, {0: 1, 5: 0.25, 10: 0.0625, 2.5: 0.5}),
    "staircase": ({"schedule": "staircase"}, {0: 1, 4: 1, 5: 0.5, 9: 0.5, 10: 0.25}),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_learning_rate(name):
    fields, expected = SCHEDULES[name]
    schedule = learning_rate(OptimizerConfig(learning_rate=0.2, **fields), steps_per_epoch=5, epochs=2)
    assert {step: float(schedule(step)) for step in expected} == pytest.approx(
        {step: 0.2 * rate for step, rate in expected.items()}, abs=1e-7
    )


@pytest.mark.parametrize("schedule", ["constant", "cosine", "exponential", "staircase"])
def test_an_epoch_of_no_steps_still_has_a_learning_rate(schedule):
    assert float(learning_rate(OptimizerConfig(schedule=schedule), 0, 0)(0)) == pytest.approx(1e-3)


# name: config fields, the gradients of successive steps, the weights after each; the weight starts at 2, rate 0.1
UPDATES = {
    "sgd": ({"name": "sgd"}, [0.5, -1], [1.95, 2.05]),
    "sgd, momentum": ({"name": "sgd", "momentum": 0.9}, [0.5, 0.5], [1.95, 1.95 - 0.1 * (0.9 * 0.5 + 0.5)]),
    "sgd, weight decay": ({"name": "sgd", "weight_decay": 0.25}, [0.5], [2 - 0.1 * (0.5 + 0.25 * 2)]),
    "sgd, clip": ({"name": "sgd", "clip_norm": 0.2}, [0.5, -0.1], [1.98, 1.99]),
    "sgd, clip and decay": ({"name": "sgd", "clip_norm": 0.2, "weight_decay": 0.25}, [0.5], [2 - 0.1 * (0.2 + 0.5)]),
    # the first step of Adam is the sign of the gradient; the second: m̂ = 0.04/0.19, v̂ = 0.001249/0.001999
    "adam": ({"name": "adam"}, [1, -0.5], [1.9, 1.9 - 0.1 * (0.04 / 0.19) / (0.001249 / 0.001999) ** 0.5]),
    # coupled, as in torch: decay enters the moments, so the first step is again a sign
    "adam, weight decay": ({"name": "adam", "weight_decay": 0.25}, [0], [1.9]),
    "adam, weight decay against the gradient": ({"name": "adam", "weight_decay": 0.25}, [-1], [2.1]),
    # decoupled: w − rate·decay·w beside Adam's own step
    "adamw": ({"name": "adamw", "weight_decay": 0.25}, [0], [2 - 0.1 * 0.25 * 2]),
    "adamw, gradient": ({"name": "adamw", "weight_decay": 0.25}, [1], [2 - 0.1 * (1 + 0.25 * 2)]),
    "adamw, no decay": ({"name": "adamw"}, [1], [1.9]),
    # optax starts the accumulator at 0.1
    "adagrad": ({"name": "adagrad"}, [0.5, 1], [2 - 0.05 / 0.35**0.5, 2 - 0.05 / 0.35**0.5 - 0.1 / 1.35**0.5]),
    "warm-up": ({"name": "sgd", "warmup_steps": 2}, [1, 1, 1], [2, 1.95, 1.85]),
}


@pytest.mark.parametrize("name", UPDATES)
def test_updates(name):
    fields, gradients, expected = UPDATES[name]
    tx = make_optimizer(OptimizerConfig(learning_rate=0.1, **fields), steps_per_epoch=5, epochs=2)
    update = jax.jit(tx.update)
    params = {"w": np.float32(2)}
    state, weights = tx.init(params), []
    for gradient in gradients:
        updates, state = update({"w": np.float32(gradient)}, state, params)
        params = optax.apply_updates(params, updates)
        weights.append(float(params["w"]))
    np.testing.assert_allclose(weights, expected, atol=2e-6)


def test_the_clipped_norm_is_that_of_the_whole_gradient():
    tx = make_optimizer(OptimizerConfig("sgd", learning_rate=1.0, clip_norm=1.0), 1, 1)
    params = {"a": np.zeros(1, np.float32), "b": np.zeros(1, np.float32)}
    updates, _ = tx.update({"a": np.float32([3]), "b": np.float32([4])}, tx.init(params), params)
    np.testing.assert_allclose([updates["a"][0], updates["b"][0]], [-0.6, -0.8], rtol=1e-6)


def test_rowwise_adagrad_keeps_one_accumulator_for_each_row_of_a_table():
    """Against NumPy; what is not a table is plain Adagrad, one accumulator a number."""
    tx = make_optimizer(OptimizerConfig("rowwise_adagrad", learning_rate=0.1), 1, 1)
    rng = np.random.default_rng(0)
    gradients = rng.normal(size=(3, 5, 4)).astype(np.float32)
    gradients[:, 2] = 0
    w = rng.normal(size=(5, 4)).astype(np.float32)
    params = {"embedder": {"item": w}, "tower": {"kernel": w}}
    state, row, plain, row_V, plain_VD = tx.init(params), w, w, np.full(5, 0.1), np.full((5, 4), 0.1)
    for g in gradients:
        updates, state = jax.jit(tx.update)({"embedder": {"item": g}, "tower": {"kernel": g}}, state, params)
        params = optax.apply_updates(params, updates)
        row_V, plain_VD = row_V + (g**2).mean(axis=1), plain_VD + g**2
        row, plain = row - 0.1 * g / np.sqrt(row_V + 1e-7)[:, None], plain - 0.1 * g / np.sqrt(plain_VD + 1e-7)
    np.testing.assert_allclose(params["embedder"]["item"], row, rtol=1e-5)
    np.testing.assert_allclose(params["tower"]["kernel"], plain, rtol=1e-5)
    np.testing.assert_array_equal(params["embedder"]["item"][2], w[2])
    assert state[0].sum_of_squares["embedder"]["item"].shape == (5,)


def test_the_default_is_plain_adam():
    assert OptimizerConfig() == OptimizerConfig("adam", 1e-3, "constant", clip_norm=0.0, weight_decay=0.0)
