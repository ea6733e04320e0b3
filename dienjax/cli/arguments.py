"""Arguments that several commands have, and how a command prints JSON."""

import json
from typing import Annotated

from tyro.conf import UseAppendAction, arg

Overrides = Annotated[UseAppendAction[tuple[str, ...]], arg(name="set", metavar="SECTION.KEY=VALUE")]
Columns = UseAppendAction[tuple[str, ...]]


def dumps(data: dict) -> str:
    """One line of JSON; NaN is refused, for which JSON has no word."""
    return json.dumps(data, allow_nan=False)
