"""The losses against loop oracles: what is averaged over what, and what happens when nothing is real."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import builders
from dienjax.models.output import Auxiliary, Output
from dienjax.training.losses import LossConfig, auxiliary_loss, ctr_loss, masked_mean, sum_of_squares, total_loss
from reference import losses as oracle

rng = np.random.default_rng(0)
BATCH = builders.make_batch()
B, K = BATCH.mask_BK.shape
S = BATCH.mask_BT.shape[1] - 1
LOGIT_BK = rng.normal(size=(B, K)).astype(np.float32) * 3
POSITIVE_BS, NEGATIVE_BS = rng.normal(size=(2, B, S)).astype(np.float32) * 3
MASK_BS = BATCH.mask_BT[:, 1:]
HIST_LABEL_BS = BATCH.hist_label_BT[:, 1:]
AUXILIARY = Auxiliary(POSITIVE_BS, NEGATIVE_BS, MASK_BS)
PARAMS = {
    "embedder": {"item": np.array([[1.0, 2.0]]), "city": np.array([[3.0]])},
    "tower": {"dense_0": {"kernel": np.array([[2.0]]), "bias": np.array([10.0])}, "out": {"kernel": np.array([[1.0]])}},
    "attention": {"kernel": np.array([[100.0]])},
}


def test_masked_mean_by_hand():
    x, mask = np.array([1.0, 5.0, 100.0]), np.array([True, True, False])
    assert masked_mean(x, mask) == 3
    assert masked_mean(x, ~mask | mask & False) == 100
    assert masked_mean(np.array([np.nan, 2.0]), np.array([False, True])) == 2


@pytest.mark.parametrize("task", ["binary", "regression"])
def test_ctr_loss_is_the_mean_over_real_candidates(task):
    label_BK = BATCH.label_BK if task == "binary" else rng.normal(size=(B, K)).astype(np.float32)
    loss = ctr_loss(LOGIT_BK, label_BK, BATCH.mask_BK, task)
    assert loss == pytest.approx(oracle.ctr(LOGIT_BK, label_BK, BATCH.mask_BK, task), rel=1e-6)


def test_losses_by_hand():
    one = np.ones((1, 1), np.float32)
    mask = one > 0
    assert ctr_loss(0 * one, one, mask) == pytest.approx(np.log(2))
    assert ctr_loss(2 * one, one, mask) == pytest.approx(np.log1p(np.exp(-2)))
    assert ctr_loss(2 * one, -1 * one, mask, "regression") == 9
    assert auxiliary_loss(Auxiliary(0 * one, 0 * one, mask)) == pytest.approx(np.log(2))
    # one step: half of −log σ(1) − log(1 − σ(−3))
    expected = (np.log1p(np.exp(-1)) + np.log1p(np.exp(-3))) / 2
    assert auxiliary_loss(Auxiliary(one, -3 * one, mask)) == pytest.approx(expected)


@pytest.mark.parametrize("labels", [None, HIST_LABEL_BS], ids=["all positive", "hist_label"])
def test_auxiliary_loss_is_the_mean_over_real_steps(labels):
    loss = auxiliary_loss(AUXILIARY) if labels is None else auxiliary_loss(AUXILIARY, labels)
    assert loss == pytest.approx(oracle.auxiliary(POSITIVE_BS, NEGATIVE_BS, MASK_BS, labels), rel=1e-6)


def test_a_step_labelled_0_is_trained_towards_0():
    gradient = jax.grad(lambda p, label: auxiliary_loss(Auxiliary(p, NEGATIVE_BS, MASK_BS), label))
    assert (gradient(POSITIVE_BS, jnp.ones((B, S)))[MASK_BS] < 0).all()
    assert (gradient(POSITIVE_BS, jnp.zeros((B, S)))[MASK_BS] > 0).all()
    toward_negative = jax.grad(lambda n: auxiliary_loss(Auxiliary(POSITIVE_BS, n, MASK_BS)))(NEGATIVE_BS)
    assert (toward_negative[MASK_BS] > 0).all()


LOSSES = {
    "binary": lambda x_BK, mask: ctr_loss(x_BK, jnp.ones_like(x_BK), mask),
    "regression": lambda x_BK, mask: ctr_loss(x_BK, jnp.ones_like(x_BK), mask, "regression"),
    "auxiliary": lambda x_BK, mask: auxiliary_loss(Auxiliary(x_BK, -x_BK, mask)),
}


@pytest.mark.parametrize("name", LOSSES)
def test_nothing_real_is_a_loss_of_0_and_no_gradient(name):
    value, grad = jax.value_and_grad(LOSSES[name])(LOGIT_BK, np.zeros((B, K), bool))
    assert value == 0
    assert (np.asarray(grad) == 0).all()
    empty = np.zeros((B, 0), np.float32)  # T = 1 has no auxiliary step
    assert LOSSES[name](empty, empty > 0) == 0


@pytest.mark.parametrize("name", LOSSES)
def test_padded_entries_get_no_gradient(name):
    grad = np.asarray(jax.grad(LOSSES[name])(LOGIT_BK, BATCH.mask_BK))
    assert (grad[~BATCH.mask_BK] == 0).all() and (grad[BATCH.mask_BK] != 0).all()


@pytest.mark.parametrize("logit", [1e4, -1e4])
@pytest.mark.parametrize("name", LOSSES)
def test_extreme_logits_are_finite(name, logit):
    value, grad = jax.value_and_grad(LOSSES[name])(np.full((2, 2), logit, np.float32), np.ones((2, 2), bool))
    assert np.isfinite(value) and np.isfinite(grad).all()


def test_extreme_logits_cost_what_they_should():
    wrong, one = np.full((1, 1), -1e4, np.float32), np.ones((1, 1), np.float32)
    assert ctr_loss(wrong, one, one > 0) == pytest.approx(1e4)
    assert ctr_loss(-wrong, one, one > 0) == 0


def test_sum_of_squares():
    assert sum_of_squares(PARAMS["embedder"]) == 1 + 4 + 9
    assert sum_of_squares(PARAMS["tower"], "kernel") == 4 + 1
    assert sum_of_squares({}) == 0


CTR = oracle.ctr(LOGIT_BK, BATCH.label_BK, BATCH.mask_BK)
AUX = oracle.auxiliary(POSITIVE_BS, NEGATIVE_BS, MASK_BS, HIST_LABEL_BS)
TOTALS = {
    "defaults": (LossConfig(), CTR + AUX),
    "alpha": (LossConfig(alpha=0.25), CTR + 0.25 * AUX),
    "l2_embedding": (LossConfig(alpha=0, l2_embedding=0.5), CTR + 0.5 * 14),
    "l2_tower": (LossConfig(alpha=0, l2_tower=0.1), CTR + 0.1 * 5),
    "regression": (
        LossConfig("regression", alpha=0),
        oracle.ctr(LOGIT_BK, BATCH.label_BK, BATCH.mask_BK, "regression"),
    ),
}


@pytest.mark.parametrize("name", TOTALS)
def test_total_loss(name):
    config, expected = TOTALS[name]
    loss, parts = total_loss(Output(LOGIT_BK, AUXILIARY), BATCH, PARAMS, config)
    assert loss == pytest.approx(expected, rel=1e-6)
    assert parts["loss"] == loss
    assert parts["auxiliary_loss"] == pytest.approx(AUX, rel=1e-6)
    assert parts["ctr_loss"] == pytest.approx(TOTALS["regression"][1] if name == "regression" else CTR, rel=1e-6)


def test_total_loss_without_auxiliary_or_hist_label():
    loss, parts = total_loss(Output(LOGIT_BK), BATCH, PARAMS, LossConfig())
    assert loss == pytest.approx(CTR, rel=1e-6) and parts.keys() == {"loss", "ctr_loss"}
    loss, _ = total_loss(Output(LOGIT_BK, AUXILIARY), BATCH.replace(hist_label_BT=None), PARAMS, LossConfig())
    assert loss == pytest.approx(CTR + oracle.auxiliary(POSITIVE_BS, NEGATIVE_BS, MASK_BS), rel=1e-6)


def test_history_labels_hold_for_each_of_separate_fields():
    """Two fields that are each extracted on their own: their auxiliary logits stand side by side."""
    slot_BS = np.broadcast_to(np.arange(1, MASK_BS.shape[1] + 1), MASK_BS.shape)
    both = Auxiliary(*(np.concatenate([x, x], axis=1) for x in (POSITIVE_BS, NEGATIVE_BS, MASK_BS, slot_BS)))
    _, parts = total_loss(Output(LOGIT_BK, both), BATCH, PARAMS, LossConfig())
    assert parts["auxiliary_loss"] == pytest.approx(AUX, rel=1e-6)
    short = builders.make_batch((0, 1), T=1, K=1)
    nothing = Auxiliary(*(np.zeros((2, 0), dtype) for dtype in (np.float32, np.float32, bool, np.int32)))
    _, parts = total_loss(Output(np.zeros((2, 1), np.float32), nothing), short, PARAMS, LossConfig())
    assert parts["auxiliary_loss"] == 0
