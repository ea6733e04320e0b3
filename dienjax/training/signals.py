"""Ctrl-C and SIGTERM, noted so that a loop can act on them between two steps."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def noted_signals() -> Iterator[list[int]]:
    """A list that SIGINT and SIGTERM append to, so that the loop can finish its step; a second one acts at once."""
    arrived: list[int] = []
    previous: dict[int, Any] = {}

    def note(number: int, _: object) -> None:
        arrived.append(number)
        signal.signal(number, previous[number])

    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            previous[number] = signal.getsignal(number)
            signal.signal(number, note)
    except ValueError:  # not the main thread: Python delivers signals elsewhere
        previous.clear()
    try:
        yield arrived
    finally:
        for restored, handler in previous.items():
            signal.signal(restored, handler)
