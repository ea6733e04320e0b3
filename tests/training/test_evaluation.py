import numpy as np
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from dienjax import Loader, Run, evaluate
from dienjax.training.evaluation import eval_loader, score, store_split
from dienjax.training.placed import eval_step
from dienjax.training.step import make_eval_step


@pytest.fixture(scope="module")
def scores(run, drift_store):
    dataset = store_split(run.config, drift_store, "test")
    return score(make_eval_step(run.model), run.variables(), eval_loader(dataset, 64, (4,)))


def test_metrics_are_those_of_sklearn(run, drift_store, scores):
    metrics = evaluate(run, drift_store, "test")
    label, logit = scores.label_NK.ravel(), scores.logit_NK.ravel().astype(np.float64)
    assert metrics["auc"] == pytest.approx(roc_auc_score(label, logit))
    assert metrics["logloss"] == pytest.approx(log_loss(label, 1 / (1 + np.exp(-logit))), abs=1e-6)
    assert metrics["rows"] == 2 * len(drift_store.samples("test"))


def test_scores_stand_in_the_order_of_the_data_whatever_the_batches(run, drift_store, scores):
    dataset = store_split(run.config, drift_store, "test")
    shuffled = score(make_eval_step(run.model), run.variables(), Loader(dataset, 7, (2, 4), seed=3))
    np.testing.assert_allclose(shuffled.logit_NK, scores.logit_NK, atol=1e-5)
    np.testing.assert_array_equal(shuffled.label_NK, scores.label_NK)
    np.testing.assert_array_equal(shuffled.user_N, drift_store.samples("test").user_N)


def test_unknown_split_names_the_nearest(run, drift_store):
    with pytest.raises(ValueError, match="did you mean 'test'"):
        evaluate(run, drift_store, "tset")


def test_a_run_opened_again_is_not_compiled_again(run, drift_store):
    first, step = evaluate(run, drift_store), eval_step(run.model)
    compiled = step._cache_size()
    opened = Run.open(run.path)
    assert evaluate(opened, drift_store) == first
    assert eval_step(opened.model) is step and step._cache_size() == compiled > 0
