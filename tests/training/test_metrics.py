"""Metrics against hand-worked numbers and scikit-learn."""

import json
import math
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from dienjax.training import metrics

SCORE = np.array([0.1, 0.4, 0.4, 0.8])
LABEL = np.array([0, 0, 1, 1], np.float32)


def test_auc_by_hand():
    # positives 0.4 and 0.8 against negatives 0.1 and 0.4: three wins and a tie of four pairs
    assert metrics.auc(SCORE, LABEL) == 3.5 / 4
    assert metrics.auc(-SCORE, LABEL) == 0.5 / 4
    assert metrics.auc(np.zeros(4), LABEL) == 0.5
    assert metrics.auc(np.array([-np.inf, 1.0, 2.0, np.inf]), LABEL) == 1.0


def test_gauc_by_hand():
    # user 7: one pair, lost (2 rows); user 3: a win and a tie of two pairs (3 rows); user 5: no negative (1 row)
    user = np.array([7, 3, 7, 3, 5, 3])
    score = np.array([0.9, 0.5, 0.1, 0.5, 0.3, 0.2])
    label = np.array([0, 1, 1, 0, 1, 0])
    assert metrics.gauc(score, label, user) == pytest.approx((2 * 0.0 + 3 * 0.75) / 5, abs=1e-15)


@pytest.mark.parametrize("levels", [1, 3, 50, 10**9])
def test_auc_and_gauc_agree_with_sklearn_under_ties(levels):
    rng = np.random.default_rng(levels)
    N = 3000
    score, label, user = rng.integers(0, levels, N) / 7, rng.random(N) < 0.3, rng.integers(0, 400, N) * 1000 - 77
    assert metrics.auc(score, label) == pytest.approx(roc_auc_score(label, score), abs=1e-12)
    total = weight = 0.0
    for u in np.unique(user):
        rows = user == u
        if 0 < label[rows].sum() < rows.sum():
            total += rows.sum() * roc_auc_score(label[rows], score[rows])
            weight += rows.sum()
    assert metrics.gauc(score, label, user) == pytest.approx(total / weight, abs=1e-12)
    names = np.char.add("u", user.astype(str))
    assert metrics.gauc(score, label, names) == pytest.approx(total / weight, abs=1e-12)


def test_auc_by_group_with_weights_is_that_of_repeated_rows():
    rng = np.random.default_rng(0)
    score, label, group = rng.integers(0, 9, 500), rng.random(500) < 0.4, rng.integers(0, 5, 500) * 3
    weight = rng.integers(0, 4, 500)
    label[group == 6] = True
    by_group = metrics.AucByGroup(score, label, group)
    weighted, total = by_group(weight[by_group.positive_P], weight[by_group.negative_Q])
    assert by_group.group_G.tolist() == [0, 3, 6, 9, 12]
    for g, value, rows in zip(by_group.group_G, weighted, total, strict=True):
        again = np.repeat(np.flatnonzero(group == g), weight[group == g])
        assert rows == len(again)
        assert value == pytest.approx(metrics.auc(score[again], label[again]), nan_ok=True, abs=0)
    unweighted, rows = by_group()
    assert rows.tolist() == [np.sum(group == g) for g in by_group.group_G]
    assert unweighted[0] == metrics.auc(score[group == 0], label[group == 0])


def test_gauc_of_a_million_rows_is_quick():
    rng = np.random.default_rng(0)
    N = 1_000_000
    score, label, user = rng.standard_normal(N), rng.random(N) < 0.1, rng.integers(0, 200_000, N)
    start = time.perf_counter()
    value = metrics.gauc(score, label, user)
    assert time.perf_counter() - start < 5
    assert value == pytest.approx(0.5, abs=0.01)


def test_logloss_and_calibration_by_hand():
    logit = np.log(np.array([1.0, 3.0]))  # probabilities 1/2 and 3/4
    assert metrics.logloss(logit, np.array([1, 0])) == pytest.approx((math.log(2) + math.log(4)) / 2, abs=1e-12)
    assert metrics.calibration(logit, np.array([1, 0])) == pytest.approx(1.25, abs=1e-12)
    assert metrics.logloss(np.array([1000.0, -1000.0]), np.array([0, 0])) == 500.0
    assert metrics.logloss(np.array([np.inf, -np.inf]), np.array([1, 0])) == 0.0
    assert metrics.calibration(np.array([-800.0, 800.0]), np.array([0, 1])) == 1.0


def test_logloss_agrees_with_sklearn():
    rng = np.random.default_rng(0)
    logit, label = 3 * rng.standard_normal(500), rng.random(500) < 0.4
    assert metrics.logloss(logit, label) == pytest.approx(log_loss(label, 1 / (1 + np.exp(-logit))), abs=1e-12)


