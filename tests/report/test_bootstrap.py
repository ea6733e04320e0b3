"""A replicate is the data with users drawn anew: held against rows that are copied by hand."""

import time

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from dienjax.report.bootstrap import Auc, Bootstrap, Ratio, Sampled
from dienjax.report.measures import MEASURES
from dienjax.report.section import Interval
from dienjax.training import metrics

RNG = np.random.default_rng(0)
USERS, ROWS = 30, 400
USER = np.sort(RNG.integers(0, USERS, ROWS)) * 7 + 3
LABEL = RNG.integers(0, 2, ROWS).astype(np.float32)
LOGIT = (RNG.integers(-3, 4, ROWS) + LABEL).astype(np.float32)  # many ties
GROUP = RNG.integers(0, 3, ROWS)


def resampled(weight_U):
    """The rows of each user, as often as the user is drawn, each draw as a user of its own."""
    rows, copies = [], []
    for u, user in enumerate(np.unique(USER)):
        for _ in range(int(weight_U[u])):
            rows.append(np.flatnonzero(user == USER))
            copies.append(np.full(len(rows[-1]), len(copies)))
    return np.concatenate(rows), np.concatenate(copies)


@pytest.mark.parametrize("task", ["binary", "regression"])
def test_a_weighted_measure_is_that_of_the_resampled_rows(task):
    bootstrap = Bootstrap.of(USER, 20, seed=3)
    statistics = {name: measure(LOGIT, LABEL, bootstrap.user_M) for name, measure in MEASURES[task].items()}
    grouped = {name: measure(LOGIT, LABEL, bootstrap.user_M, GROUP) for name, measure in MEASURES[task].items()}
    for weight_U in bootstrap.weights():
        assert weight_U.sum() == len(weight_U) == len(np.unique(USER))
        rows, user = resampled(weight_U)
        wanted = metrics.evaluate_scores(LOGIT[rows], LABEL[rows], user, task)
        for name, statistic in statistics.items():
            assert statistic(weight_U) == pytest.approx([wanted[name]], rel=1e-12), name
        for g in range(3):
            mine = GROUP[rows] == g
            wanted = metrics.evaluate_scores(LOGIT[rows][mine], LABEL[rows][mine], user[mine], task)
            for name, statistic in grouped.items():
                assert statistic(weight_U)[g] == pytest.approx(wanted[name], rel=1e-12), name


def test_auc_is_exact_with_weights_and_undefined_for_one_class():
    weight_U = np.array([3.0, 0.0, 1.0, 2.0])
    score, label, user = np.array([1, 1, 2, 0, 5]), np.array([1, 0, 0, 1, 1]), np.array([0, 0, 2, 3, 1])
    rows = np.repeat(np.arange(5), weight_U[user].astype(int))
    assert Auc(score, label, user)(weight_U)[0] == pytest.approx(roc_auc_score(label[rows], score[rows]), rel=1e-14)
    assert np.isnan(Auc(score, label, user, np.array([0, 1, 1, 0, 0]))(weight_U)).all()


def test_all_users_once_give_the_metrics_themselves_and_percentiles_of_the_replicates_the_ends():
    bootstrap = Bootstrap.of(USER, seed=1)
    found = bootstrap.sampled({"auc": Auc(LOGIT, LABEL, bootstrap.user_M)})["auc"]
    assert found.value_G == [metrics.auc(LOGIT, LABEL)]
    assert found.replicate_RG.shape == (200, 1)
    value, low, high = found.interval()
    assert (low, high) == tuple(np.quantile(found.replicate_RG, (0.025, 0.975))) and low < value < high


def test_intervals_cover_as_often_as_they_say():
    rng, covered = np.random.default_rng(0), 0
    for seed in range(200):
        user = np.repeat(np.arange(100), 3)
        value = np.repeat(rng.normal(size=100), 3)  # the rows of a user are the same: rows alone would mislead
        bootstrap = Bootstrap.of(user, seed=seed)
        mean = bootstrap.sampled({0: Ratio(value, np.ones(300), bootstrap.user_M)})[0].interval()
        covered += mean.low <= 0 <= mean.high
    assert 0.86 < covered / 200 < 0.99, "as many rows, taken as independent, would cover 0.74"


def test_differences_are_paired():
    better = LOGIT + 0.5 * LABEL
    bootstrap = Bootstrap.of(USER)
    a, b = bootstrap.sampled({n: Auc(s, LABEL, bootstrap.user_M) for n, s in enumerate((better, LOGIT))}).values()
    difference = (a - b).interval()
    np.testing.assert_array_equal((a - b).replicate_RG, a.replicate_RG - b.replicate_RG)
    assert difference.value == a.interval().value - b.interval().value
    assert difference.high - difference.low < a.interval().high - b.interval().low
    assert (a - a).interval() == Interval(0.0, 0.0, 0.0)
    again = Bootstrap.of(USER).sampled({0: Auc(better, LABEL, bootstrap.user_M)})[0]
    np.testing.assert_array_equal(again.replicate_RG, a.replicate_RG)
    other = Bootstrap.of(USER, seed=1).sampled({0: Auc(better, LABEL, bootstrap.user_M)})[0]
    assert (other.replicate_RG != a.replicate_RG).any()


def test_what_is_undefined_has_no_interval():
    one = Bootstrap.of(np.zeros(4, int))
    score, label = np.arange(4.0), np.array([0, 1, 0, 1])
    found = one.sampled({"auc": Auc(score, label, one.user_M), "none": Auc(score, np.ones(4), one.user_M)})
    assert found["auc"].interval() == Interval(0.75, None, None)
    assert found["none"].interval() == Interval(None, None, None)
    few = Sampled(np.array([0.5]), np.append(np.full(189, 0.5), np.full(11, np.nan))[:, None])
    assert few.interval() == Interval(0.5, None, None)
    enough = Sampled(np.array([0.5]), np.append(np.full(190, 0.5), np.full(10, np.nan))[:, None])
    assert enough.interval() == Interval(0.5, 0.5, 0.5)


def test_a_million_rows_take_seconds():
    rng, users = np.random.default_rng(0), 400_000
    bootstrap = Bootstrap.of(rng.integers(0, users, 1_000_000), 20)
    score, label = rng.normal(size=1_000_000), rng.random(1_000_000) < 0.1
    start = time.process_time()
    bootstrap.sampled({n: m(score, label, bootstrap.user_M) for n, m in MEASURES["binary"].items()})
    assert time.process_time() - start < 8
