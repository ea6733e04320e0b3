"""Official archives, fetched once and verified by a checksum."""

import sys
from pathlib import Path

from dienjax.storage.files import sha256

RECORDED = ".sha256"
"""The suffix of the file that records a checksum, which `sha256sum --check` can read."""


def fetched(url: str, folder: Path, checksum: str | None = None) -> Path:
    """The file at `url` in `folder`, fetched unless it is there already, and checked.

    Args:
      checksum: "md5:..." or "sha256:..."; where None, the one recorded at the first fetch. The first fetch itself
        then takes what arrives, and records its SHA-256 beside it.

    Raises:
      ImportError: pooch is not installed.
      OSError: the server cannot be reached or breaks off.
      ValueError: what arrived has another checksum, or is a web page; it is not kept.
    """
    try:
        import pooch
    except ImportError as error:
        raise ImportError("pooch is not installed; install it with: pip install 'dienjax[fetch]'") from error
    pooch.get_logger().setLevel("WARNING")
    file = folder / url.rsplit("/", 1)[-1]
    by_hand = f"download {url} by hand, put it as {file}, and run the command without --fetch"
    # A server may declare a .gz file to be the encoding of a text, which would then be unpacked on the way.
    downloader = pooch.HTTPDownloader(
        progressbar=sys.stderr.isatty(), chunk_size=1 << 18, headers={"Accept-Encoding": "identity"}
    )
    known, was_there = checksum or _recorded(file), file.is_file()
    if not was_there:
        print(f"fetching {url}")
    try:
        pooch.retrieve(url, known, fname=file.name, path=folder, downloader=downloader)
    except OSError as error:
        raise OSError(f"{url} cannot be fetched ({error}); try again, or {by_hand}") from error
    except ValueError as error:
        raise ValueError(
            f"{url} is not the expected file ({error}); nothing was kept: try again, or {by_hand}"
        ) from error
    if known is None:
        with open(file, "rb") as start:
            begins = start.read(80)
        if not begins.startswith((b"\x1f\x8b", b"{")):
            if not was_there:
                file.unlink()
            raise ValueError(f"{file} is neither gzip nor JSON lines, it begins with {begins!r}; {by_hand}")
        digest = sha256(file)
        Path(f"{file}{RECORDED}").write_text(f"{digest}  {file.name}\n")
        print(f"{file}: SHA-256 {digest}, recorded; the publisher gives none to compare it with")
    return file


def check(file: Path, checksum: str | None = None) -> None:
    """Check the SHA-256 of `file` against `checksum`, or against the one recorded beside it, if there is one.

    Raises:
      ValueError: another checksum, or an empty record.
    """
    known = checksum or _recorded(file)
    if known is None:
        return
    got, expected = sha256(file), known.removeprefix("sha256:").lower()
    if got != expected:
        source = "given" if checksum else f"recorded in {file}{RECORDED}"
        raise ValueError(
            f"{file} has SHA-256 {got}; expected {expected}, as {source}: fetch it again, "
            "or correct the checksum if the file is the right one"
        )


def _recorded(file: Path) -> str | None:
    record = Path(f"{file}{RECORDED}")
    if not record.is_file():
        return None
    digest = record.read_text().split()[:1]
    if not digest:
        raise ValueError(f"{record} is empty; expected a SHA-256 and the name of the file: remove it, or correct it")
    return f"sha256:{digest[0]}"
