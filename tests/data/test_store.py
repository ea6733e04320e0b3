"""A store is whole or it is refused."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from dienjax import Run, evaluate, fit_store
from dienjax.data import store as store_module
from dienjax.data.store import Store
from dienjax.export.split_parity import OnSplit
from dienjax.inspection.inspect import inspect_store
from dienjax.interop import runs
from dienjax.preparation.prepare import prepare
from dienjax.schema import Schema
from dienjax.storage.files import sha256
from dienjax.storage.manifest import manifest_of


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


def flip(file, at=-1):
    data = bytearray(file.read_bytes())
    data[at] ^= 1
    times = file.stat()
    file.write_bytes(data)
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))


FILES = [
    "manifest.json", "store.json", "schema.json", "offsets.npy", "time.npy", "hist_label.npy", "users.parquet",
    "events/item.npy", "users/age.npy", "vocab/item.parquet", "splits/train_all/end.npy", "splits/test/label.npy",
]  # fmt: skip


@pytest.mark.parametrize("at", [-1, 70], ids=["content", "header"])
@pytest.mark.parametrize("file", FILES)
def test_a_flipped_bit_is_noticed_before_anything_is_computed(copy, file, at):
    """Its size and time are as they were."""
    flip(copy / file, at)
    with pytest.raises(ValueError, match="prepare the log again"):
        Store.open(copy).verify()


def test_each_file_damaged_in_five_ways_is_one_clear_error(copy, store):
    rng = np.random.default_rng(0)
    files = sorted(p.relative_to(copy) for p in copy.rglob("*") if p.is_file())
    others = rng.permutation(files)
    for name, other in zip(files, others, strict=True):
        whole = (copy / name).read_bytes()
        bits = bytearray(whole)
        for at in rng.integers(0, len(bits), 3):
            bits[at] ^= 1 << rng.integers(8)
        swapped = (store.path / other).read_bytes() if other != name else b"0"
        for harm in (b"", whole[: rng.integers(len(whole))], bytes(bits), whole + b"0", swapped):
            (copy / name).write_bytes(harm)
            with pytest.raises((ValueError, FileNotFoundError), match=r"prepare the log again|format"):
                Store.open(copy).verify()
        (copy / name).write_bytes(whole)
    Store.open(copy).verify()


def test_a_log_in_the_store_that_it_would_replace_stays(copy, log, roles):
    log.to_parquet(copy / "log.parquet")
    for files in (copy / "log.parquet", f"{copy}/*.parquet", [str(copy / "log.parquet")]):
        with pytest.raises(FileExistsError, match=r"cannot be replaced while .*parquet, which is in use"):
            prepare(files, copy, **roles, force=True)
    assert (copy / "log.parquet").exists()


def test_every_file_is_in_the_manifest(store):
    listed = json.loads((store.path / "manifest.json").read_text())
    there = {p.relative_to(store.path).as_posix() for p in store.path.rglob("*") if p.is_file()}
    assert listed.keys() == there - {"manifest.json"}
    assert listed == {name: sha256(store.path / name) for name in listed}
    assert store.digest == sha256(store.path / "manifest.json")


def test_what_computes_from_a_store_refuses_a_damaged_one(drift_store, config, log, roles, tmp_path):
    shutil.copytree(drift_store.path, tmp_path / "copy")
    flip(tmp_path / "copy/splits/test/label.npy")
    damaged = Store.open(tmp_path / "copy")
    run = Run(tmp_path / "run", config, drift_store.schema)
    uses = {
        "train": lambda: fit_store(config, damaged, tmp_path / "run", progress=False),
        "evaluate": lambda: evaluate(run, damaged, "valid"),
        "prepare": lambda: prepare(log, tmp_path / "next", **roles, like=damaged.path),
        "export": lambda: OnSplit(run, {}, "valid", str(damaged.path)),
        "import": lambda: runs._schema(damaged.path),
        "inspect": lambda: inspect_store(damaged.path),
    }
    for use in uses.values():
        with pytest.raises(ValueError, match=r"damaged: splits/test/label.npy is not what was written; prepare the"):
            use()
    assert [p.name for p in tmp_path.iterdir()] == ["copy"]


def sealed(store):
    """The manifest fits, as if prepare had written what is there now."""
    with manifest_of(store):
        pass


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("offsets.npy", lambda a: a.astype(np.int32)),
        ("offsets.npy", lambda a: a[:0]),
        ("offsets.npy", lambda a: a.reshape(-1, 1)),
        ("time.npy", lambda a: a.astype(np.float32)),
        ("time.npy", lambda a: a.reshape(1, -1)),
        ("events/item.npy", lambda a: a.astype(">i4")),
        ("events/item.npy", lambda a: a.astype(np.int64)),
        ("users/age.npy", lambda a: a.astype(np.float32)),
        ("hist_label.npy", lambda a: a.astype(np.float64)),
        ("splits/test/end.npy", lambda a: a.astype(np.int32)),
        ("splits/test/candidate/item.npy", lambda a: a.astype(np.uint32)),
    ],
)
def test_arrays_of_another_kind_are_refused(copy, file, change):
    np.save(copy / file, change(np.load(copy / file)))
    sealed(copy)
    with pytest.raises(ValueError, match="prepare the log again"):
        Store.open(copy).samples("test")


HEADERS = [
    b"{'descr': '<i8', 'fortran_order': False, 'shape': (-1,), }",
    b"{'descr': '<i8', 'fortran_order': False, 'shape': (1000000000000,), }",
    b"{'descr': '<i8', 'fortran_order': False, 'shape': (1" + b"0" * 40 + b",), }",
    b"{'descr': '<i8', 'fortran_order': False, 'shape': (2,), }",
    b"{'descr': '<i8', 'fortran_order': False, 'shape': (None,), }",
    b"{'descr': '|O', 'fortran_order': False, 'shape': (2,), }",
    b"{'descr': [('a', '<i8')], 'fortran_order': False, 'shape': (2,), }",
    b"{'descr': '<zz', 'fortran_order': False, 'shape': (2,), }",
    b"(" * 5000,
    b"\xff\xfe\x00",
]


@pytest.mark.parametrize("header", HEADERS)
def test_whatever_a_header_claims(copy, header):
    file = copy / "time.npy"
    data = header + b" " * 10 + b"\n"
    file.write_bytes(b"\x93NUMPY\x01\x00" + len(data).to_bytes(2, "little") + data + bytes(64))
    sealed(copy)
    with pytest.raises(ValueError, match=r"time\.npy.*prepare the log again"):
        Store.open(copy)


@pytest.mark.parametrize(
    "change",
    [
        {"samples": None}, {"samples": []}, {"samples": {"train": -1}}, {"samples": {"train": 1.5}}, {"hist_label": 1},
        {"samples": {"../../pwned": 1}}, {"samples": {"/tmp/pwned": 1}}, {"fixed_candidates": ["other"]},
        {"fixed_candidates": [[]]}, {"fixed_candidates": "test"}, {"schema_hash": None}, {"version": None},
    ],
)  # fmt: skip
def test_a_store_json_of_other_values(copy, change):
    info = json.loads((copy / "store.json").read_text())
    (copy / "store.json").write_text(json.dumps(info | change))
    sealed(copy)
    with pytest.raises(ValueError, match=r"store\.json|version|cannot be the name of a file"):
        Store.open(copy)


@pytest.mark.parametrize("file", ["store.json", "schema.json", "manifest.json"])
@pytest.mark.parametrize("text", ["[]", "3", "null", "", '{"version": NaN}', "[" * 100_000])
def test_json_that_is_no_object(copy, file, text):
    (copy / file).write_text(text)
    with pytest.raises(ValueError, match="cannot be read"):
        Store.open(copy)


def test_a_manifest_that_lists_what_is_elsewhere(copy):
    listed = json.loads((copy / "manifest.json").read_text())
    (copy / "manifest.json").write_text(json.dumps({**listed, "../../etc/passwd": "0"}))
    with pytest.raises(ValueError, match=r"lists '\.\./\.\./etc/passwd' among its files, which is not in it"):
        Store.open(copy)


def test_a_store_that_was_replaced_since_is_not_mixed_with_the_new_one(copy, log, roles):
    old = Store.open(copy)
    new = prepare(log, copy, **roles, seed=5, force=True)
    for read in (old.verify, lambda: old.samples("train"), lambda: old.vocabulary("item"), old.user_values):
        with pytest.raises(ValueError, match="was replaced or damaged since it was opened"):
            read()
    assert old.digest != new.digest == Store.open(copy).digest
    new.verify()


def test_opening_meets_one_store_or_the_other(copy, log, roles, monkeypatch):
    """One that is replaced while it is opened is opened again."""
    real, replaced = store_module.load_array, []

    def replaces(file, *rest, **how):
        if not replaced and file.name == "time.npy":
            replaced.append(True)
            replaced.append(prepare(log, copy, **roles, seed=5, force=True))
        return real(file, *rest, **how)

    monkeypatch.setattr(store_module, "load_array", replaces)
    opened = Store.open(copy)
    opened.verify()
    assert opened.digest == replaced[1].digest


def test_a_store_on_a_disk_that_cannot_be_written_to(copy):
    for path in (*copy.rglob("*"), copy):
        path.chmod(0o555 if path.is_dir() else 0o444)
    Store.open(copy).verify()
    for path in (copy, *copy.rglob("*")):
        path.chmod(0o755)


PREPARE = """
import sys, pandas as pd
from dienjax import prepare
log = pd.DataFrame({"user": [u for u in range(40) for _ in range(5)], "item": [(7 * n) % 13 for n in range(200)],
                    "time": range(200)})
for n in range(3):
    store = prepare(log, sys.argv[1], user="user", item="item", time="time", seed=int(sys.argv[2]) + n, force=True)
    assert store.info["seed"] == int(sys.argv[2]) + n
"""


def test_two_that_prepare_one_store_both_end_well(tmp_path):
    both = [subprocess.Popen([sys.executable, "-c", PREPARE, tmp_path / "store", str(n)]) for n in (0, 100)]
    assert [process.wait(120) for process in both] == [0, 0]
    Store.open(tmp_path / "store").verify()
    assert [p.name for p in tmp_path.iterdir()] == ["store"]
