import errno
import os
import shutil
import socket
import subprocess
import sys

import pytest

from dienjax import Run, fit_store
from dienjax.storage.lock import lock

HOLDER = """
import sys
from dienjax.storage.lock import lock
with lock(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def copy(run, tmp_path):
    shutil.copytree(run.path, tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def holder(copy):
    """Another process that holds the lock of the copied run."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", HOLDER, copy], **pipes) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


@pytest.mark.parametrize("how", ["resume", "force"])
def test_a_second_process_is_refused_with_the_name_of_the_first(holder, copy, config, drift_store, how):
    before = sorted(os.listdir(copy.parent))
    told = (
        rf"run is in use: process {holder.pid} on {socket.gethostname()} since \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d trains"
    )
    with pytest.raises(BlockingIOError, match=told):
        fit_store(config, drift_store, copy, **{how: True}, progress=False)
    assert sorted(os.listdir(copy.parent)) == before and Run.open(copy).chosen == "best"


def test_a_killed_holder_and_a_copied_folder_lock_nothing(holder, copy, tmp_path):
    shutil.copytree(copy, tmp_path / "again")
    with lock(tmp_path / "again"):
        holder.kill()
        holder.wait()
        with lock(copy):
            assert f"process {os.getpid()} on" in (copy / ".lock").read_text()


def test_the_lock_goes_with_a_new_run_from_its_first_moment(run, config, drift_store, tmp_path, monkeypatch):
    """With `force`, the folder is held before it stands under its name, and free once the training ended."""
    seen = []

    def steps(loop, arrived):
        with pytest.raises(BlockingIOError, match=f"process {os.getpid()}"), lock(loop.run.path):
            pass
        seen.append(loop.run.path)
        yield from ()

    monkeypatch.setattr("dienjax.training.loop.Loop.steps", steps)
    fit_store(config, drift_store, tmp_path / "run", progress=False)
    fit_store(config, drift_store, tmp_path / "run", force=True, progress=False)
    with lock(tmp_path / "run"):
        assert seen == [tmp_path / "run"] * 2


def test_a_file_system_without_locks_is_told_of(tmp_path, monkeypatch):
    def flock(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("dienjax.storage.lock.fcntl.flock", flock)
    with pytest.warns(UserWarning, match=r"cannot be locked .*No locks available"), lock(tmp_path):
        pass


def test_where_the_system_has_no_lock_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr("dienjax.storage.lock.fcntl", None)
    with lock(tmp_path), lock(tmp_path):
        assert os.listdir(tmp_path) == []
