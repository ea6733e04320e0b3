"""Which behaviour fields an attention or a recurrence sees: all side by side, or each its own, or that of a time."""

from dataclasses import dataclass
from typing import Literal

import jax

from dienjax.errors import nearest
from dienjax.schema import Schema

Fields = Literal["joined", "separate"]
"""joined: the fields of a behaviour are one vector (the papers, deepctr-torch); separate: as in torch-rechub."""


@dataclass(frozen=True)
class Field:
    """`width` columns of a behaviour's vector from `start` on, and what the names of their modules end with."""

    suffix: str
    start: int
    width: int

    def of(self, x: jax.Array) -> jax.Array:
        """The field's columns [..., width] of joined vectors."""
        return x if self.width == x.shape[-1] else x[..., self.start : self.start + self.width]


def of_fields(schema: Schema, fields: Fields) -> list[Field]:
    """One entry for all behaviours side by side, or one for each."""
    widths = [schema.width(f) for f in schema.event_fields]
    if fields == "joined":
        return [Field("", 0, sum(widths))]
    starts = [sum(widths[:i]) for i in range(len(widths))]
    return [Field(f"_{f.name}", s, w) for f, s, w in zip(schema.event_fields, starts, widths, strict=True)]


def time_field(schema: Schema, name: str) -> Field:
    """The field of time of this name.

    Raises:
      ValueError: the schema has no such field.
    """
    times = [f.name for f in schema.time_fields]
    if name not in times:
        raise ValueError(
            f"attention_time={name!r} is no field that is derived from the time; {nearest(name, times)}: prepare the "
            "log with it (time_fields), or leave attention_time out"
        )
    return next(f for f in of_fields(schema, "separate") if f.suffix == f"_{name}")
