"""manifest.json: the SHA-256 of every file of a folder, written with it and compared before its numbers are used."""

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dienjax.storage.files import inside, read_object, sha256, write_json

FILE = "manifest.json"


@contextmanager
def manifest_of(folder: Path) -> Iterator[Callable[[Path], Callable[[Any], None]]]:
    """Write the manifest of everything that `folder` holds at the end.

    The `record(file)` that it yields is for large files: it returns a function that is to be called with each part that
    is written to the file, bytes or an array, in order. They are hashed in another thread meanwhile, so that nothing is
    read back; of each file at most two parts are in memory.
    """
    digests = {}
    pending: dict[Path, Future[None]] = {}
    with ThreadPoolExecutor(_threads()) as pool:

        def record(file: Path) -> Callable[[Any], None]:
            digests[file] = hashlib.sha256()

            def add(part: Any) -> None:
                if file in pending:
                    pending[file].result()
                pending[file] = pool.submit(digests[file].update, part)

            return add

        yield record
        files = sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / FILE)
        for hashed in pending.values():
            hashed.result()
        found = {file: digests[file].hexdigest() if file in digests else sha256(file) for file in files}
    write_json(folder / FILE, {file.relative_to(folder).as_posix(): digest for file, digest in found.items()})


def read_manifest(folder: Path) -> dict[str, str]:
    """The SHA-256 of each file by its path in the folder.

    Raises:
      FileNotFoundError: there is no manifest.
      ValueError: it is damaged, or names a file that is not in the folder.
    """
    digests = read_object(folder / FILE)
    for name in digests:
        inside(folder, name)
    return digests


def damage(folder: Path, digests: Mapping[str, str]) -> str:
    """What is wrong with the files of a folder; empty if each is as it was written."""
    for name in digests:
        if not (folder / name).is_file():
            return f"{name} is missing"
    with ThreadPoolExecutor(_threads()) as pool:
        found = pool.map(lambda name: sha256(folder / name), digests)
        for (name, digest), got in zip(digests.items(), found, strict=True):
            if got != digest:
                return f"{name} is not what was written"
    return ""


def _threads() -> int:
    return min(8, os.cpu_count() or 1)
