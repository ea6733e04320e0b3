"""A store is whole or it is refused."""

import json
import shutil

import numpy as np
import pytest

from dienjax.data import store as store_module
from dienjax.data.store import Store
from dienjax.preparation.prepare import prepare
from dienjax.schema import Schema


@pytest.fixture
def copy(store, tmp_path):
    shutil.copytree(store.path, tmp_path / "copy")
    return tmp_path / "copy"


def test_round_trip(store, log):
    again = Store.open(str(store.path))
    assert again.schema == store.schema
    assert isinstance(again.schema, Schema)
    assert again.info == store.info
    assert store.splits == ["train", "valid", "test", "train_all"]
    assert store.hist_label_E.dtype == np.float32
    assert {c.dtype for c in (*store.events.values(), *store.users.values())} == {np.dtype(np.int32)}
    assert store.user_values().tolist() == sorted(log["user"].unique())
    vocabulary = store.vocabulary("item")
    assert vocabulary["id"].tolist() == list(range(2, store.schema.table("item").size))
    assert vocabulary["count"].is_monotonic_decreasing


def test_columns_stay_on_disk(store):
    assert not store.events["item"].flags.writeable
    assert not store.events["item"].flags.owndata


def test_an_existing_store_is_replaced_with_force_only(copy, log, roles):
    before = (copy / "store.json").read_text()
    with pytest.raises(FileExistsError, match="force=True"):
        prepare(log, copy, **roles, seed=5)
    assert (copy / "store.json").read_text() == before
    assert prepare(log, copy, **roles, seed=5, force=True).info["seed"] == 5
    assert [p.name for p in copy.parent.iterdir()] == ["copy"]


def test_what_is_no_store_is_never_replaced(log, roles, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("years of work")
    with pytest.raises(FileExistsError, match="not an event store"):
        prepare(log, tmp_path / "thesis", **roles, force=True)
    assert (tmp_path / "thesis" / "chapter.txt").read_text() == "years of work"


def test_a_failed_write_leaves_nothing(log, roles, tmp_path, monkeypatch):
    real, calls = store_module.save_array, []

    def breaks(*args):
        calls.append(args)
        if len(calls) == 6:
            raise OSError("disk full")
        real(*args)

    monkeypatch.setattr(store_module, "save_array", breaks)
    with pytest.raises(OSError, match="disk full"):
        prepare(log, tmp_path / "store", **roles)
    assert list(tmp_path.iterdir()) == []


def test_open_says_what_is_wrong(copy, tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder"):
        Store.open(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="not an event store"):
        Store.open(tmp_path / "empty")
    info = json.loads((copy / "store.json").read_text())
    for change, message in (
        ({"version": 99}, "version 99"),
        ({"format": "zip"}, "format 'zip'"),
        ({"schema_hash": "0"}, "hash"),
    ):
        (copy / "store.json").write_text(json.dumps(info | change))
        with pytest.raises(ValueError, match=message):
            Store.open(copy)
    (copy / "store.json").write_text('{"format": ')
    with pytest.raises(ValueError, match="cannot be read"):
        Store.open(copy)


@pytest.mark.parametrize("file", ["events/kind.npy", "users/age.npy", "hist_label.npy", "offsets.npy", "time.npy"])
def test_a_lost_or_cut_file_is_an_error(copy, file):
    whole = (copy / file).read_bytes()
    (copy / file).write_bytes(whole[:-8])
    with pytest.raises(ValueError, match="prepare the log again"):
        Store.open(copy)
    (copy / file).unlink()
    with pytest.raises(FileNotFoundError, match="incomplete"):
        Store.open(copy)


def test_lost_candidates_do_not_turn_a_test_into_a_training_split(copy):
    (copy / "splits" / "test" / "label.npy").unlink()
    with pytest.raises(FileNotFoundError, match="label"):
        Store.open(copy).samples("test")


def test_unknown_names_get_the_nearest(store):
    with pytest.raises(ValueError, match="did you mean 'train'"):
        store.samples("trian")
    with pytest.raises(ValueError, match="no table 'itm'; did you mean 'item'"):
        store.vocabulary("itm")


def test_pickles_are_not_read(copy):
    np.save(copy / "time.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(ValueError, match="cannot be read"):
        Store.open(copy)
