"""Several processes that train one run: how they find each other, and what they agree on.

JAX's runtime connects them. Process 0 writes; all take part in each step and in each checkpoint. In a single process
each function here returns at once.
"""

import hashlib
import json
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np

HEARTBEAT = 30
"""Seconds without a sign of life after which the other processes end."""


def connect(address: str = "auto", wait: int = 300) -> None:
    """Join the other processes of a run, before JAX computes anything.

    JAX itself ends the process, with a message of its own, if one of the others does not arrive in time, or later stops
    to answer.

    Args:
      address: "HOST:PORT,I/N": where process 0 is, and that this is number I (from 0) of N; "auto" takes these from
        what SLURM, Open MPI, GKE or Cloud TPU has set.
      wait: seconds until all must have arrived.

    Raises:
      ValueError: another form of the address, or no such environment.
    """
    named = re.fullmatch(r"(\S+:\d+),(\d+)/(\d+)", address)
    if address != "auto" and not (named and int(named[2]) < int(named[3])):
        raise ValueError(
            f'distributed is {address!r}; expected "auto" under SLURM, Open MPI, GKE or Cloud TPU, or HOST:PORT,I/N '
            "such as 10.0.0.1:1234,0/2: the address of process 0, and that this is number 0 of 2"
        )
    host, index, of = (named[1], int(named[2]), int(named[3])) if named else (None, None, None)
    print(
        f"waiting for the other processes{f' at {host}' if host else ''}: if one is not there within {wait} seconds, "
        "this one ends with DEADLINE_EXCEEDED; start all of them, and check that each reaches the address",
        file=sys.stderr,
    )
    try:
        jax.distributed.initialize(
            host, of, index, initialization_timeout=wait, heartbeat_timeout_seconds=HEARTBEAT,
        )  # fmt: skip
    except ValueError as error:
        raise ValueError(
            f"distributed is {address!r}, and the environment does not say which processes there are ({error}); give "
            "the address as HOST:PORT,I/N"
        ) from error


@contextmanager
def answering(run: Path) -> Iterator[None]:
    """Raise RuntimeError with one clear sentence where a step fails because another process has ended."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if count() == 1 or "RESOURCE_EXHAUSTED" in str(error):
            raise
        raise RuntimeError(
            f"another process of {run} has ended, its own message says why, and so does this one (process "
            f"{jax.process_index()}); start all of them again with --resume ({str(error).partition(chr(10))[0]})"
        ) from error


def count() -> int:
    """The number of processes."""
    return jax.process_count()


def writes() -> bool:
    """Whether this process writes what one process writes."""
    return jax.process_index() == 0


def gathered(array: np.ndarray) -> np.ndarray:
    """The arrays [N, ...] of all processes, one after the other, in each of them."""
    if count() == 1:
        return array
    from jax.experimental.multihost_utils import process_allgather

    return np.concatenate(np.asarray(process_allgather(array)))


def any_of(flag: bool) -> bool:
    """Whether the flag is set in one of the processes."""
    return bool(gathered(np.array([flag])).any())


def from_first(text: str) -> str:
    """The text of process 0, of at most 4,096 bytes."""
    if count() == 1:
        return text
    from jax.experimental.multihost_utils import broadcast_one_to_all

    padded = np.frombuffer(text.encode().ljust(4096, b"\0")[:4096], np.uint8)
    return bytes(np.asarray(broadcast_one_to_all(padded), np.uint8)).rstrip(b"\0").decode()


def agree(what: str, value: Any) -> None:
    """Refuse to go on where a process has another value, such as another config.

    Raises:
      ValueError: in every process; the message says which of them differ from process 0.
    """
    digest = hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).digest()
    all_PB = gathered(np.frombuffer(digest, np.uint8)[None])
    others = [p for p in range(len(all_PB)) if (all_PB[p] != all_PB[0]).any()]
    if others:
        raise ValueError(
            f"process {', '.join(map(str, others))} has another {what} than process 0; this is process "
            f"{jax.process_index()}: start all processes with the same command on the same files"
        )


def first_then_all(work: Callable[[], Any]) -> Any:
    """What `work` returns: process 0 works alone, then the others do, who find its result.

    Raises:
      RuntimeError: in the others, if process 0 failed; it raises its own error.
    """
    if count() == 1:
        return work()
    failed, result = "", None
    if writes():
        try:
            result = work()
        except BaseException as error:
            from_first(f"{type(error).__name__}: {error}"[:1000])
            raise
    failed = from_first(failed)
    if failed:
        raise RuntimeError(f"process 0 has stopped: {failed}")
    return result if writes() else work()


@contextmanager
def one_folder(make: Callable[[], Any]) -> Iterator[Path]:
    """The temporary folder that process 0 makes by the context manager of `make`, in all processes.

    At the end process 0 publishes it, when all are done with it.
    """
    if count() == 1:
        with make() as folder:
            yield folder
        return
    if writes():
        with make() as folder:
            from_first(str(folder))
            yield folder
            any_of(False)
    else:
        yield Path(from_first(""))
        any_of(False)
    any_of(False)
