"""The sentence that an error adds when a name is not known: the nearest ones that are."""

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint such as "did you mean 'item_id'?", or the list of known names where none is close."""
    choices = sorted(known)
    close = get_close_matches(name, choices, n=3, cutoff=0.5)
    if close:
        return "did you mean " + " or ".join(repr(c) for c in close) + "?"
    return "known names: " + (", ".join(choices) if choices else "none")
