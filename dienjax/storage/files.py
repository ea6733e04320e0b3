"""Files that appear under their name only when they are complete, and the fingerprint that shows so later."""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dienjax.storage.leftovers import hidden

SEAL = "# SHA-256 of the lines above: "


@contextmanager
def new_file(path: str | Path) -> Iterator[Path]:
    """A temporary name beside `path` to write to; it takes the place of `path` on success and is removed on failure."""
    path = Path(path).absolute()
    with hidden(path, folder=False) as temporary:
        yield temporary
        os.replace(temporary, path)


def write_text(path: str | Path, text: str) -> None:
    """Write `text` in UTF-8; a reader of `path` sees the old or the new content, never a part."""
    with new_file(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def write_json(path: str | Path, data: Any) -> None:
    """Write `data` as indented JSON.

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


def read_object(path: str | Path) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it holds anything else, or NaN, which is not JSON.
    """
    try:
        data = json.loads(Path(path).read_bytes(), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    if not isinstance(data, dict):
        raise ValueError(f"{path} cannot be read: it holds a {type(data).__name__}; expected a JSON object")
    return data


def sealed(text: str) -> str:
    """Lines of text, followed by their SHA-256 in a comment."""
    return f"{text}{SEAL}{hashlib.sha256(text.encode()).hexdigest()}\n"


def is_sealed(path: Path) -> bool:
    """Whether a UTF-8 file is as `sealed` returned it."""
    text = path.read_bytes().decode("utf-8")
    return text == sealed(text.rpartition(SEAL)[0])


def sha256(path: str | Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def inside(folder: Path, name: str) -> Path:
    """The file that a list of a folder's files names, which must be in that folder.

    Raises:
      ValueError: the name is absolute, has "..", or is a link to elsewhere.
    """
    path = folder / name
    if Path(name).is_absolute() or ".." in Path(name).parts or not path.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"{folder} lists {name!r} among its files, which is not in it; expected a path inside")
    return path


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")
