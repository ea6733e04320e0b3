"""What every recipe has in common: its options and its exit code."""

import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar
from zipfile import BadZipFile

import tyro
from tyro.conf import UseAppendAction, arg

from dienjax.data.store import PURPOSE, Store
from dienjax.inspection.inspect import summary
from dienjax.schema import Time
from dienjax.storage.folders import check_free

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
    attributes: Annotated[UseAppendAction[tuple[str, ...]], arg(name="attribute", metavar="COLUMN")] = ()
    """A column of the log that becomes a field of every event in the place of the recipe's own, a set of values too
    (text: with its separator, such as 'tags|'); may be given again."""
    numbers: Annotated[UseAppendAction[tuple[str, ...]], arg(name="number", metavar="COLUMN[:HOW]")] = ()
    """A column of numbers of every event, such as price:log; may be given again."""
    time_fields: Annotated[UseAppendAction[tuple[Time, ...]], arg(name="time-field")] = ()
    """A field of every event that its time gives; may be given again."""
    force: bool = False
    """Replace a store that is already in the folder."""

    def check_out(self) -> None:
        """Refuse a folder that the store must not take, before anything is read."""
        check_free(self.out, self.force, PURPOSE)

    def options(self) -> dict[str, Any]:
        """The options as arguments of `prepare`."""
        names = ("seed", "test_fraction", "valid_fraction", "min_count", "numbers", "time_fields", "force")
        return {name: getattr(self, name) for name in names}


def command(name: str, args: type[Args], recipe: Callable[[Args], Store]) -> None:
    """Run a recipe with the arguments of the command line; a mistake gives one line and exit code 2."""
    try:
        print(summary(recipe(tyro.cli(args, prog=f"python -m data_prep.{name}"))))
    except (OSError, EOFError, ValueError, ImportError, BadZipFile, zlib.error) as error:
        print(f"data_prep.{name}: {error}", file=sys.stderr)
        sys.exit(2)
