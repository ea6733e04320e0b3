import dataclasses
import os
import shutil

import pytest

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
