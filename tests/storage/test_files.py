"""Files are whole or absent."""

import json

import pytest

from dienjax.storage.files import inside, new_file, read_object, sha256, write_json, write_text


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


@pytest.mark.parametrize(
    "text", ["", "{", "[1]", "null", "3", '{"a": NaN}', "[" * 100_000, '{"a":' * 100_000, b"\xff\xfe", "9" * 5000]
)
def test_what_is_no_object_is_an_error_that_names_the_file(tmp_path, text):
    (tmp_path / "a.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=r"a\.json cannot be read: "):
        read_object(tmp_path / "a.json")


def test_a_listed_file_is_inside(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "link").symlink_to(tmp_path / "other")
    for name in ("../other", "a/../../other", "/etc/hostname", "link"):
        with pytest.raises(ValueError, match=r"which is not in it; expected a path inside"):
            inside(tmp_path / "run", name)
    assert inside(tmp_path / "run", "vocab/item.json") == tmp_path / "run/vocab/item.json"
