"""Several seeds at once: the runs that training one after the other gives, up to rounding, early stops included."""

from dataclasses import replace

import numpy as np
import pytest

from dienjax import Config, Run, fit, fit_seeds, fit_store
from dienjax.training.checkpoint import named_leaves
from dienjax.training.layout import DevicesConfig
from dienjax.training.progress import read_metrics


@pytest.fixture(scope="module")
def three(config):
    """Two history lengths, so that the seeds' batches differ in theirs, and an early stop."""
    data, fit = replace(config.data, lengths=(4, 9)), replace(config.fit, seed=5, seeds=2, patience=1, epochs=3)
    return replace(config, data=data, fit=fit, optimizer=replace(config.optimizer, name="sgd", learning_rate=0.3))


def alone(config: Config, seed: int) -> Config:
    return replace(config, fit=replace(config.fit, seed=seed, seeds=1))


def last(run: Run):
    state, position = run.restore("last", run.optimizer())
    return {name: np.asarray(leaf) for name, leaf in named_leaves(state.params).items()}, position, int(state.step)


@pytest.mark.slow
@pytest.mark.parametrize("rows", ["lazy", "dense"])
def test_each_seed_is_the_run_that_it_is_alone(three, drift_store, tmp_path, rows):
    config = replace(three, optimizer=replace(three.optimizer, rows=rows))
    runs = fit_seeds(config, drift_store, tmp_path / "together", progress=False)
    assert [run.path.name for run in runs] == ["seed5", "seed6"]
    for seed, run in zip((5, 6), runs, strict=True):
        one = fit_store(alone(config, seed), drift_store, tmp_path / str(seed), progress=False)
        assert run.config == one.config
        (got, got_at, got_step), (want, want_at, want_step) = last(run), last(one)
        assert got_step == want_step and got_at["worse"] == want_at["worse"]
        for name in want:
            np.testing.assert_allclose(got[name], want[name], atol=2e-5, err_msg=name)
        assert len(read_metrics(run.path / "metrics.jsonl")) == len(read_metrics(one.path / "metrics.jsonl"))


@pytest.mark.slow
def test_seeds_resume_where_each_of_them_was(three, drift_store, tmp_path):
    config = replace(three, fit=replace(three.fit, patience=0, epochs=2))
    whole = fit_seeds(config, drift_store, tmp_path / "whole", progress=False)
    first = replace(config, fit=replace(config.fit, epochs=1))
    fit_seeds(first, drift_store, tmp_path / "parts", progress=False)
    parts = fit_seeds(config, drift_store, tmp_path / "parts", progress=False, resume=True)
    for one, other in zip(whole, parts, strict=True):
        for name, leaf in last(one)[0].items():
            np.testing.assert_array_equal(leaf, last(other)[0][name])
    again = fit_seeds(config, drift_store, tmp_path / "parts", progress=False, resume=True)
    assert [run.path for run in again] == [run.path for run in parts], "nothing is left to do"


def test_several_seeds_are_not_for_fit_nor_for_tables_elsewhere(three, drift_store, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"fit.seeds is 2; expected 1: dienjax.fit_seeds"):
        fit(three, None, None, tmp_path / "run")
    monkeypatch.setattr("dienjax.training.layout.SMALL", 10)
    hosted = replace(three, devices=DevicesConfig(tables="host"))
    with pytest.raises(ValueError, match=r'fit.seeds is 2, which one device trains; got 1 devices.*"host"'):
        fit_seeds(hosted, drift_store, tmp_path / "run", progress=False)