def test_evaluate_scores():
    got = metrics.evaluate_scores(SCORE, LABEL, np.array([1, 1, 1, 2]))
    assert list(got) == ["auc", "gauc", "logloss", "calibration", "rows", "positives"]
    assert (got["auc"], got["gauc"], got["rows"], got["positives"]) == (0.875, 0.75, 4, 2)
    got = metrics.evaluate_scores(np.array([1.0, 2.0]), np.array([4.0, 6.0]), np.array([1, 1]), "regression")
    assert got == {"rmse": pytest.approx(math.sqrt(12.5)), "mae": 3.5, "rows": 2}
    with pytest.raises(ValueError, match="task is 'ranking'; expected 'binary' or 'regression'"):
        metrics.evaluate_scores(SCORE, LABEL, LABEL, "ranking")


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_is_undefined(label):
    got = metrics.evaluate_scores(SCORE, np.full(4, label), np.arange(4))
    assert math.isnan(got["auc"])
    assert math.isnan(got["gauc"])
    assert math.isnan(got["calibration"]) == (label == 0)
    assert math.isfinite(got["logloss"])


def test_gauc_is_undefined_where_no_user_has_both_classes():
    assert math.isnan(metrics.gauc(SCORE, LABEL, np.array([1, 1, 2, 2])))


def test_no_rows():
    none = np.zeros(0)
    got = metrics.evaluate_scores(none, none, none)
    assert (got.pop("rows"), got.pop("positives")) == (0, 0)
    assert all(math.isnan(x) for x in got.values())
    got = metrics.evaluate_scores(none, none, none, "regression")
    assert got.pop("rows") == 0
    assert all(math.isnan(x) for x in got.values())


def test_to_json_turns_nan_into_none():
    text = json.dumps(metrics.to_json({"auc": math.nan, "rmse": math.inf, "rows": 3, "gauc": 0.5}), allow_nan=False)
    assert json.loads(text) == {"auc": None, "rmse": None, "rows": 3, "gauc": 0.5}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: metrics.auc(np.array([0.0, np.nan]), np.array([0, 1])),
            "auc: the score in row 1 is nan.*learning rate",
        ),
        (lambda: metrics.gauc(SCORE, LABEL, np.zeros(3)), r"gauc: arrays of shapes \[\(4,\), \(4,\), \(3,\)\]"),
        (lambda: metrics.auc(SCORE[None], LABEL[None]), "flatten them first"),
        (lambda: metrics.logloss(SCORE, np.array([0, 1, 2, 0])), r"logloss: label 2\.0 in row 2; expected 0 or 1"),
        (lambda: metrics.auc(SCORE, np.array([0, 1, np.nan, 0])), "the label in row 2 is nan"),
        (lambda: metrics.rmse(np.array([np.nan]), np.zeros(1)), "rmse: the score in row 0 is nan"),
    ],
)
def test_wrong_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def some_logits(mean, spread, B=4000, K=5, base=0.2):
    rng = np.random.default_rng(1)
    label = (rng.random((B, K)) < base).astype(np.float32)
    logit = (mean + spread * (rng.standard_normal((B, K)) + label)).astype(np.float32)
    return logit, label, rng.random((B, K)) < 0.7


@pytest.mark.parametrize(("mean", "spread"), [(0, 0.05), (0, 1), (-3, 0.5), (-5, 1), (-7, 0.5), (2, 4), (0, 10)])
def test_histogram_is_close_to_the_exact_auc(mean, spread):
    logit, label, mask = some_logits(mean, spread)
    counts = jax.jit(metrics.auc_histogram)(logit, label, mask)
    assert counts.shape == (2, 512)
    np.testing.assert_array_equal(counts.sum(1), [(mask & (label == 0)).sum(), (mask & (label == 1)).sum()])
    assert metrics.auc_from_histogram(counts) == pytest.approx(metrics.auc(logit[mask], label[mask]), abs=2e-3)


def test_histogram_by_hand():
    logit = jnp.array([[0.0, 5.0], [-5.0, 0.0], [1e30, jnp.nan]])
    label = jnp.array([[0.0, 1.0], [0.0, 1.0], [1.0, 1.0]])
    counts = metrics.auc_histogram(logit, label, jnp.array([[True, True], [True, True], [False, True]]), bins=3)
    np.testing.assert_array_equal(counts, [[1, 1, 0], [0, 1, 1]])
    assert metrics.auc_from_histogram(counts) == 3.5 / 4
    far = metrics.auc_histogram(jnp.array([[-jnp.inf, jnp.inf]]), jnp.array([[0.0, 1.0]]), jnp.ones((1, 2), bool))
    assert metrics.auc_from_histogram(far) == 1.0


def test_histograms_merge_by_addition():
    logit, label, mask = some_logits(-1, 1)
    whole = metrics.auc_histogram(logit, label, mask)
    parts = [metrics.auc_histogram(logit[i::3], label[i::3], mask[i::3]) for i in range(3)]
    np.testing.assert_array_equal(sum(parts), whole)


def test_masked_candidates_do_not_count():
    logit, label, mask = some_logits(0, 1)
    other = metrics.auc_histogram(np.where(mask, logit, np.nan), np.where(mask, label, 1 - label), mask)
    np.testing.assert_array_equal(other, metrics.auc_histogram(logit, label, mask))


def test_histogram_of_one_class_is_undefined():
    logit, label, mask = some_logits(0, 1)
    assert math.isnan(metrics.auc_from_histogram(metrics.auc_histogram(logit, np.zeros_like(label), mask)))
    assert math.isnan(metrics.auc_from_histogram(np.zeros((2, 512), np.int32)))


def test_histogram_keeps_strict_promotion():
    logit, label, mask = some_logits(0, 1)
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        metrics.auc_histogram(jnp.asarray(logit, jnp.bfloat16), label, mask)
