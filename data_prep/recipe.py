"""What every recipe has in common: its options and its exit code."""

import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from zipfile import BadZipFile

import tyro

from dienjax.data.store import Store
from dienjax.inspection.inspect import summary

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
    min_count: int = 1
    """An item or attribute that stands in fewer training rows is unknown."""
    force: bool = False
    """Replace a store that already stands in the folder."""

    def options(self) -> dict[str, Any]:
        """These as arguments of `prepare`."""
        names = ("seed", "test_fraction", "valid_fraction", "min_count", "force")
        return {name: getattr(self, name) for name in names}


def command(name: str, args: type[Args], recipe: Callable[[Args], Store]) -> None:
    """Runs a recipe with the arguments of the command line; a mistake is one line and exit code 2."""
    try:
        print(summary(recipe(tyro.cli(args, prog=f"python -m data_prep.{name}"))))
    except (OSError, EOFError, ValueError, ImportError, BadZipFile, zlib.error) as error:
        print(f"data_prep.{name}: {error}", file=sys.stderr)
        sys.exit(2)
