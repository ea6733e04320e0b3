"""What may stand behind the name of a column: the separator of a set, `tags|`, or how a number is seen, `price:log`."""

from collections.abc import Sequence
from typing import Literal, TypeAlias

SEPARATORS = ("|", ";", ",", "/", " ")

How: TypeAlias = Literal["raw", "standard", "log"] | int
"""As it is; standardised; its logarithm standardised; or the id of one of so many buckets, about equally full."""


def sets_of(given: Sequence[str]) -> tuple[tuple[str, ...], dict[str, str]]:
    """The names of columns of values, and the separators of those that are given one."""
    found = [(text[:-1], text[-1]) if text[1:].endswith(SEPARATORS) else (text, "") for text in given]
    return tuple(name for name, _ in found), {name: mark for name, mark in found if mark}


def numbers_of(given: Sequence[str], default: How) -> dict[str, How]:
    """How the numbers of each column are seen, by its name.

    Raises:
      ValueError: fewer than two buckets, or a column that is given twice.
    """
    found: dict[str, How] = {}
    for name, how in (_of_number(text, default) for text in given):
        if name in found:
            raise ValueError(f"prepare: column {name!r} of numbers is given twice; expected it once")
        found[name] = how
    return found


def _of_number(given: str, default: How) -> tuple[str, How]:
    name, _, how = given.rpartition(":")
    if name and how in ("raw", "standard", "log"):
        return name, how  # type: ignore[return-value]
    if not name or not (how.isascii() and how.isdigit()):
        return given, default
    if int(how) < 2:
        raise ValueError(f"prepare: {given!r} asks for {int(how)} bucket(s); expected at least 2, such as '{name}:10'")
    return name, int(how)
