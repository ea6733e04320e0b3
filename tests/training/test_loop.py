import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from dienjax import Loader, ModelConfig, PaddedArrays, fit, fit_store
from dienjax.errors import Interrupted
from dienjax.training import loop
from dienjax.training.checkpoint import steps
from dienjax.training.evaluation import evaluate, store_split
from dienjax.training.progress import read_metrics

STEPS = 10


def final_state(run):
    return run.restore("last", run.optimizer())[0]


def assert_same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def lines(run, kind):
    """Those of a kind, without what they say the run took, which differs from run to run."""
    taken = {"seconds", "peak_memory_bytes"}
    found = [line for line in read_metrics(run.path / "metrics.jsonl") if line["kind"] == kind]
    return [{key: value for key, value in line.items() if key not in taken} for line in found]


class StopAfter:
    """A data set that calls `act` when it is asked for the batch number `n`, which is ahead of the steps."""

    def __init__(self, dataset, n, act):
        self.schema, self.length_N, self.user_N = dataset.schema, dataset.length_N, dataset.user_N
        self.dataset, self.n, self.act = dataset, n, act

    def rows(self, index_B, T, epoch):
        self.n -= 1
        if self.n == 0:
            self.act()
        return self.dataset.rows(index_B, T, epoch)


def splits(config, store):
    return store_split(config, store, "train_all", auxiliary=True), store_split(config, store, "valid")


def test_a_run_learns_and_leaves_its_folder(run, drift_store):
    assert {"config.toml", "schema.json", "store.json", "metrics.jsonl", "curves.png", "checkpoints", "vocab"} <= set(
        os.listdir(run.path)
    )
    train, valid = lines(run, "train"), lines(run, "valid")
    assert train[-1]["step"] == 2 * STEPS and train[-1]["loss"] < train[0]["loss"]
    assert {"loss", "ctr_loss", "auxiliary_loss", "auc", "rows_per_second"} <= train[0].keys()
    assert [line["step"] for line in valid] == [STEPS, 2 * STEPS]
    best = max(valid, key=lambda line: line["auc"])
    assert steps(run.path, "best") == [best["step"]]
    assert evaluate(run, drift_store, "valid")["auc"] == pytest.approx(best["auc"], abs=1e-6)


def test_an_existing_folder_is_refused(run, config, drift_store):
    with pytest.raises(FileExistsError, match="--force"):
        fit_store(config, drift_store, run.path, progress=False)


def test_resuming_a_finished_run_changes_nothing(run, config, drift_store):
    before = (run.path / "metrics.jsonl").read_text()
    fit_store(config, drift_store, run.path, resume=True, progress=False)
    assert (run.path / "metrics.jsonl").read_text() == before


def test_resume_refuses_another_config(run, config, drift_store):
    changed = replace(config, loss=replace(config.loss, alpha=0.25))
    with pytest.raises(ValueError, match=r"loss.alpha: 1.0 -> 0.25"):
        fit_store(changed, drift_store, run.path, resume=True, progress=False)


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_a_signal_saves_and_the_resumed_run_ends_the_same(run, config, drift_store, tmp_path, number):
    train, valid = splits(config, drift_store)
    before = signal.getsignal(number)
    stopping = StopAfter(train, STEPS + 3, lambda: signal.raise_signal(number))
    with pytest.raises(Interrupted) as stopped:
        fit(config, stopping, valid, tmp_path / "run", store=drift_store, progress=False)
    assert stopped.value.number == number
    assert STEPS < steps(tmp_path / "run", "last")[-1] <= STEPS + 3
    assert signal.getsignal(number) is before
    resumed = fit(config, train, valid, tmp_path / "run", resume=True, progress=False)
    assert_same(final_state(resumed), final_state(run))


def test_a_signal_stops_a_validation_which_the_resumed_run_makes_up_for(run, config, drift_store, tmp_path):
    train, valid = splits(config, drift_store)
    stopping = StopAfter(valid, 1, lambda: signal.raise_signal(signal.SIGTERM))
    with pytest.raises(Interrupted):
        fit(config, train, stopping, tmp_path / "run", store=drift_store, progress=False)
    stopped = type(run).open(tmp_path / "run")
    assert steps(stopped.path, "last")[-1] == STEPS and not lines(stopped, "valid")
    resumed = fit(config, train, valid, tmp_path / "run", resume=True, progress=False)
    assert lines(resumed, "valid") == lines(run, "valid")
    assert_same(final_state(resumed), final_state(run))


def test_a_signal_ends_a_loop_that_takes_no_steps(config, drift_store, tmp_path, monkeypatch):
    def epoch(loop):
        signal.raise_signal(signal.SIGTERM)
        yield from ()

    monkeypatch.setattr(loop.Loop, "_epoch", epoch)
    with pytest.raises(Interrupted):
        fit_store(config, drift_store, tmp_path / "run", progress=False)


