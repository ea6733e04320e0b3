"""The kinds of fields: which of their values are unknown, and how a model sees what is not one id of a vocabulary."""

import numpy as np

from dienjax.data.store import Store
from dienjax.schema import UNKNOWN, Behaviour, Dense, Field, Schema, Side, Sparse, Table

TIMES = {
    "gap": "the time from an event to the candidate",
    "next_gap": "the time from an event to the next one",
    "position": "the position of an event from the end",
    "hour": "the hour of an event, UTC",
    "weekday": "the weekday of an event, UTC",
}
"""What each field of time is."""


def candidate_fields(store: Store) -> tuple[Field, ...]:
    """The stored fields of a candidate: those of an event, and its own."""
    return (*store.schema.stored_fields, *store.schema.side("candidate"))


def may_be_unknown(field: Field) -> bool:
    """Whether a field has values that are unknown: all do but the numbers without a scale."""
    return not isinstance(field, Dense) or field.scale is not None


def unknown(value_R: np.ndarray) -> np.ndarray:
    """A mask [R] of the rows with an unknown id, alone or in a set, or with a missing number."""
    found = np.isnan(value_R) if value_R.dtype.kind == "f" else value_R == UNKNOWN
    return found.any(axis=1) if found.ndim > 1 else found


def unknown_names(store: Store, of: Side) -> list[str]:
    """The fields of users, or of candidates, that have values that are unknown."""
    fields = candidate_fields(store) if of == "candidate" else store.schema.side("user")
    return [field.name for field in fields if may_be_unknown(field)]


def described(schema: Schema) -> dict[str, str]:
    """How each field is seen that is not one id of a vocabulary, by its name, and what each channel has."""
    found = {field.name: _of_ids(field, schema.table(field.table)) for field in schema.id_fields}
    found |= {field.name: _of_number(field) for field in schema.dense}
    found |= {f"channel {c.name}": f"the last {c.most} events of this {schema.type}" for c in schema.channels}
    return {name: text for name, text in found.items() if text}


def _of_ids(field: Behaviour | Sparse, table: Table) -> str:
    several = f"a set of up to {field.most} ids, the {field.pool} of their vectors" if field.most else ""
    time = TIMES.get(getattr(field, "time", None) or "", "")
    if table.edges:
        source = f"in {len(table.edges) + 1} buckets, from {', '.join(f'{edge:.6g}' for edge in table.edges)} on"
    else:
        source = "" if table.seed is None else f"hashed with seed {table.seed}, no value is kept"
    return ", ".join(filter(None, [time, several, source]))


def _of_number(field: Dense) -> str:
    if field.scale is None:
        return "a number as it is"
    mean, std = f"{field.scale.mean:.4g}", f"{field.scale.std:.4g}"
    return f"{'log(1 + x) of ' if field.scale.log else ''}a number, standardised by mean {mean} and deviation {std}"
