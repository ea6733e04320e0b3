"""SIGKILL before each file operation in turn, however many there are: no moment between two of them is a bad one."""

import os
import shutil
import signal
import sys

import oracle
import pytest
from campaign import command, contents, left_behind, make_log, prepare_argv, scratch, start

OPERATIONS = {
    "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.symlink", "os.link", "os.truncate", "shutil.rmtree",
    "shutil.move", "ctypes.dlsym",
}  # fmt: skip
"""Audit events that Python raises before it acts: `os.replace` says "os.rename", renameat2 is looked up by ctypes."""


def die_before(number, root, function, *args):
    """Calls the function, and kills this process before its file operation of that number under `root`."""
    count = 0

    def note(event, given):
        nonlocal count
        if event == "open":
            counts = _under(root, given[0]) and (_writes(given[1]) or bool((given[2] or 0) & (os.O_WRONLY | os.O_RDWR)))
        elif event == "ctypes.dlsym":
            counts = given[1] == "renameat2"
        else:
            counts = event in OPERATIONS and any(_under(root, path) for path in given[:2])
        count += counts
        if counts and count == number:
            os.kill(os.getpid(), signal.SIGKILL)

    fsync = os.fsync

    def counted_fsync(file):
        note("os.remove", (str(root / "fsync"),))
        fsync(file)

    os.fsync = counted_fsync
    sys.addaudithook(note)
    function(*args)


def _under(root, path):
    return isinstance(path, str | bytes | os.PathLike) and os.fsdecode(path).startswith(str(root))


def _writes(mode):
    return mode is not None and any(letter in mode for letter in "wax+")


def each_operation(tally, tmp_path, many, make, act, sound):
    """Kills `act(folder)` before operation 1, 2, ... until one run gets through; after each the next start finishes.

    Args:
      make: puts into the folder what stands there before.
      act: the function and its arguments, for `start`.
      sound: what is wrong with the folder ("" if nothing); told whether the command has ended.
    """
    stride = max(1, round(1000 / many(1000)))
    number, killed = 1, True
    while killed:
        with scratch(tmp_path, f"before {number}") as folder:
            make(folder)
            ended = start(folder, die_before, number, folder, *act(folder)).end()
            killed = ended.killed
            wrong = sound(folder, ended=False) or ("" if killed or ended.code == 0 else str(ended))
            if killed and not wrong:
                again = start(folder, *act(folder)).end()
                wrong = f"the next start: {again}" if again.code else sound(folder, ended=True)
            tally.add("half-written" if wrong else "accepted rightly", f"before operation {number}: {wrong}")
        number += stride


@pytest.mark.parametrize("force", [False, True], ids=["new", "force"])
def test_prepare(force, with_store, counted, draw, many, tmp_path):
    want, earlier = oracle.store_facts(with_store.store), tmp_path / "earlier"
    (tmp_path / "other.csv").write_text(make_log(draw("other"), users=20).to_csv(index=False))
    assert start(tmp_path, command, *prepare_argv(tmp_path / "other.csv", earlier)).end().code == 0
    old = contents(earlier) if force else None

    def sound(folder, ended):
        there = contents(folder / "store")
        if not ended and there == old:
            return ""
        if there is None:
            return "nothing is there"
        left = left_behind(folder, "store") if ended else []
        return oracle.difference(oracle.store_facts(folder / "store"), want) or (f"left: {left}" if left else "")

    def make(folder):
        if force:
            shutil.copytree(earlier, folder / "store")

    def act(folder):
        # A kill after the last rename leaves the whole store: --force replaces it.
        there = (folder / "store").exists()
        return command, *prepare_argv(with_store.log, folder / "store", *["--force"] * there)

    with counted("killed before each operation: prepare" + force * " --force") as tally:
        each_operation(tally, tmp_path, many, make, act, sound)


def save_checkpoint(run, number):
    import numpy as np

    from dienjax.training import checkpoint
    from dienjax.training.step import TrainState

    state = TrainState(np.array(number, np.int32), {"a": np.full(3, number, np.float32)}, {}, {})
    checkpoint.save(run, "last", state, {"epoch": number})


def test_checkpoint(counted, many, tmp_path):
    """Of three saves: the newest whole one is never older than the second, and killed ones leave nothing in the end."""

    for number in (1, 2):
        ended = start(tmp_path, save_checkpoint, tmp_path / "run", number).end()
        assert ended.code == 0, ended

    def sound(folder, ended):
        damaged = oracle.damaged_checkpoints(folder / "run")
        steps = {int(p.name) for p in (folder / "run/checkpoints/last").iterdir() if p.name.isdigit()}
        if damaged or not steps >= ({2, 3} if ended else {2}):
            return f"damaged {damaged}, there are {steps}"
        left = left_behind(folder / "run/checkpoints/last", "2", "3") if ended else []
        return f"left: {left}" if left else ""

    with counted("killed before each operation: checkpoint.save") as tally:
        each_operation(
            tally, tmp_path, many, lambda folder: shutil.copytree(tmp_path / "run", folder / "run"),
            lambda folder: (save_checkpoint, folder / "run", 3), sound,
        )  # fmt: skip


def create_run(folder, config, store, force):
    from dienjax import Config, Run, Store

    opened = Store.open(store)
    Run.create(folder, Config.load(config), opened.schema, opened, force)


@pytest.mark.parametrize("force", [False, True], ids=["new", "force"])
def test_run(force, with_store, counted, many, tmp_path):
    w = with_store
    assert start(tmp_path, create_run, tmp_path / "whole", w.config, w.store, False).end().code == 0
    names = contents(tmp_path / "whole").keys()

    def make(folder):
        if force:
            assert start(folder, create_run, folder / "run", w.config, w.store, False).end().code == 0
            (folder / "run" / "old").write_text("old")

    def sound(folder, ended):
        there = contents(folder / "run")
        if there is None:
            return "nothing is there" if ended or force else ""
        if there.keys() != names and (ended or not force or there.keys() != {*names, "old"}):
            return f"there are {sorted(there)}"
        left = left_behind(folder, "run") if ended else []
        return f"left: {left}" if left else ""

    def act(folder):
        return create_run, folder / "run", w.config, w.store, (folder / "run").exists()

    with counted("killed before each operation: Run.create" + force * " force") as tally:
        each_operation(tally, tmp_path, many, make, act, sound)


def test_predict(with_run, counted, many, tmp_path):
    argv = ["predict", with_run.run, "--input", with_run.rows, "--force", "--output"]
    assert start(tmp_path, command, *argv, tmp_path / "want").end().code == 0
    want = (tmp_path / "want").read_bytes()

    def sound(folder, ended):
        there = (folder / "scored").read_bytes()
        left = left_behind(folder, "scored") if ended else []
        return "" if there == want or (there == b"old" and not ended) else f"left: {left}, {there[:40]!r}"

    with counted("killed before each operation: predict --force") as tally:
        each_operation(
            tally, tmp_path, many, lambda folder: (folder / "scored").write_bytes(b"old"),
            lambda folder: (command, *argv, folder / "scored"), sound,
        )  # fmt: skip
