"""A run with `model.dtype = "bfloat16"` goes through every command."""

from dataclasses import replace

import jax
import numpy as np
import pandas as pd
import pytest

from dienjax import evaluate, explain, fit_store, predict
from dienjax.report.describe import describe_file
from dienjax.training.evaluation import store_split


def in_bfloat16(config):
    return replace(config, model=replace(config.model, options=config.model.options | {"dtype": "bfloat16"}))


def test_its_weights_are_used_in_bfloat16(run, drift_store):
    """Evaluation, prediction and explanation, which agree with each other and differ a little from float32."""
    other = replace(run, config=in_bfloat16(run.config))
    assert other.model.dtype == "bfloat16"
    aucs = [evaluate(r, drift_store, "test")["auc"] for r in (run, other)]
    assert aucs[1] == pytest.approx(aucs[0], abs=0.01)
    split = store_split(run.config, drift_store, "test")
    batch = split.rows(np.arange(8), int(split.length_N[:8].max()), 0)
    exact, got = (np.asarray(explain(r, batch).arrays.logit_BK) for r in (run, other))
    assert 1e-5 < np.abs(got - exact).max() < 0.05
    values = {name: drift_store.vocabulary(name)["value"].tolist()[:3] for name in ("item", "category")}
    row = pd.DataFrame({f"hist_{name}": [v] for name, v in values.items()} | {name: [v] for name, v in values.items()})
    logit_K = explain(other, row).arrays.logit_BK[0]
    np.testing.assert_allclose(predict(other, row)["probability"][0], 1 / (1 + np.exp(-logit_K)), atol=1e-6)


@pytest.mark.slow
def test_it_trains_and_resumes_bit_by_bit_with_a_state_in_float32(run, config, drift_store, tmp_path):
    config = in_bfloat16(config)
    whole = fit_store(config, drift_store, tmp_path / "whole", progress=False)
    once = replace(config, fit=replace(config.fit, epochs=1))
    fit_store(once, drift_store, tmp_path / "parts", progress=False)
    parts = fit_store(config, drift_store, tmp_path / "parts", resume=True, progress=False)
    states = [r.restore("last", r.optimizer())[0] for r in (whole, parts, run)]
    jax.tree.map(np.testing.assert_array_equal, *states[:2])
    assert len({str(jax.tree.map(lambda leaf: leaf.dtype, state)) for state in states}) == 1
    metrics = [evaluate(r, drift_store, "valid") for r in (whole, run)]
    assert metrics[0]["auc"] == pytest.approx(metrics[1]["auc"], abs=0.03) and metrics[0] != metrics[1]
    with pytest.raises(ValueError, match=r"model\.dtype: 'bfloat16' -> 'float32'"):
        fit_store(replace(config, model=run.config.model), drift_store, tmp_path / "parts", resume=True)
    assert describe_file(whole.path).startswith("DIEN")
