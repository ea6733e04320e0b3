"""DIN against the oracle, and what is true of DIN alone."""

import jax
import numpy as np
import pytest

import builders
from dienjax.models import DIN
from reference import models as oracle
from variants import VARIANTS, evaluate, variables

BATCH = builders.make_batch()
DINS = ["DIN", "DIN softmax"]


@pytest.mark.parametrize("name", DINS)
def test_logits(name):
    expected = oracle.logits(VARIANTS[name], variables(name), BATCH)
    np.testing.assert_allclose(evaluate(name, BATCH).logit_BK, expected, atol=1e-5)


@pytest.mark.parametrize("name", DINS)
def test_the_order_of_the_history_does_not_matter(name):
    order = np.array([2, 0, 3, 1])
    shuffled = BATCH.replace(
        history={name: ids[:, order] for name, ids in BATCH.history.items()}, mask_BT=BATCH.mask_BT[:, order]
    )
    np.testing.assert_allclose(evaluate(name, shuffled).logit_BK, evaluate(name, BATCH).logit_BK, atol=1e-5)


def repeated(times):
    """One behaviour, seen `times` times."""
    batch = builders.make_batch((1, 1), T=4)
    mask_BT = np.broadcast_to(np.arange(4) < times, (2, 4))
    history = {name: np.where(mask_BT, ids[:, :1], 0) for name, ids in batch.history.items()}
    return batch.replace(history=history, mask_BT=mask_BT)


@pytest.mark.parametrize(("name", "keeps_intensity"), [("DIN", True), ("DIN softmax", False)])
def test_softmax_forgets_how_often_and_without_it_intensity_is_kept(name, keeps_intensity):
    once, thrice = (evaluate(name, repeated(times)).logit_BK for times in (1, 3))
    assert np.allclose(once[0], thrice[0], atol=1e-6) != keeps_intensity


def test_defaults_are_the_papers():
    din = DIN(builders.SCHEMA)
    assert (din.softmax, din.tower) == (False, (200, 80))
    assert din.attention_activation == din.tower_activation == "dice"


def test_parameters():
    model = DIN(builders.SCHEMA, attention_hidden=(4, 3), tower=(5, 3))
    variables = jax.eval_shape(model.init, jax.random.key(0), BATCH)
    dense = lambda rows, columns: {"kernel": (rows, columns), "bias": (columns,)}  # noqa: E731
    width = 5 + 5 + 3 + 3  # interest, candidate, user, context
    assert jax.tree.map(lambda a: a.shape, variables["params"]) == {
        "embedder": {"item": (12, 3), "category": (9, 2), "city": (8, 2), "slot": (8, 2)},
        "attention": dense(4 * 5, 4)
        | {
            "mlp": {
                "activation_0": {"dice": {"alpha": (4,)}},
                "dense_1": dense(4, 3),
                "activation_1": {"dice": {"alpha": (3,)}},
                "out": dense(3, 1),
            }
        },
        "tower": {
            "dense_0": dense(width, 5),
            "activation_0": {"dice": {"alpha": (5,)}},
            "dense_1": dense(5, 3),
            "activation_1": {"dice": {"alpha": (3,)}},
            "out": dense(3, 1),
        },
    }
    assert {a.dtype for a in jax.tree.leaves(variables)} == {np.dtype(np.float32)}
