"""Flat arrays of a run's scores are those that `evaluate` measures."""

from dataclasses import replace

import numpy as np
import pytest
from measured_runs import CONFIG, REGRESSION, awkward_store, made_up

from dienjax import Config, FitConfig, Run, evaluate, prepare
from dienjax.report.scored import named, scored
from dienjax.training import metrics


@pytest.fixture(scope="module")
def awkward(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scored")
    return made_up(awkward_store(folder / "store"), folder / "run")


def test_metrics_are_those_of_evaluate_to_the_bit(run, drift_store):
    found = scored(run, drift_store, "test")
    assert found.metrics == evaluate(run, drift_store, "test")
    assert found.metrics == metrics.evaluate_scores(found.logit_M, found.label_M, found.user_M)
    assert found.metrics["logloss"] == pytest.approx(found.error_M.mean(), rel=1e-12)
    assert found.metrics["calibration"] == pytest.approx(found.prediction_M.sum() / found.label_M.sum())
    with pytest.raises(ValueError, match="did you mean 'test'"):
        scored(run, drift_store, "tset")


def test_candidates_of_rows_that_share_a_sample(awkward):
    shown, dataset = awkward.store.samples("test").candidates, awkward.dataset
    assert len(dataset.sample_N) > len(awkward.store.samples("test")), "long lists take several rows"
    for name, value_C in shown.field.items():
        np.testing.assert_array_equal(awkward.candidate(name), value_C)
    np.testing.assert_array_equal(awkward.label_M, shown.label_C)
    sample_C = np.repeat(np.arange(len(shown.first) - 1), np.diff(shown.first))
    np.testing.assert_array_equal(dataset.sample_N[awkward.row_M], sample_C)
    np.testing.assert_array_equal(awkward.user_M, awkward.store.samples("test").user_N[sample_C])
    assert awkward.scores.mask_NK[awkward.row_M, awkward.column_M].all()
    np.testing.assert_array_equal(awkward.scores.logit_NK[awkward.row_M, awkward.column_M], awkward.logit_M)
    assert (awkward.length_M == dataset.length_N[awkward.row_M]).all() and 0 in awkward.length_M


def test_candidates_that_are_drawn(drift_store, tmp_path, monkeypatch):
    monkeypatch.setattr("dienjax.report.scored.BLOCK", 7)
    found = made_up(drift_store, tmp_path / "run", "train_all")
    positive = found.candidate("item")[found.label_M == 1]
    np.testing.assert_array_equal(positive, drift_store.events["item"][found.dataset.end_N])
    assert len(found.candidate("category")) == 2 * len(found.dataset.end_N)


def test_regression(tmp_path):
    found = made_up(awkward_store(tmp_path / "store", regression=True), tmp_path / "run", config=REGRESSION)
    np.testing.assert_array_equal(found.prediction_M, found.logit_M)
    assert found.metrics["mae"] == pytest.approx(found.error_M.mean())


def test_runs_stand_side_by_side_on_the_same_candidates_only(awkward, drift_store, log, roles, tmp_path):
    (tmp_path / "x").mkdir()
    again = made_up(awkward.store, tmp_path / "x/run", seed=1)
    assert list(named([awkward, again])) == [f"{awkward.run.path.parent.name}/run", "x/run"]
    assert list(named([awkward])) == ["run"]
    other = made_up(prepare(log, tmp_path / "store", **roles), tmp_path / "other")
    with pytest.raises(ValueError, match="has store '"):
        named([awkward, other])
    with pytest.raises(ValueError, match=r"has split 'test', .* has 'valid'"):
        named([awkward, made_up(awkward.store, tmp_path / "valid", "valid")])
    with pytest.raises(ValueError, match=r"has loss\.task 'binary', .* has 'regression'"):
        named([awkward, replace(awkward, run=Run.create(tmp_path / "r", REGRESSION, awkward.store.schema))])
    seeds = [Config(CONFIG.model, fit=FitConfig(seed=n)) for n in (0, 1)]
    drawn = [made_up(drift_store, tmp_path / f"drawn{n}", "train", seeds[n]) for n in (0, 1)]
    with pytest.raises(ValueError, match=r"has fit.seed 0, .* has 1; .* whose candidates are stored"):
        named(drawn)
    assert len(named([made_up(drift_store, tmp_path / f"fixed{n}", "test", seeds[n]) for n in (0, 1)])) == 2
