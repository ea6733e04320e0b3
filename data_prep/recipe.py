"""What every recipe has in common: its options, its summary, its exit code."""

import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from zipfile import BadZipFile

import numpy as np
import tyro

from dienjax.data.store import Store

Args = TypeVar("Args")


@dataclass(frozen=True, kw_only=True)
class Common:
    """The options that do not depend on the data set."""

    out: Path
    """The folder that the event store is written to."""
    seed: int = 0
    """Decides which users test and which negatives they meet."""
    test_fraction: float = 0.1
    """Share that tests: of the users, or of the time (protocol time); protocol all does not read it."""
    valid_fraction: float = 0.05
    """Share of the rest that validates."""
    force: bool = False
    """Replace a store that already stands in the folder."""

    def options(self) -> dict[str, Any]:
        """These as arguments of `prepare`."""
        return {name: getattr(self, name) for name in ("seed", "test_fraction", "valid_fraction", "force")}


def command(name: str, args: type[Args], recipe: Callable[[Args], Store]) -> None:
    """Runs a recipe with the arguments of the command line; a mistake is one line and exit code 2."""
    try:
        print(summary(recipe(tyro.cli(args, prog=f"python -m data_prep.{name}"))))
    except (OSError, EOFError, ValueError, ImportError, BadZipFile, zlib.error) as error:
        print(f"data_prep.{name}: {error}", file=sys.stderr)
        sys.exit(2)


def summary(store: Store) -> str:
    """A few lines for a person: counts, history lengths, and what to do next."""
    counts, sizes = store.info["counts"], store.schema.sizes()
    known = ", ".join(f"{sizes[b.table] - 2:,} of {b.name}" for b in store.schema.behaviours)
    lines = [
        f"{counts['users']:,} users, {counts['events']:,} events; values known in training: {known}",
        f"{'split':<10}{'samples':>10}   history length at 10, 50, 90, 99, 100 %",
    ]
    for split in store.splits:
        samples = store.samples(split)
        length_N = samples.end_N - store.offsets[samples.user_N]
        shown = np.percentile(length_N, (10, 50, 90, 99, 100)).astype(int) if len(length_N) else ["-"]
        lines.append(f"{split:<10}{len(samples):>10,}   {' '.join(f'{n:>4}' for n in shown)}")
    for what in ("left_out", "noticed"):
        for reason, number in store.info.get(what, {}).items():
            if number:
                lines.append(f"{what.replace('_', ' ')}: {number:,} {reason}")
    lines.append(f"written to {store.path}, schema {store.schema.hash}")
    lines.append(f"next: dienjax train experiments/<name>.toml --store {store.path} --run runs/<name>")
    return "\n".join(lines)
