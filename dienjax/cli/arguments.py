"""Arguments that several commands have, and how a command prints JSON."""

import json
from collections.abc import Sequence
from typing import Annotated

from tyro.conf import UseAppendAction, arg

Overrides = Annotated[UseAppendAction[tuple[str, ...]], arg(name="set", metavar="SECTION.KEY=VALUE")]
Columns = UseAppendAction[tuple[str, ...]]


def dumps(data: dict) -> str:
    """One line of JSON; NaN is refused, for which JSON has no word."""
    return json.dumps(data, allow_nan=False)


def pairs(option: str, given: Sequence[str]) -> list[tuple[str, str]]:
    """The name and the value of each NAME=VALUE.

    Raises:
      ValueError: one without a name or a value.
    """
    found = []
    for text in given:
        name, _, value = text.rpartition("=")
        if not name or not value:
            raise ValueError(f"--{option} {text}: expected COLUMN=VALUE")
        found.append((name, value))
    return found