@pytest.mark.parametrize(("choose", "chosen"), [("auc", 2 * STEPS), ("logloss", STEPS)])
def test_the_best_checkpoint_is_the_one_of_fit_choose(
    config, drift_store, tmp_path, monkeypatch, capsys, choose, chosen
):
    measured = iter([{"auc": 0.6, "gauc": 0.6, "logloss": 0.6}, {"auc": 0.7, "gauc": 0.5, "logloss": 0.9}])
    scores = SimpleNamespace(metrics=lambda _: next(measured))
    monkeypatch.setattr(loop, "score", lambda *_: scores)
    config = replace(config, fit=replace(config.fit, choose=choose))
    finished = fit_store(config, drift_store, tmp_path / "run", progress=False)
    assert steps(finished.path, "best") == [chosen]
    assert ("step 20 has validation log loss 0.900" in capsys.readouterr().err) == (choose == "auc")


def test_a_far_larger_split_is_named_also_without_a_progress_bar(config, drift_store, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(loop.Loop, "steps", lambda *_: (_ for _ in ()))
    info = drift_store.info | {"samples": drift_store.info["samples"] | {"train_all": 10**6}}
    monkeypatch.setattr(loop, "store_split", lambda *_, **__: store_split(config, drift_store, "train"))
    alone = replace(config, data=replace(config.data, train="train"), loss=replace(config.loss, alpha=0))
    fit_store(alone, replace(drift_store, info=info), tmp_path / "run", progress=False)
    assert "--set data.train=train_all" in capsys.readouterr().err


def test_a_crash_resumes_from_the_last_checkpoint(run, config, drift_store, tmp_path):
    train, valid = splits(config, drift_store)

    def crash():
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError):
        fit(config, StopAfter(train, 8, crash), valid, tmp_path / "run", store=drift_store, progress=False)
    assert steps(tmp_path / "run", "last") == [4]
    with open(tmp_path / "run" / "metrics.jsonl", "a") as file:
        file.write('{"kind": "train", "ste')
    resumed = fit(config, train, valid, tmp_path / "run", resume=True, progress=False)
    assert_same(final_state(resumed), final_state(run))
    logged = [line["step"] for line in lines(resumed, "train")]
    assert logged == sorted(set(logged)) and logged[-1] == 2 * STEPS


SCRIPT = """
import sys
from dienjax import Config, Store, fit_store
fit_store(Config.load(sys.argv[1]), Store.open(sys.argv[2]), sys.argv[3], resume=True, progress=False)
"""


@pytest.mark.slow
def test_a_killed_run_ends_with_the_same_bits(run, config, drift_store, tmp_path):
    """SIGKILL in the middle of the second epoch; the run is then taken up by another process."""
    command = [sys.executable, "-c", SCRIPT, run.path / "config.toml", drift_store.path, tmp_path / "run"]
    process = subprocess.Popen(command)
    deadline = time.monotonic() + 120
    while not any(step > STEPS for step in steps(tmp_path / "run", "last")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.002)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert STEPS < steps(tmp_path / "run", "last")[-1] < 2 * STEPS
    subprocess.run(command, check=True)
    assert_same(final_state(type(run).open(tmp_path / "run")), final_state(run))


def test_a_damaged_checkpoint_falls_back_to_the_one_before(run, config, drift_store, tmp_path):
    train, valid = splits(config, drift_store)
    stopping = StopAfter(train, STEPS + 2, lambda: signal.raise_signal(signal.SIGINT))
    with pytest.raises(Interrupted):
        fit(config, stopping, valid, tmp_path / "run", store=drift_store, progress=False)
    newest = str(steps(tmp_path / "run", "last")[-1])
    files = tmp_path / "run" / "checkpoints" / "last" / newest
    data = max(files.rglob("*"), key=lambda path: path.stat().st_size if path.is_file() else 0)
    data.write_bytes(data.read_bytes()[:-50])
    with pytest.warns(UserWarning, match=newest):
        resumed = fit(config, train, valid, tmp_path / "run", resume=True, progress=False)
    assert_same(final_state(resumed), final_state(run))


def test_patience_stops_early_and_keeps_the_best(config, drift_store, tmp_path):
    still = replace(
        config,
        optimizer=replace(config.optimizer, learning_rate=1e-30),
        fit=replace(config.fit, epochs=9, patience=2),
        model=ModelConfig("DIN", 4, {"tower_activation": "relu", "attention_activation": "relu"}),
    )  # fmt: skip
    stopped = fit_store(still, drift_store, tmp_path / "run", progress=False)
    assert [line["step"] for line in lines(stopped, "valid")] == [STEPS, 2 * STEPS, 3 * STEPS]
    assert steps(stopped.path, "best") == [STEPS]
    patient = replace(still, fit=replace(still.fit, patience=3))
    stopped = fit_store(patient, drift_store, tmp_path / "run", resume=True, progress=False)
    assert [line["step"] for line in lines(stopped, "valid")] == [STEPS, 2 * STEPS, 3 * STEPS, 4 * STEPS]


@pytest.mark.slow
def test_validation_cadence_in_steps(config, drift_store, tmp_path):
    often = replace(config, fit=replace(config.fit, evaluate_every=8))
    finished = fit_store(often, drift_store, tmp_path / "run", progress=False)
    assert [line["step"] for line in lines(finished, "valid")] == [8, 16, 20]


