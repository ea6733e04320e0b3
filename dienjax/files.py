"""Files and folders that appear under their name only when they are whole, and the fingerprint that tells so later."""

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def new_file(path: str | Path) -> Iterator[Path]:
    """A temporary name beside `path` to write to; it takes the place of `path` on success and is removed on failure."""
    path = Path(path)
    temporary = _sibling(path, "tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Nothing; `path` then holds `text` in UTF-8, and a reader meets the old or the new content, never a part."""
    with new_file(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def write_json(path: str | Path, data: Any) -> None:
    """Nothing; `path` then holds `data` as indented JSON.

    Raises:
      ValueError: NaN or infinity in `data`, which JSON cannot hold.
      TypeError: something in `data` that JSON does not know, such as an array.
    """
    try:
        text = json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False)
    except (ValueError, TypeError) as error:
        raise type(error)(
            f"write_json({str(path)!r}): {error}; expected dicts, lists, strings, finite numbers and None: "
            "turn NaN into None and arrays into lists first"
        ) from error
    write_text(path, text + "\n")


@contextmanager
def new_folder(path: str | Path, force: bool = False) -> Iterator[Path]:
    """An empty temporary folder beside `path`; it becomes `path` on success and is removed on failure.

    With `force`, what stands at `path` is replaced, but only after the new folder is complete.

    Raises:
      FileExistsError: `path` exists and `force` is False; checked before the work and again after it.
    """
    path = Path(path).absolute()
    _refuse_existing(path, force)
    temporary, old = _sibling(path, "tmp"), _sibling(path, "old")
    temporary.mkdir(parents=True)
    try:
        yield temporary
        _refuse_existing(path, force)
        replaces = os.path.lexists(path)
        if replaces:
            os.rename(path, old)
        try:
            os.rename(temporary, path)
        except OSError:
            if replaces:
                os.rename(old, path)
            _refuse_existing(path, force)  # another process was faster
            raise
    finally:
        _remove(temporary)
    _remove(old)


def sha256(path: str | Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _refuse_existing(path: Path, force: bool) -> None:
    if os.path.lexists(path) and not force:
        raise FileExistsError(f"{path} already exists; choose another name, or use --force to replace it")


def _sibling(path: Path, what: str) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.{what}")


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
