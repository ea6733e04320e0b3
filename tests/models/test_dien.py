"""DIEN against the oracle, and the causality of its two layers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import builders
from dienjax.models import DIEN
from reference import models as oracle
from variants import DIEN_SIZES, DIENS, VARIANTS, evaluate, variables

BATCH = builders.make_batch()


@pytest.fixture(params=DIENS)
def name(request):
    return request.param


def test_logits(name):
    expected = oracle.logits(VARIANTS[name], variables(name), BATCH)
    np.testing.assert_allclose(evaluate(name, BATCH).logit_BK, expected, atol=1e-5)


def test_auxiliary_logits(name):
    auxiliary = evaluate(name, BATCH).auxiliary
    np.testing.assert_array_equal(auxiliary.mask_BS, BATCH.mask_BT[:, 1:])
    positive, negative = oracle.auxiliary_logits(VARIANTS[name], variables(name), BATCH)
    real = BATCH.mask_BT[:, 1:]
    np.testing.assert_allclose(np.asarray(auxiliary.positive_logit_BS)[real], positive[real], atol=1e-5)
    np.testing.assert_allclose(np.asarray(auxiliary.negative_logit_BS)[real], negative[real], atol=1e-5)


@pytest.mark.parametrize("name", ["DIEN AGRU", "DIEN AIGRU", "DIEN minAUGRU"], ids=["mlp", "inner", "minGRU"])
def test_neither_the_candidate_nor_the_future_leaks_into_interest_states(name):
    """By the gradient of the auxiliary logits of each step s, summed over rows, in everything embedded."""

    def logits_S(e):
        e = e.replace(mask_BT=BATCH.mask_BT, mask_BK=BATCH.mask_BK)
        auxiliary = VARIANTS[name].apply(variables(name), e, method="net").auxiliary
        logits = {"positive": auxiliary.positive_logit_BS, "negative": auxiliary.negative_logit_BS}
        return {which: jnp.sum(logit * BATCH.mask_BT[:, 1:], axis=0) for which, logit in logits.items()}

    embedded = evaluate(name, BATCH, method="embed").replace(mask_BT=None, mask_BK=None)
    jacobians = jax.jit(jax.jacrev(logits_S), compiler_options=builders.FAST_COMPILE)(embedded)
    full_row = 2
    for which, jacobian in jax.tree.map(np.asarray, jacobians).items():
        for leak in (jacobian.candidate_BKE, jacobian.user_BU, jacobian.context_BKC):
            assert not leak.any()
        for s in range(3):
            seen = s + 1 if which == "positive" else s  # the positive logit also sees behaviour s + 1 itself
            assert not jacobian.history_BTE[s, :, seen + 1 :].any()
            assert (jacobian.history_BTE[s, full_row, : seen + 1] != 0).all()
            at_negative = np.arange(4) == (s + 1 if which == "negative" else -1)
            assert not jacobian.negative_BTE[s][:, ~at_negative].any()
            assert (jacobian.negative_BTE[s, full_row, at_negative] != 0).all()
            assert not jacobian.history_BTE[s][~BATCH.mask_BT].any()


def test_the_order_of_the_history_matters(name):
    backwards = {name: ids.copy() for name, ids in BATCH.history.items()}
    for ids in backwards.values():
        ids[2] = ids[2, ::-1]
    change = np.abs(evaluate(name, BATCH.replace(history=backwards)).logit_BK - evaluate(name, BATCH).logit_BK)
    assert (change[2] > 1e-4).any() and not change[:2].any()


def test_state_width_defaults_to_that_of_a_behaviour():
    def widths(**fields):
        shapes = jax.eval_shape(DIEN(builders.SCHEMA, **DIEN_SIZES, **fields).init, jax.random.key(0), BATCH)["params"]
        return [shapes[layer]["cell"]["candidate_bias"].shape[0] for layer in ("extractor", "evolution")]

    assert widths() == [5, 5]
    assert widths(state=7) == [7, 7]


def test_defaults_are_the_papers():
    dien = DIEN(builders.SCHEMA)
    assert (dien.kind, dien.gate, dien.softmax, dien.tower) == ("AUGRU", "paper", True, (200, 80))


def test_the_inner_product_needs_states_as_wide_as_behaviours():
    with pytest.raises(ValueError, match="state is 3, a behaviour is 5 wide"):
        DIEN(builders.SCHEMA, state=3, auxiliary="inner")