def test_a_loss_that_is_not_finite_names_the_batch(config, drift_store, tmp_path):
    wild = replace(config, optimizer=replace(config.optimizer, name="sgd", learning_rate=1e30))
    with pytest.raises(FloatingPointError, match=r"step \d+ \(epoch 0, batch \d+ of 10, history length \d, samples \d"):
        fit_store(wild, drift_store, tmp_path / "run", progress=False)
    for step in steps(tmp_path / "run", "last"):
        assert np.isfinite(json.loads((tmp_path / "run/metrics.jsonl").read_text().splitlines()[-1])["loss"]), step


def arrays(schema, length_N, negatives=True, label=None):
    rng = np.random.default_rng(0)
    mask = np.arange(4) < np.asarray(length_N)[:, None]
    columns = {}
    for name, size in schema.sizes().items():
        columns[f"hist_{name}"] = rng.integers(2, size, mask.shape) * mask
        columns[name] = rng.integers(2, size, (len(mask), 2))
        if negatives:
            columns[f"neg_hist_{name}"] = rng.integers(2, size, mask.shape) * mask
    return PaddedArrays(schema, columns, np.tile([1, 0], (len(mask), 1)) if label is None else label)


@pytest.mark.parametrize(
    ("name", "length_N"),
    [
        pytest.param("DIEN", [0] * 64, id="empty"),
        pytest.param("DIEN", [1] * 64, id="length 1", marks=pytest.mark.slow),
        pytest.param("DIEN", [0, 1, 2, 3, 4] * 15, id="ragged"),
        pytest.param("DIN", [0, 1, 2, 3, 4] * 15, id="ragged DIN", marks=pytest.mark.slow),
    ],
)
def test_odd_histories_train_and_predict_finitely(config, drift_store, tmp_path, length_N, name):
    options = {"attention_hidden": (8,), "tower": (8,), "tower_activation": "dice"}
    odd = replace(config, model=replace(config.model, name=name, options=options), fit=replace(config.fit, epochs=1))
    data = arrays(drift_store.schema, length_N)
    finished = fit(odd, data, data, tmp_path / "run", progress=False)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(final_state(finished)))
    assert np.isfinite(evaluate(finished, data)["logloss"])


def test_single_class_validation_is_undefined_and_says_so(config, drift_store, tmp_path):
    once = replace(config, fit=replace(config.fit, epochs=1))
    data = arrays(drift_store.schema, [2] * 64)
    positives = arrays(drift_store.schema, [2] * 64, label=np.ones((64, 2)))
    with pytest.warns(UserWarning, match="one class only"):
        finished = fit(once, data, positives, tmp_path / "run", progress=False)
    assert lines(finished, "valid")[0]["auc"] is None
    assert np.isnan(evaluate(finished, positives)["auc"])


def test_regression_on_data_with_negatives_that_no_loss_asks_for(config, drift_store, tmp_path):
    to_numbers = replace(config, loss=replace(config.loss, task="regression", alpha=0.0))
    data = arrays(drift_store.schema, [3] * 64, label=np.full((64, 2), 2.5))
    finished = fit(to_numbers, data, data, tmp_path / "run", progress=False)
    assert evaluate(finished, data).keys() == {"rmse", "mae", "rows"}


@pytest.mark.slow
def test_tensorboard_files_on_request(config, drift_store, tmp_path):
    pytest.importorskip("tensorboardX")
    asked = replace(config, fit=replace(config.fit, epochs=1, tensorboard=True))
    finished = fit_store(asked, drift_store, tmp_path / "run", progress=False)
    assert list((finished.path / "tensorboard").iterdir())


def test_a_label_beyond_0_and_1_is_refused_in_a_binary_task(config, drift_store, tmp_path):
    data = arrays(drift_store.schema, [3] * 64, label=np.full((64, 2), 2.5))
    with pytest.raises(
        ValueError, match=r"label holds 2.5 in row 0 of the training data; expected 0 or 1 .* loss.task=\"regression\""
    ):
        fit(config, data, None, tmp_path / "run", progress=False)


def test_a_mistake_that_shows_before_training_leaves_no_folder(config, drift_store, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    asked = replace(config, fit=replace(config.fit, tensorboard=True))
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'dienjax\[tensorboard\]'"):
        fit_store(asked, drift_store, tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_validation_needs_no_length_that_training_does_not(config, drift_store, tmp_path):
    shorter = replace(config, data=replace(config.data, lengths=3))
    shorter, train, valid = loop.store_data(shorter, drift_store)
    how = {"store": drift_store, "init_from": None, "resume": False, "force": False, "progress": False}
    with loop.opened(shorter, train, valid, tmp_path / "run", **how) as made:
        assert len(made.loader.lengths) == 3
        assert set(made.valid.lengths) <= set(made.loader.lengths)
        assert made.valid.lengths != Loader(made.valid.dataset, 64, 3).lengths
