"""The lock of a run folder: one process at a time trains in it."""

import os
import socket
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

FILE = ".lock"
"""In the run folder: who trained in it last. Its presence locks nothing, so a copied folder is free."""


@contextmanager
def lock(folder: str | Path) -> Iterator[None]:
    """Keep every other process from training in a run folder meanwhile.

    The kernel releases the lock when the process ends, however it ends. Windows has no such lock, nor have some network
    file systems: there nothing is locked, and on the latter a warning says so.

    Raises:
      BlockingIOError: another process trains in the folder; the message says which, where and since when.
    """
    if fcntl is None:
        yield
        return
    with open(Path(folder) / FILE, "a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise BlockingIOError(
                f"{folder} is in use: {file.read().strip() or 'another process'} trains in it; wait until it ends or "
                "stop it, then use --resume, or train in another folder"
            ) from None
        except OSError as error:
            warnings.warn(
                f"{folder} cannot be locked ({error}): make sure that no other process trains in it", stacklevel=3
            )
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()} since {time.strftime('%Y-%m-%d %H:%M:%S')}\n")
        file.flush()
        yield
