"""What errors have in common: the hint that names the nearest known names, and the stop by a signal."""

import signal
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path


class Interrupted(RuntimeError):
    """SIGINT or SIGTERM arrived; the state was saved, and `--resume` continues from it."""

    def __init__(self, number: int, run: Path) -> None:
        super().__init__(
            f"stopped by {signal.Signals(number).name}; the state is saved in {run}; --resume goes on from there"
        )
        self.number = number


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint such as "did you mean 'item_id'?", or the list of known names if none is close."""
    choices = sorted(known)
    close = get_close_matches(name, choices, n=3, cutoff=0.5)
    if close:
        return "did you mean " + " or ".join(repr(c) for c in close) + "?"
    return "known names: " + (", ".join(choices) if choices else "none")
