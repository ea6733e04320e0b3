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
    """Decides which users are for testing and which negatives they get."""
    test_fraction: float = 0.1
    """Share for testing: of the users, or (protocol time) of the impressions; protocol all does not read it."""
    valid_fraction: float = 0.05
    """Share of the rest for validation."""
    min_count: int = 1
    """An item or attribute value in fewer training rows than this is unknown."""
    force: bool = False
    """Replace a store that is already in the folder."""

    def options(self) -> dict[str, Any]:
        """The options as arguments of `prepare`."""
        names = ("seed", "test_fraction", "valid_fraction", "min_count", "force")
        return {name: getattr(self, name) for name in names}


def command(name: str, args: type[Args], recipe: Callable[[Args], Store]) -> None:
    """Run a recipe with the arguments of the command line; a mistake gives one line and exit code 2."""
    try:
        print(summary(recipe(tyro.cli(args, prog=f"python -m data_prep.{name}"))))
    except (OSError, EOFError, ValueError, ImportError, BadZipFile, zlib.error) as error:
        print(f"data_prep.{name}: {error}", file=sys.stderr)
        sys.exit(2)
