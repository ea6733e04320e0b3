"""Fetching from a local server: checked, whole or not there."""

import builtins
import hashlib
import threading
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from data_prep import amazon, movielens
from data_prep.fetch import check, fetched

pytest.importorskip("pooch", reason="the extra dienjax[fetch] is not installed")

CONTENT = b'{"a": 1}\n' * 1000


class Handler(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        if "half" in self.path:
            self.send_response(200)
            self.send_header("Content-Length", str(len(CONTENT)))
            self.end_headers()
            self.wfile.write(CONTENT[: len(CONTENT) // 2])
        else:
            super().do_GET()


@pytest.fixture
def site(tmp_path):
    """A web folder, and its address."""
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "a.json").write_bytes(CONTENT)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield folder, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_the_publishers_checksum(site, tmp_path):
    good, bad = f"md5:{hashlib.md5(CONTENT).hexdigest()}", f"md5:{'0' * 32}"
    with pytest.raises(ValueError, match=r"(?s)not the expected file.*download http.*by hand, put it as .*a\.json"):
        fetched(f"{site[1]}/a.json", tmp_path / "data", bad)
    assert list((tmp_path / "data").iterdir()) == []
    file = fetched(f"{site[1]}/a.json", tmp_path / "data", good)
    assert file.read_bytes() == CONTENT
    assert list((tmp_path / "data").iterdir()) == [file]
    (site[0] / "a.json").unlink()
    assert fetched(f"{site[1]}/a.json", tmp_path / "data", good) == file


def test_without_one_the_first_fetch_is_recorded_and_binds_the_later(site, tmp_path, capsys):
    file = fetched(f"{site[1]}/a.json", tmp_path / "data")
    digest = hashlib.sha256(CONTENT).hexdigest()
    assert digest in capsys.readouterr().out
    assert (tmp_path / "data" / "a.json.sha256").read_text() == f"{digest}  a.json\n"
    check(file)
    file.write_bytes(CONTENT + b" ")
    with pytest.raises(ValueError, match=f"expected {digest}, as recorded in"):
        check(file)
    assert fetched(f"{site[1]}/a.json", tmp_path / "data").read_bytes() == CONTENT
    (site[0] / "a.json").write_bytes(b"{}")
    file.unlink()
    with pytest.raises(ValueError, match="not the expected file"):
        fetched(f"{site[1]}/a.json", tmp_path / "data")
    assert not file.exists()


def test_a_web_page_instead_of_a_file_is_not_kept(site, tmp_path):
    (site[0] / "moved.json.gz").write_text("<html>moved</html>")
    with pytest.raises(ValueError, match="<html>"):
        fetched(f"{site[1]}/moved.json.gz", tmp_path / "data")
    assert list((tmp_path / "data").iterdir()) == []


@pytest.mark.parametrize("path", ["none.json", "half.json"])
def test_what_the_server_does_not_give_is_an_error_and_no_file(site, tmp_path, path):
    with pytest.raises(OSError, match=rf"{path} cannot be fetched .*by hand, put it as .*{path}"):
        fetched(f"{site[1]}/{path}", tmp_path / "data")
    assert list((tmp_path / "data").iterdir()) == []


def test_an_absent_server_is_said_with_what_to_do_by_hand(tmp_path):
    args = movielens.Args(folder=tmp_path, out=tmp_path / "s", fetch="ml-1m", mirror="http://127.0.0.1:9")
    with pytest.raises(
        OSError, match=r"ml-1m.zip by hand, put it as .*ml-1m\.zip, and run the command without --fetch"
    ):
        movielens.main(args)


def test_without_pooch_the_extra_is_named(tmp_path, monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "pooch":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"dienjax\[fetch\]"):
        fetched("http://127.0.0.1:9/a", tmp_path)


def test_amazon_fetches_both_files_and_pins_them(site, tmp_path):
    names = ["reviews_X_5.json.gz", "meta_X.json.gz"]
    for name in names:
        (site[0] / name).write_bytes(CONTENT)
    args = {"folder": tmp_path / "data", "name": "X", "out": tmp_path / "s", "mirror": site[1]}
    files = amazon.raw_files(amazon.Args(**args, fetch=True))
    assert [file.name for file in files] == names
    assert all(file.read_bytes() == CONTENT for file in files)
    digest = hashlib.sha256(CONTENT).hexdigest()
    assert amazon.raw_files(amazon.Args(**args, sha256=(digest, digest))) == files
    with pytest.raises(ValueError, match=r"meta_X.json.gz has SHA-256 .* expected ffff.*, as given"):
        amazon.raw_files(amazon.Args(**args, sha256=(digest, "f" * 64)))


def test_an_archive_is_read_and_nothing_is_unpacked(tmp_path):
    with zipfile.ZipFile(tmp_path / "ml-1m.zip", "w") as archive:
        archive.writestr("../../ratings.dat", "1::2::3::4\n")
    files = movielens.find_files(tmp_path)
    assert files["ratings.dat"]() == b"1::2::3::4\n"
    assert [file.name for file in tmp_path.iterdir()] == ["ml-1m.zip"]
    (tmp_path / "ml-1m.zip").write_bytes(b"PK no")
    with pytest.raises(zipfile.BadZipFile, match=r"ml-1m\.zip: .*fetch it again"):
        movielens.find_files(tmp_path)
