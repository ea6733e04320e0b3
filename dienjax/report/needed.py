"""The packages of the extra "report", imported when they are used."""

from importlib import import_module
from importlib.util import find_spec
from typing import Any

NEEDED = ("altair", "jinja2", "vl_convert")
"""altair makes the charts' specifications, the others the page."""


def needed(*modules: str) -> list[Any]:
    """Modules of the extra "report"; without one of them, ModuleNotFoundError says what to install."""
    try:
        return [import_module(name) for name in modules]
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"a report needs {error.name}, which is not installed: pip install 'dienjax[report]'"
        ) from error


def missing() -> list[str]:
    """The packages of the extra "report" that are not installed."""
    return [name for name in NEEDED if find_spec(name) is None]
