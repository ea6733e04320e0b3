"""The order in which a source library concatenates its fields, and where each of our inputs is in it."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from dienjax.errors import nearest
from dienjax.schema import Pool, Schema

Block = tuple[str, str]
"""("interest", behaviour) or ("field", any field): neighbours in an input of the tower."""


def check_columns(schema: Schema, columns: Sequence[str], embeddings: Sequence[str] = ()) -> None:
    """Raise ValueError, listing all that is wrong, unless `columns` names every field of the schema once.

    Args:
      embeddings: the names of the source's tables in its own order, for the message.
    """
    if schema.channels:
        raise ValueError(
            f"the schema has the channels {', '.join(c.name for c in schema.channels)}, which deepctr-torch and "
            "torch-rechub do not have; expected one history"
        )
    names = schema.field_names
    lines = [f"{name!r} is not a field of the schema; {nearest(name, names)}" for name in columns if name not in names]
    lines += [f"{name!r} occurs {n} times" for name, n in Counter(columns).items() if n > 1]
    missing = [name for name in names if name not in columns]
    lines += [f"missing: {', '.join(map(repr, missing))}"] if missing else []
    if lines:
        hint = f" The state_dict holds its embeddings in this order: {', '.join(embeddings)}." if embeddings else ""
        raise ValueError(
            f"columns is {list(columns)}: {'; '.join(lines)}. Expected every field of the schema in the order of the "
            f"source's feature columns: its tower takes them in this order, and no shape shows it.{hint}"
        )


def check_kinds(schema: Schema, pools: Sequence[Pool], where: str) -> None:
    """Raise ValueError, listing all of them, if the schema has fields of kinds that a source does not have.

    Args:
      pools: how the source pools a set of the user or the candidate; none if it has no sets.
      where: the source's model.
    """
    lines = [f"{b.name!r} is a set of an event" for b in schema.behaviours if b.most]
    lines += [f"{f.name!r} is a number of an event" for f in schema.dense if f.of == "event"]
    lines += [f"{f.name!r} is a number with a scale: scale it before" for f in schema.dense if f.scale]
    for field in (f for f in schema.sparse if f.most and f.pool not in pools):
        lines.append(f"{field.name!r} is a set, its {field.pool}" + (f" (it has {', '.join(pools)})" if pools else ""))
    if lines:
        raise ValueError(
            f"{where} has no such fields: {'; '.join(lines)}. Expected single ids, plain numbers of the user and the "
            f"candidate{', and pooled sets of these' if pools else ''}: leave the others out"
        )


def interests(names: Sequence[str], schema: Schema) -> list[Block]:
    """The interest in each behaviour, in the order of `names`."""
    return [("interest", name) for name in names if name in {b.name for b in schema.behaviours}]


def behaviours(names: Sequence[str], schema: Schema) -> list[Block]:
    """The candidate's behaviours, in the order of `names`."""
    return [("field", name) for name in names if name in {b.name for b in schema.behaviours}]


def sparse(names: Sequence[str], schema: Schema) -> list[Block]:
    """The sparse features, in the order of `names`."""
    return [("field", name) for name in names if name in {f.name for f in schema.sparse}]


def dense(names: Sequence[str], schema: Schema) -> list[Block]:
    """The dense features, in the order of `names`."""
    return [("field", name) for name in names if name in {f.name for f in schema.dense}]


def tower_blocks(schema: Schema) -> list[Block]:
    """The blocks of our tower's input (`models.output.tower_input`, `FeatureEmbedder`)."""
    names = [b.name for b in schema.behaviours]
    of_side = [("field", f.name) for f in (*schema.side("user"), *schema.side("candidate"))]
    return interests(names, schema) + behaviours(names, schema) + of_side


def positions(schema: Schema, source: Sequence[Block], ours: Sequence[Block]) -> np.ndarray:
    """The position in the source of each of our numbers: ours[i] = source[positions[i]]."""
    width = {f.name: schema.table(f.table).dim for f in schema.id_fields} | {f.name: 1 for f in schema.dense}
    ends = np.cumsum([0, *(width[name] for _, name in source)])
    start = dict(zip(source, ends[:-1], strict=True))
    return np.concatenate([start[block] + np.arange(width[block[1]]) for block in ours])


def unit_positions(schema: Schema, columns: Sequence[str]) -> np.ndarray:
    """The position in the source's concatenated behaviours [E] of each of our numbers."""
    return positions(schema, interests(columns, schema), interests([b.name for b in schema.behaviours], schema))
