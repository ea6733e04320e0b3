"""Hidden names beside a target, for what is not complete yet, and the removal of what a killed process left behind.

A process holds a lock (flock) on what it hides for as long as it lives, however it ends. Process ids would not do: they
are reused, and two containers or two machines have the same ones.
"""

import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows, where serving works: nothing tells whether its process lives, so nothing is cleared
    fcntl = None  # type: ignore[assignment]

HIDDEN = re.compile(r"\.(.+)\.[0-9a-f]{8}\.(tmp|old)")


@contextmanager
def hidden(target: Path, folder: bool) -> Iterator[Path]:
    """An empty file or folder with a hidden name beside `target`; whatever has that name at the end is removed."""
    clear(target.parent, target.name)
    with ExitStack() as stack:
        path = _made(target, folder, stack)
        try:
            yield path
        finally:
            remove(path)


def clear(folder: Path, name: str | None = None) -> None:
    """Remove what dead processes hid in `folder` beside the target `name`, or beside any.

    If a process died between moving the old target aside and putting the new one in its place, the old one is put back.
    """
    with suppress(OSError):
        for path in list(folder.iterdir()):
            match = HIDDEN.fullmatch(path.name)
            if not match or name not in (None, match[1]):
                continue
            with suppress(OSError), held(path):
                if match[2] == "old" and not os.path.lexists(folder / match[1]):
                    os.rename(path, folder / match[1])
                else:
                    remove(path)


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold the lock of a file or folder.

    Raises:
      FileNotFoundError: it is gone.
      BlockingIOError: another process holds it.
      OSError: there are no locks here.
    """
    if fcntl is None:
        raise OSError("this system has no file locks")
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not os.path.samestat(os.fstat(descriptor), os.stat(path)):
            raise FileNotFoundError(f"{path} was replaced in the meantime")
        yield
    finally:
        os.close(descriptor)


def sibling(path: Path, what: str) -> Path:
    """An unused hidden name beside `path`; `what` is "tmp" or "old"."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.{what}")


def remove(path: Path) -> None:
    """Remove a file, link or folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)  # what stays, the next writer clears
    else:
        path.unlink(missing_ok=True)


def _made(target: Path, folder: bool, stack: ExitStack) -> Path:
    """A new hidden file or folder; the stack holds its lock."""
    while True:
        path = sibling(target, "tmp")
        if folder:
            path.mkdir(parents=True)
        else:
            path.touch(exist_ok=False)
        try:
            stack.enter_context(held(path))
        except (FileNotFoundError, BlockingIOError):
            continue  # another process took it for left behind, in the moment before it was locked
        except OSError:
            pass  # no locks on this file system: nobody clears here
        return path
