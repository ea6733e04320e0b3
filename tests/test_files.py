"""Files and folders are whole or absent."""

import json

import pytest

from dienjax.files import new_file, new_folder, sha256, write_json, write_text


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def test_write_text_replaces_and_leaves_nothing_else(tmp_path):
    write_text(tmp_path / "a.txt", "one\n")
    write_text(str(tmp_path / "a.txt"), "zwei ü\r\n")
    assert (tmp_path / "a.txt").read_bytes() == "zwei ü\r\n".encode()
    assert names(tmp_path) == ["a.txt"]


def test_a_failed_write_keeps_the_old_file(tmp_path):
    write_text(tmp_path / "a.txt", "old")
    with pytest.raises(UnicodeEncodeError), new_file(tmp_path / "a.txt") as temporary:
        temporary.write_text("half" * 10_000 + "\ud800", encoding="utf-8")
    assert (tmp_path / "a.txt").read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_sha256(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256(str(tmp_path / "a")) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_write_json_round_trip(tmp_path):
    data = {"epoch": 3, "auc": None, "name": "köln", "list": [1, 2.5, True]}
    write_json(tmp_path / "a.json", data)
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == data


@pytest.mark.parametrize(("value", "error"), [(float("nan"), ValueError), (float("inf"), ValueError), ({1}, TypeError)])
def test_write_json_refuses_what_json_cannot_hold(tmp_path, value, error):
    with pytest.raises(error, match=r"a\.json.*turn NaN into None"):
        write_json(tmp_path / "a.json", {"x": value})
    assert names(tmp_path) == []


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


@pytest.mark.parametrize("kind", ["folder", "file", "link"])
def test_force_replaces_only_after_the_new_one_is_complete(tmp_path, kind):
    target, kept = tmp_path / "run", tmp_path / "kept"
    kept.mkdir()
    (kept / "old").write_text("old")
    if kind == "folder":
        target.mkdir()
        (target / "old").write_text("old")
    elif kind == "file":
        target.write_text("old")
    else:
        target.symlink_to(kept)
    with pytest.raises(KeyboardInterrupt), new_folder(target, force=True):
        raise KeyboardInterrupt
    assert (target if kind == "file" else target / "old").read_text() == "old"
    with new_folder(target, force=True) as folder:
        (folder / "new").write_text("new")
        assert (target if kind == "file" else target / "old").read_text() == "old"
    assert names(target) == ["new"]
    assert names(tmp_path) == ["kept", "run"]
    assert names(kept) == ["old"]  # replacing a link leaves what it pointed to
