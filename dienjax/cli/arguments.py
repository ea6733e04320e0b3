"""Arguments that several commands have, and how a command prints JSON."""

import json
from collections.abc import Callable, Sequence
from typing import Annotated, TypeVar

from tyro.conf import UseAppendAction, arg

Overrides = Annotated[UseAppendAction[tuple[str, ...]], arg(name="set", metavar="SECTION.KEY=VALUE")]
Columns = UseAppendAction[tuple[str, ...]]


T = TypeVar("T")


def dumps(data: dict) -> str:
    """One line of JSON; NaN is refused, for which JSON has no word."""
    return json.dumps(data, allow_nan=False)


def by_column(option: str, given: Sequence[str], kind: Callable[[str], T]) -> dict[str, T]:
    """The value of each COLUMN=VALUE by its column.

    Raises:
      ValueError: one without a column, or whose value is not of the kind.
    """
    found = {}
    for text in given:
        column, _, value = text.rpartition("=")
        try:
            found[column] = kind(value)
        except ValueError as error:
            raise ValueError(f"--{option} {text}: {error}; expected COLUMN=VALUE") from error
        if not column:
            raise ValueError(f"--{option} {text}: expected COLUMN=VALUE")
    return found
