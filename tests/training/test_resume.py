import shutil
from dataclasses import replace

import jax
import numpy as np
import pytest

from dienjax import Config, Run, Store, fit, fit_store
from dienjax.drawing.curves import series
from dienjax.storage.manifest import manifest_of
from dienjax.training.evaluation import store_split
from dienjax.training.progress import read_metrics
from dienjax.training.resume import reopen, start


class First:
    """The first n samples of a data set."""

    def __init__(self, dataset, n):
        self.schema, self.length_N, self.user_N = dataset.schema, dataset.length_N[:n], dataset.user_N[:n]
        self.rows = dataset.rows


@pytest.fixture
def copy(run, tmp_path):
    shutil.copytree(run.path, tmp_path / "run")
    return tmp_path / "run"


def contents(folder):
    return {
        f: f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file() and f.name not in (".lock", "curves.png")
    }


def test_an_equal_store_elsewhere_resumes(copy, config, drift_store, tmp_path):
    shutil.copytree(drift_store.path, tmp_path / "store")
    before = contents(copy)
    fit_store(config, Store.open(tmp_path / "store"), copy, resume=True, progress=False)
    assert contents(copy) == before


def test_another_store_of_the_same_schema_is_refused(copy, config, drift_store, tmp_path):
    shutil.copytree(drift_store.path, tmp_path / "store")
    item_E = np.load(tmp_path / "store/events/item.npy")
    with manifest_of(tmp_path / "store"):
        np.save(tmp_path / "store/events/item.npy", np.roll(item_E, 1))
    before = contents(copy)
    with pytest.raises(
        ValueError, match=r"(?s)store.digest: '\w{64}' -> '\w{64}'.*trained on, then at .*/drift0/store"
    ):
        fit_store(config, Store.open(tmp_path / "store"), copy, resume=True, progress=False)
    assert contents(copy) == before


def test_fewer_samples_are_refused_with_both_counts(copy, config, drift_store):
    train = store_split(config, drift_store, "train_all", auxiliary=True)
    with pytest.raises(ValueError, match=r"(?s)train.rows: \d+ -> 300.*train.steps: 10 -> 5.*valid.rows: \d+ -> 0"):
        fit(config, First(train, 300), None, copy, resume=True, progress=False)


def test_a_run_that_recorded_less_is_still_compared(copy, config, drift_store):
    """One of before data.json, manifests and fit.choose: by the samples in store.json, and by where it stands."""
    (copy / "data.json").unlink()
    (copy / "manifest.json").unlink()
    text = (copy / "config.toml").read_text()
    (copy / "config.toml").write_text(text.replace('choose = "auc"\n', ""))
    fit_store(config, drift_store, copy, resume=True, progress=False)
    other = replace(drift_store, info=drift_store.info | {"samples": drift_store.info["samples"] | {"test": 1}})
    with pytest.raises(ValueError, match=r"store.samples of test: \d+ -> 1\n"):
        fit_store(config, other, copy, resume=True, progress=False)
    train = store_split(config, drift_store, "train_all", auxiliary=True)
    with pytest.raises(
        ValueError, match=r"stands at step 20, batch 0 of epoch 2, but an epoch of this data has 5 batches"
    ):
        fit(config, First(train, 300), None, copy, resume=True, progress=False)


@pytest.mark.parametrize("text", ["[1]", "{", '{"store": 3}'])
def test_a_damaged_record_is_named(copy, config, drift_store, text):
    (copy / "data.json").write_text(text)
    with pytest.raises(ValueError, match=r"data.json is damaged \(.*put back a copy"):
        reopen(copy, config, drift_store.schema, {}, None)


def test_a_batch_beyond_the_epoch_is_refused(run, monkeypatch):
    at = lambda step: (replace(run.initial_state(run.optimizer()), step=np.int32(step)), {"epoch": 0, "step": step})  # noqa: E731
    monkeypatch.setattr(Run, "restore", lambda *_: at(7))
    assert start(run, run.optimizer(), 8)[1].step == 7
    with pytest.raises(ValueError, match="batch 7 of epoch 0, but an epoch of this data has 7 batches"):
        start(run, run.optimizer(), 7)


@pytest.mark.slow
def test_more_epochs_end_as_if_they_had_been_asked_for_at_first(run, config, drift_store, tmp_path):
    once = replace(config, fit=replace(config.fit, epochs=1))
    fit_store(once, drift_store, tmp_path / "run", progress=False)
    longer = fit_store(config, drift_store, tmp_path / "run", resume=True, progress=False)
    assert longer.config == config and Config.load(tmp_path / "run/config.toml") == Run.open(run.path).config
    states = [r.restore("last", r.optimizer())[0] for r in (longer, run)]
    jax.tree.map(np.testing.assert_array_equal, *states)
    first, second = (series(read_metrics(r.path / "metrics.jsonl"), "valid", "logloss") for r in (longer, run))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(
    ("was", "now", "told"),
    [
        ({"patience": 2}, {"patience": 3}, ""),
        ({"patience": 2}, {"patience": 0}, ""),
        ({"patience": 2}, {"patience": 1}, "fit.patience: 2 -> 1"),
        ({"patience": 0}, {"patience": 3}, "fit.patience: 0 -> 3"),
        ({"epochs": 3}, {"epochs": 2}, "fit.epochs: 3 -> 2"),
        ({"choose": "auc"}, {"choose": "logloss"}, "fit.choose: 'auc' -> 'logloss'"),
        ({"epochs": 3}, {"epochs": 4, "seed": 1}, "fit.seed: 0 -> 1"),
    ],
)
def test_epochs_and_patience_may_grow_and_all_else_may_not(copy, config, drift_store, was, now, told):
    before, after = (replace(config, fit=replace(config.fit, **values)) for values in (was, now))
    before.save(copy / "config.toml")
    if told:
        with pytest.raises(ValueError, match=told) as error:
            reopen(copy, after, drift_store.schema, {}, None)
        assert "fit.epochs: 3 -> 4" not in str(error.value)
    else:
        assert reopen(copy, after, drift_store.schema, {}, None).config == after
    kept = Config.load(copy / "config.toml").fit
    assert kept == (before if told else after).fit


def test_a_cosine_has_no_more_epochs(copy, config, drift_store):
    cosine = replace(config, optimizer=replace(config.optimizer, schedule="cosine"))
    cosine.save(copy / "config.toml")
    patient = replace(cosine, fit=replace(cosine.fit, patience=0))
    assert reopen(copy, patient, drift_store.schema, {}, None).config == patient
    with pytest.raises(ValueError, match="with 9 epochs the earlier steps would have been different"):
        reopen(copy, replace(cosine, fit=replace(cosine.fit, epochs=9)), drift_store.schema, {}, None)
    assert Config.load(copy / "config.toml").fit.epochs == 2
