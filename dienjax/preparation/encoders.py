"""How the columns of a sorted log become those of a store: its codes and numbers as ids and numbers of the fields."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import numpy as np
import pyarrow as pa

from dienjax.data.mapped import Blocks
from dienjax.inputs import ids
from dienjax.inputs.lists import is_list
from dienjax.preparation.numbers import Numbers
from dienjax.preparation.sets import Sets
from dienjax.preparation.settings import Settings
from dienjax.preparation.suffixes import How
from dienjax.preparation.vocabulary import Vocabulary, number
from dienjax.schema import FIRST_ID, UNKNOWN, Behaviour, Dense, Field, Side, Sparse, Table, shaped

Of = Side | Literal["event"]


@dataclass(frozen=True)
class Encoder:
    """How a column becomes a field.

    Attributes:
      encode: ids or numbers [R], of sets [R, M], from codes or numbers [R].
      remarks: what may be a mistake in the log, and how often it is so.
      table: the table of the field, if it has ids.
      vocabulary: the values of the table; None if it keeps none.
    """

    field: Field
    encode: Callable[[np.ndarray], np.ndarray]
    remarks: dict[str, int]
    table: Table | None = None
    vocabulary: Vocabulary | None = None

    @property
    def missing(self) -> str:
        """What a missing value is."""
        return "are empty sets" if getattr(self.field, "most", 0) else "are unknown"

    def column(self, length: int, parts: Callable[[], Iterable[np.ndarray]]) -> Blocks:
        """The field's column of that length, from the codes or numbers of its parts."""
        (*several,), dtype = shaped(self.field)

        def blocks() -> Iterator[np.ndarray]:
            return map(self.encode, parts())

        return Blocks(length, np.dtype(dtype), blocks, *several)


def of_values(name: str, of: Of, values: pa.Array, count_V: np.ndarray, minimum: int, settings: Settings) -> Encoder:
    """The encoder of a column of values, or of sets of them, given how often each occurs in training.

    Raises:
      ValueError: values unlike those of the earlier store.
    """
    sets = Sets.of(values) if is_list(values.type) else None
    if sets is None and name in settings.pool:
        raise ValueError(
            f"prepare: pool names {name!r}, which holds no sets; expected lists, or a separator, as in '{name}|'"
        )
    known, known_V = (values, count_V) if sets is None else (sets.value, sets.counts(count_V))
    id_of_code, table, vocabulary = _ids(name, known, known_V, minimum, settings)
    remarks = _unlike(name, vocabulary) if vocabulary and settings.like else {}
    one = _id_field(name, of)
    if sets is None:
        return Encoder(one, partial(np.take, id_of_code), remarks, table, vocabulary)
    before, _ = _earlier(name, settings)
    most = getattr(before, "most", 0) or sets.most(count_V, settings.set_quantile)
    remarks |= {f"training rows have more than {most} {name}; the first {most} count": sets.longer(count_V, most)}
    several = replace(one, most=most, pool=settings.pool.get(name, "mean"))
    return Encoder(several, partial(np.take, sets.ids(id_of_code, most), axis=0), remarks, table, vocabulary)


def of_numbers(name: str, of: Of, how: How, seen: Numbers, settings: Settings) -> Encoder:
    """The encoder of a column of numbers, by those seen in training, or by the earlier store."""
    if how == "raw":
        return Encoder(Dense(name, of), _as_it_is, {})
    before, before_table = _earlier(name, settings)
    remarks = {f"training rows have one and the same {name}": seen.count if seen.is_constant else 0}
    if isinstance(how, int):
        edges = (before_table.edges if before_table else ()) or seen.edges(how)
        table = Table(name, FIRST_ID + len(edges) + 1, edges=edges)
        return Encoder(_id_field(name, of), partial(ids.between, edges=edges), remarks, table)
    log, scale = how == "log", before.scale if isinstance(before, Dense) else None
    return Encoder(Dense(name, of, scale if scale and scale.log == log else seen.scale(log)), _as_it_is, remarks)


def _as_it_is(number_R: np.ndarray) -> np.ndarray:
    return number_R


def _ids(
    name: str, values: pa.Array, count_V: np.ndarray, minimum: int, settings: Settings
) -> tuple[np.ndarray, Table, Vocabulary | None]:
    """The id of each code, one more for none (-1), and where they come from."""
    if name in settings.hash:
        _, before = _earlier(name, settings)
        seed = settings.fractions.seed if before is None or before.seed is None else before.seed
        table = Table(name, settings.hash[name], seed=seed)
        return np.append(ids.hashed(values.to_pylist(), table.size, seed), np.int32(UNKNOWN)), table, None
    earlier = None
    if settings.like is not None:
        try:
            earlier = settings.like.vocabulary(name)
        except ValueError as error:
            raise ValueError(f"prepare: field {name!r} is not so in the earlier store: {error}") from error
    try:
        vocabulary = number(values.to_pandas(), count_V, minimum, earlier, settings.grow)
    except ValueError as error:
        raise ValueError(f"prepare: column {name!r} {error}") from error
    return vocabulary.id_of_code, Table(name, vocabulary.size, digest=vocabulary.digest), vocabulary


def _unlike(name: str, vocabulary: Vocabulary) -> dict[str, int]:
    """How the values of a log differ from those of the earlier store."""
    rewritten = f"values of {name} written unlike the earlier store's, such as 4 for 4.0, taken as the same"
    unknown = f"values of {name} (every one) are unknown to the earlier store"
    return {
        rewritten: vocabulary.rewritten,
        unknown: vocabulary.all_unknown * (len(vocabulary.id_of_code) - 1),
    }


def _id_field(name: str, of: Of) -> Behaviour | Sparse:
    return Behaviour(name) if of == "event" else Sparse(name, of=of)


def _earlier(name: str, settings: Settings) -> tuple[Field | None, Table | None]:
    """The field and the table of that name in the earlier store."""
    if settings.like is None:
        return None, None
    schema = settings.like.schema
    fields = {field.name: field for field in (*schema.id_fields, *schema.dense)}
    return fields.get(name), {table.name: table for table in schema.tables}.get(name)
