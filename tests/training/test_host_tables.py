"""Tables on the host: the numbers of the lazy step, bit for bit, in memory and in files; and a run that resumes."""

import os
from dataclasses import replace

import jax
import numpy as np
import pytest
from test_lazy_rows import SCHEMA, random_batch

from dienjax import Config, Run, evaluate, fit_store
from dienjax.models import DIEN
from dienjax.training import layout
from dienjax.training.host_tables import init_host_state, make_host_eval_step, make_host_train_step
from dienjax.training.layout import DevicesConfig, Layout
from dienjax.training.lazy_rows import make_lazy_train_step, renumber
from dienjax.training.losses import LossConfig
from dienjax.training.optimizers import OptimizerConfig, make_optimizer
from dienjax.training.step import init_state, make_eval_step

MODEL = DIEN(SCHEMA, auxiliary_hidden=(4,), attention_hidden=(4,), tower=(4,), dropout=0.3)
LOSS, KEY = LossConfig(l2_embedding=0.01), jax.random.key(3)


@pytest.mark.parametrize(
    ("optimizer", "in_files"), [("adam", True), pytest.param("rowwise_adagrad", False, marks=pytest.mark.slow)]
)
def test_equals_the_lazy_step_bit_for_bit(optimizer, in_files, tmp_path):
    """The item's table on the host, the category's on the device."""
    where = Layout(SCHEMA, tables="host", small=10, folder=str(tmp_path) if in_files else "")
    tx = make_optimizer(OptimizerConfig(optimizer, learning_rate=0.1, clip_norm=1.0), 1, 1)
    lazy, host = make_lazy_train_step(MODEL, tx, LOSS, 0.1), make_host_train_step(MODEL, tx, LOSS, 0.1, where)
    one = init_state(MODEL, tx, random_batch(0), jax.random.key(0))
    other = init_host_state(MODEL, tx, random_batch(0), jax.random.key(0), where)
    assert isinstance(other.params["embedder"]["item"], np.ndarray) and where.hosted == {"item"}
    assert not isinstance(other.params["embedder"]["category"], np.ndarray)
    jax.tree.map(np.testing.assert_array_equal, one, other)
    for seed in range(4):
        rows = renumber(random_batch(seed), SCHEMA)
        one, first = lazy(one, rows, KEY)
        other, second = host(other, rows, KEY)
        jax.tree.map(np.testing.assert_array_equal, (one, first), (other, second))
    score, batch = make_host_eval_step(MODEL, where), random_batch(5)
    expected = make_eval_step(MODEL)(one.variables, batch)
    np.testing.assert_allclose(score(other.variables, renumber(batch, SCHEMA)), expected, atol=1e-6)
    assert not os.listdir(tmp_path), "the files have no names that could be left behind"


@pytest.mark.slow
def test_a_run_with_tables_on_the_host_resumes_and_is_evaluated(config, drift_store, tmp_path, monkeypatch):
    monkeypatch.setattr(layout, "SMALL", 10)
    there = replace(config, devices=DevicesConfig(tables="host", folder=str(tmp_path)))
    whole = fit_store(there, drift_store, tmp_path / "whole", progress=False)
    halved = replace(there, fit=replace(there.fit, epochs=1))
    fit_store(halved, drift_store, tmp_path / "parts", progress=False)
    parts = fit_store(there, drift_store, tmp_path / "parts", progress=False, resume=True)
    states = [run.restore("last", run.optimizer())[0] for run in (whole, parts)]
    jax.tree.map(np.testing.assert_array_equal, *states)
    on_device = Run(whole.path, config, whole.schema)
    assert evaluate(whole, drift_store)["auc"] == pytest.approx(evaluate(on_device, drift_store)["auc"], abs=1e-6)


def test_dense_rows_and_several_devices_are_refused(monkeypatch):
    with pytest.raises(ValueError, match=r'devices.tables is "host", and optimizer.rows is "dense".*"lazy"'):
        Config(devices=DevicesConfig(tables="host"), optimizer=OptimizerConfig(rows="dense"))
    monkeypatch.setattr(jax, "devices", lambda: [jax.local_devices()[0]] * 2)
    with pytest.raises(ValueError, match=r'devices.tables is "host".*there are 2: set devices.count=1'):
        Layout.of(DevicesConfig(tables="host"), SCHEMA, 4)
