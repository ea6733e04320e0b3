import dataclasses
import json
import os
import platform
import shutil

import jax
import numpy as np
import pytest

import dienjax
from dienjax import Run, Store, evaluate, prepare
from dienjax.data.drift import DriftWorld


def test_opens_what_was_written(run, drift_store):
    again = Run.open(run.path)
    assert again.schema == run.schema and again.config.to_dict() == run.config.to_dict()
    assert again.store().path == drift_store.path
    assert again.vocabulary("item").equals(drift_store.vocabulary("item"))


def test_a_folder_that_is_no_run(tmp_path):
    with pytest.raises(FileNotFoundError, match="is not a run folder: it has no config"):
        Run.open(tmp_path)


def test_nothing_is_left_of_a_run_that_could_not_be_created(config, drift_store, tmp_path):
    broken = dataclasses.replace(drift_store, path=tmp_path / "gone")
    with pytest.raises(FileNotFoundError):
        Run.create(tmp_path / "run", config, drift_store.schema, broken)
    assert os.listdir(tmp_path) == []


def test_another_vocabulary_is_refused_with_the_difference(run, tmp_path):
    log = DriftWorld(users=200, events_min=2, events_max=9, categories=6, items=59).log()
    other = prepare(log, tmp_path / "store", user="user", item="item", time="time", attributes=["category"])
    with pytest.raises(ValueError, match=r"(?s)- table item: \d+ rows.*\+ table item: \d+ rows"):
        evaluate(run, other)


def test_a_store_that_moved_is_named(run, tmp_path):
    shutil.copytree(run.path, tmp_path / "run")
    (tmp_path / "run/store.json").write_text('{"path": "/nowhere/at/all"}')
    with pytest.raises(FileNotFoundError, match="--store"):
        Run.open(tmp_path / "run").store()
    assert isinstance(run.store(), Store)


@pytest.fixture
def made(config, drift_store, tmp_path):
    """A run folder before its training."""
    return Run.create(tmp_path / "run", config, drift_store.schema, drift_store).path


def test_versions_are_recorded(made):
    """Beside the manifest; a run of before there were any opens."""
    versions = json.loads((made / "versions.json").read_text())
    known = {"python": platform.python_version(), "dienjax": dienjax.__version__, "jax": jax.__version__}
    assert known | {"numpy": np.__version__} | versions == versions
    assert versions.keys() - known == {"numpy", "flax", "optax", "orbax-checkpoint"} and all(versions.values())
    assert "versions.json" not in json.loads((made / "manifest.json").read_text())
    (made / "versions.json").unlink()
    assert Run.open(made).schema


def test_damaged_files_are_named(made):
    for name in ("schema.json", "vocab/item.parquet", "vocab/category.parquet", "manifest.json", "store.json"):
        whole = (made / name).read_bytes()
        for harm in (b"", whole[:-9], whole[:9], whole.replace(b"item", b"itfm"), b"[1]", b"null", b"[" * 99_999):
            (made / name).write_bytes(harm)
            with pytest.raises((ValueError, FileNotFoundError)):
                _read_all(made, whole)
        (made / name).write_bytes(whole)
    _read_all(made)


def _read_all(path, store_json=None):
    run = Run.open(path)
    for table in run.schema.tables:
        run.vocabulary(table.name)
    run.store()
    if store_json and (path / "store.json").read_bytes() != store_json:
        raise ValueError


@pytest.mark.parametrize("text", [b"", b"[model", b"\xff", b"a = " + b"[" * 99_999, b"model = 3", b"[model]\nname = 5"])
def test_a_config_that_is_none(made, text):
    (made / "config.toml").write_bytes(text)
    with pytest.raises(ValueError, match=r"config\.toml"):
        Run.open(made)


def test_settings_that_are_lost_or_others_are_noticed(made):
    whole = (made / "config.toml").read_text()
    lines = whole.splitlines(keepends=True)
    for harm in (whole.replace("max_len = 50", "max_len = 58"), "".join(lines[:-1]), "".join(lines[:4]), whole + "\n"):
        assert harm != whole
        (made / "config.toml").write_text(harm)
        with pytest.raises(ValueError, match=r"config\.toml is not what training wrote, by its last line; restore it"):
            Run.open(made)
    (made / "config.toml").write_text(whole)
    Run.open(made).config.save(made / "config.toml")
    Run.open(made)


def test_a_run_of_before_there_was_a_manifest(made, drift_store):
    (made / "manifest.json").unlink()
    assert Run.open(made).vocabulary("item").equals(drift_store.vocabulary("item"))
    (made / "vocab/item.parquet").write_bytes(b"PAR1 and something else PAR1")
    with pytest.raises(ValueError, match=r"item\.parquet cannot be read .* it is damaged"):
        Run.open(made).vocabulary("item")


def test_force_replaces_a_run_and_nothing_else(made, config, drift_store, tmp_path):
    store = tmp_path / "stores" / "a"
    shutil.copytree(drift_store.path, store)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "a").symlink_to(made)
    for other in (store, tmp_path / "stores", tmp_path / "runs", tmp_path):
        with pytest.raises(FileExistsError, match="is not a run folder; it is never replaced"):
            Run.create(other, config, drift_store.schema, force=True)
    shutil.copytree(store, made / "store")
    with pytest.raises(FileExistsError, match=r"run/store, which is in use, is inside it"):
        Run.create(made, config, drift_store.schema, Store.open(made / "store"), force=True)
    (made / "old").touch()
    assert not (Run.create(made, config, drift_store.schema, force=True).path / "old").exists()
