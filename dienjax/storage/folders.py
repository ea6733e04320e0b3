"""Folders that appear under their name only when they are complete, and that replace only folders of their own kind."""

import ctypes
import errno
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from dienjax.storage.leftovers import held, hidden, remove, sibling

AT_FDCWD, RENAME_EXCHANGE = -100, 2
"""Linux's constants for "relative to the current folder" and "exchange the two names"."""


@dataclass(frozen=True)
class Purpose:
    """A kind of folder, such as "a run folder", and the test whether a folder is of that kind."""

    name: str
    recognises: Callable[[Path], bool]


PLAIN = Purpose("an empty folder", lambda _: False)


@contextmanager
def new_folder(
    path: str | Path, force: bool = False, purpose: Purpose = PLAIN, used: Iterable[Path] = ()
) -> Iterator[Path]:
    """An empty temporary folder beside `path`; it becomes `path` on success and is removed on failure.

    With `force`, an empty folder or one of the same kind at `path` is replaced, but only after the new one is complete.
    If the system can, the two are exchanged in one step, so that `path` is never absent.

    Raises:
      FileExistsError: see `check_free`; checked before the work and again after it.
    """
    path = _absolute(path)
    used = list(used)
    check_free(path, force, purpose, used)
    with hidden(path, folder=True) as temporary:
        check_free(path, force, purpose, used)  # what a killed process had moved aside may be back
        yield temporary
        check_free(path, force, purpose, used)
        _publish(temporary, path, force)


def check_free(path: str | Path, force: bool = False, purpose: Purpose = PLAIN, used: Iterable[Path] = ()) -> None:
    """Refuse a path that a folder of a kind must not take.

    Raises:
      FileExistsError: something is there, and `force` is False; or it is neither empty nor of that kind, or it holds
        the current folder or something in `used`.
    """
    path = _absolute(path)
    if not os.path.lexists(path):
        return
    if not (path.is_dir() and (is_empty(path) or purpose.recognises(path))):
        raise FileExistsError(f"{path} exists and is not {purpose.name}; it is never replaced: choose another name")
    if not force:
        raise FileExistsError(f"{path} already exists; choose another name, or use --force (force=True) to replace it")
    for inside in (Path.cwd() / "anything", *used):
        if path.resolve() in inside.resolve().parents:
            what = inside if inside in used else "the current folder"
            raise FileExistsError(
                f"{path} cannot be replaced while {what}, which is in use, is inside it: choose another name"
            )


def is_empty(path: Path) -> bool:
    """Whether `path` is an empty folder."""
    return path.is_dir() and not any(path.iterdir())


def _absolute(path: str | Path) -> Path:
    path = Path(path).absolute()
    return path.resolve() if path.name == ".." else path


def _publish(temporary: Path, path: Path, force: bool) -> None:
    """Gives the folder `temporary` the name `path`; what had that name gets the name of `temporary`, or is removed."""
    if force and os.path.lexists(path):
        if not _exchange(temporary, path):
            _rename_twice(temporary, path)
    else:
        _rename(temporary, path)


def _rename(temporary: Path, path: Path) -> None:
    try:
        os.rename(temporary, path)
    except OSError as error:
        if os.path.lexists(path):
            raise FileExistsError(f"{path} already exists: another process was faster; choose another name") from error
        raise


def _exchange(a: Path, b: Path) -> bool:
    """Exchanges two names in one step; False if the system cannot."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError, TypeError):
        return False
    if renameat2(AT_FDCWD, os.fsencode(a), AT_FDCWD, os.fsencode(b), RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOENT):
        return False
    raise OSError(number, os.strerror(number), str(b))


def _rename_twice(temporary: Path, path: Path) -> None:
    """The exchange on other systems: between its two steps `path` is absent; after a kill, `leftovers` restores it."""
    old = sibling(path, "old")
    with ExitStack() as stack:
        with suppress(OSError):
            stack.enter_context(held(path))  # or another writer would put it back between the steps
        with suppress(FileNotFoundError):
            os.rename(path, old)
        try:
            _rename(temporary, path)
        except OSError:
            with suppress(OSError):
                os.rename(old, path)
            raise
        remove(old)
