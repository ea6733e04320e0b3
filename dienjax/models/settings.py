"""Settings that are checked where they are made: each value against its field's annotation, with one clear sentence."""

from dataclasses import fields
from typing import Annotated, Any, get_type_hints

from pydantic import ConfigDict, Field, PydanticSchemaGenerationError, TypeAdapter, ValidationError

Count = Annotated[int, Field(ge=0, le=2**31 - 1)]
"""A number of steps or of validations; 0 often means never."""
Width = Annotated[int, Field(ge=1, le=100_000)]
Widths = tuple[Width, ...]
"""Hidden layers; none is a linear layer."""
Factor = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, lt=1)]

_WORDS = {
    "Input should be ": "",
    "Tuple should have ": "",
    " after validation, not 0": "",
    "greater than or equal to": "at least",
    "less than or equal to": "at most",
    "greater than": "a number above",
    "less than": "a number below",
}


def check(section: str, settings: Any) -> None:
    """Convert the fields of a frozen dataclass to their annotated types: a list to a tuple, 1 to 1.0.

    Raises:
      ValueError: a value of another type, outside its range, NaN or infinite.
    """
    hints = get_type_hints(type(settings), include_extras=True)
    for f in fields(settings):
        value = checked(f"{section}.{f.name}", hints[f.name], getattr(settings, f.name))
        object.__setattr__(settings, f.name, value)


def checked(where: str, hint: Any, value: Any) -> Any:
    """The value as the annotation has it; ValueError says where it stands, what it is and what was expected.

    True is no number, and neither is "3".
    """
    given = tuple(value) if isinstance(value, list) else value
    try:
        return TypeAdapter(hint, config=ConfigDict(strict=True, allow_inf_nan=False)).validate_python(given)
    except PydanticSchemaGenerationError as error:
        raise ValueError(f"{where} is {value!r}; a config cannot set it, it is of type {hint}: leave it out") from error
    except ValidationError as error:
        reasons = dict.fromkeys(_reason(e, given) for e in error.errors())
        raise ValueError(f"{where} is {value!r}; expected {' or '.join(reasons)}") from error


def _reason(error: Any, value: Any) -> str:
    reason = str(error["msg"])
    for theirs, ours in _WORDS.items():
        reason = reason.replace(theirs, ours)
    return reason if error["input"] is value else f"each {reason}"
