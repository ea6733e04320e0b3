"""Folders are whole or absent, and only their own kind gives way to a new one."""

import os
import signal
import subprocess
import sys

import pytest

from dienjax.storage import folders
from dienjax.storage.files import write_text
from dienjax.storage.folders import Purpose, new_folder

BOX = Purpose("a box", lambda path: (path / "box").is_file())


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def make_box(path, content="old"):
    path.mkdir()
    (path / "box").write_text(content)
    return path


def test_new_folder_appears_at_the_end(tmp_path):
    target = tmp_path / "deep" / "run"
    with new_folder(target) as folder:
        (folder / "x").write_text("1")
        assert not target.exists()
        assert folder.parent == target.parent
    assert (target / "x").read_text() == "1"
    assert names(target.parent) == ["run"]


def test_new_folder_refuses_an_existing_path(tmp_path):
    (tmp_path / "run").mkdir()
    with pytest.raises(FileExistsError, match=r"run already exists.*--force"), new_folder(tmp_path / "run"):
        pytest.fail("the work must not start")
    assert names(tmp_path) == ["run"]


def test_new_folder_refuses_a_path_that_came_into_being_meanwhile(tmp_path):
    with pytest.raises(FileExistsError), new_folder(tmp_path / "run"):
        write_text(tmp_path / "run", "someone else")
    assert (tmp_path / "run").read_text() == "someone else"
    assert names(tmp_path) == ["run"]


@pytest.fixture(params=["exchange", "two renames"])
def way(request, monkeypatch):
    """Both ways to replace a folder."""
    if request.param == "two renames":
        monkeypatch.setattr(folders, "_exchange", lambda *_: False)
    return request.param


def test_force_replaces_only_after_the_new_one_is_complete(tmp_path, way):
    box = make_box(tmp_path / "a")
    with pytest.raises(KeyboardInterrupt), new_folder(box, True, BOX):
        raise KeyboardInterrupt
    assert (box / "box").read_text() == "old"
    with new_folder(box, True, BOX) as folder:
        (folder / "new").write_text("new")
        assert (box / "box").read_text() == "old"
    assert names(tmp_path) == ["a"] and names(box) == ["new"]


def test_replacing_a_link_leaves_what_it_points_to(tmp_path, way):
    kept = make_box(tmp_path / "kept")
    (tmp_path / "a").symlink_to(kept)
    with new_folder(tmp_path / "a", True, BOX) as folder:
        (folder / "new").touch()
    assert names(tmp_path) == ["a", "kept"] and names(tmp_path / "a") == ["new"] and names(kept) == ["box"]


@pytest.mark.parametrize("what", ["thesis", "file", "link to a thesis", "dead link"])
@pytest.mark.parametrize("force", [False, True])
def test_what_is_not_of_the_kind_is_never_replaced(tmp_path, what, force):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter").write_text("years")
    target = tmp_path / ("thesis" if what == "thesis" else "target")
    if what == "file":
        target.write_text("years")
    elif what != "thesis":
        target.symlink_to(tmp_path / ("thesis" if "to" in what else "nowhere"))
    before = names(tmp_path)
    with pytest.raises(FileExistsError, match="is not a box; it is never replaced"), new_folder(target, force, BOX):
        pytest.fail("the work must not start")
    assert names(tmp_path) == before and (tmp_path / "thesis" / "chapter").read_text() == "years"


@pytest.mark.parametrize("target", [".", "..", "{box}", "{box}/in/.."])
def test_the_current_folder_and_what_is_above_it_stay(tmp_path, monkeypatch, target):
    box = make_box(tmp_path / "a")
    (box / "in").mkdir()
    monkeypatch.chdir(box if target == "." else box / "in")
    with pytest.raises(FileExistsError, match="while the current folder, which is in use, is inside it"):
        folders.check_free(target.format(box=box), True, BOX)


def test_what_is_read_stays(tmp_path):
    box = make_box(tmp_path / "a")
    with pytest.raises(FileExistsError, match=r"cannot be replaced while .*a/store, which is in use"):
        folders.check_free(box, True, BOX, [box / "store"])
    folders.check_free(box, True, BOX, [box, tmp_path / "ab", tmp_path])


KILLED = """
import os, signal, sys
from pathlib import Path
from dienjax.storage import folders
die = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
where, path = sys.argv[1:]
if where == "after the exchange":
    folders._exchange = lambda *names, do=folders._exchange: do(*names) and die()
elif where != "at work":
    folders._exchange, do = lambda *_: False, os.rename
    calls = []
    def rename(*names):
        do(*names)
        calls.append(names)
        if len(calls) == {"between the renames": 1, "after the renames": 2}[where]:
            die()
    os.rename = rename
with folders.new_folder(path, True, folders.Purpose("a box", lambda path: True)) as folder:
    (folder / "box").write_text("new")
    if where == "at work":
        die()
"""


@pytest.mark.parametrize(
    ("where", "found"),
    [("at work", "old"), ("after the exchange", "new"), ("between the renames", "old"), ("after the renames", "new")],
)
def test_the_next_writer_mends_what_a_kill_left(tmp_path, where, found):
    box = make_box(tmp_path / "a")
    (tmp_path / ".a.notes").write_text("not ours")
    killed = subprocess.run([sys.executable, "-c", KILLED, where, str(box)], check=False)
    assert killed.returncode == -signal.SIGKILL and len(names(tmp_path)) == 3
    assert box.exists() == (where != "between the renames")
    with new_folder(box, True, BOX):
        assert (box / "box").read_text() == found
        assert len(names(tmp_path)) == 3  # one is of this process
    assert names(tmp_path) == [".a.notes", "a"]


def test_a_folder_that_came_back_is_not_replaced_without_force(tmp_path):
    make_box(tmp_path / ".a.01234567.old")
    with pytest.raises(FileExistsError, match="a already exists"), new_folder(tmp_path / "a", purpose=BOX):
        pytest.fail("the work must not start")
    assert names(tmp_path) == ["a"]


def test_what_a_living_process_writes_is_left_alone(tmp_path):
    with new_folder(tmp_path / "a") as mine:
        with new_folder(tmp_path / "a") as other:
            assert mine.is_dir() and mine != other
        with pytest.raises(FileExistsError), new_folder(tmp_path / "a"):
            pytest.fail("the work must not start")
        os.rmdir(tmp_path / "a")
    assert names(tmp_path) == ["a"]


WRITER = """
import sys
from pathlib import Path
from dienjax.storage.folders import Purpose, new_folder
for _ in range(60):
    with new_folder(sys.argv[1], True, Purpose("a box", lambda path: True)) as folder:
        for name in "box", "lid":
            (folder / name).write_text(sys.argv[2])
"""


def test_a_reader_of_a_folder_that_two_replace_always_meets_a_whole_one(tmp_path):
    box = make_box(tmp_path / "a")
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(box), str(n)]) for n in range(2)]
    while any(writer.poll() is None for writer in writers):
        assert (box / "box").exists()
    assert [writer.returncode for writer in writers] == [0, 0]
    assert names(tmp_path) == ["a"] and (box / "box").read_text() == (box / "lid").read_text()
