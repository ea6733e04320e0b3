"""The kernel of preparation: from rows sorted by (user, time) to the ids and samples of a store.

It works on slices of whole users: what it holds in memory depends on the slice and on the numbers of users and values,
not on the log. A first pass counts; then each column of the store is written slice by slice.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dienjax.data.mapped import Blocks, Column
from dienjax.data.store import Store, write_store
from dienjax.preparation import quality, splits
from dienjax.preparation.counting import Counted, count
from dienjax.preparation.on_disk import OnDisk, blocks, write_columns
from dienjax.preparation.samples import columns_of_impressions, columns_of_targets, train_rows
from dienjax.preparation.settings import Fields, Settings
from dienjax.preparation.slices import Divided, Slices
from dienjax.preparation.tables import Sorted, Values
from dienjax.preparation.vocabulary import Vocabulary, counts, number
from dienjax.schema import Behaviour, Dense, Schema, Sparse, Table
from dienjax.time_fields import check_calendar, declared

ONE_EVENT = "users with one event, which have no history"
REPEATED = "events of the same user, time and item as an earlier row"


def build_store(
    values: Values,
    log: Sorted,
    shown: Sorted | None,
    fields: Fields,
    settings: Settings,
    out: Path,
    folder: Path,
    *,
    columns: dict[str, Any],
    force: bool = False,
) -> Store:
    """Write the store of events and, if there are any, impressions, both sorted by (user, time), with shared codes.

    Args:
      folder: an existing folder for what is written in between.

    Raises:
      ValueError: no training samples, a user attribute that changes, a single item, values unlike the earlier store's.
    """
    U, dropped = len(values[fields.user]), 0
    if settings.drop_duplicates:
        kept = _without_repeated(Slices(log, None, fields.user, U), fields.item, folder)
        log, dropped = kept, len(log) - len(kept)
    slices = Slices(log, shown, fields.user, U)
    divided = _divided(slices, settings, folder)
    counted = count(divided, fields, values)
    _check_trains(counted, settings)
    code_U = counted.code_U | ({fields.user: np.arange(U)} if settings.user_id else {})
    vocabulary = {}
    for name in (*fields.behaviours, *code_U, *fields.context):
        of_user = name in code_U
        count_V = counts(code_U[name], counted.train_U, len(values[name])) if of_user else counted.count_V[name]
        minimum = 1 if of_user else settings.min_count
        vocabulary[name] = _numbered(name, values[name].to_pandas(), count_V, minimum, settings)

    tables, of_time = declared(fields.times)
    if fields.times and not log.dates:
        check_calendar(fields.times, max(float(part.max()) for part in blocks(log.time_R)))
    schema = Schema(
        tables=(*(Table(name, v.size, digest=v.digest) for name, v in vocabulary.items()), *tables),
        behaviours=(*(Behaviour(name) for name in fields.behaviours), *of_time),
        sparse=(*(Sparse(name) for name in code_U), *(Sparse(name, of="candidate") for name in fields.context)),
        dense=tuple(Dense(name, of="candidate") for name in fields.dense),
    )
    _check_like(schema, settings)
    stored: dict[str, Column] = {
        "offsets": slices.offsets,
        "time": _as_it_is(log.time_R),
        "raw_item": _as_it_is(log.code[fields.item]),
        "train_row": train_rows(divided, counted),
    }
    stored |= {f"events/{name}": _ids(vocabulary[name], log.code[name]) for name in fields.behaviours}
    stored |= {"hist_label": _as_it_is(log.number["hist_label"])} if "hist_label" in log.number else {}
    stored |= {f"users/{name}": vocabulary[name].ids(code) for name, code in code_U.items()}
    if shown:
        stored |= columns_of_impressions(divided, counted, vocabulary, fields)
    else:
        stored |= columns_of_targets(divided, counted, vocabulary, fields, settings.fractions.seed, folder)
    return write_store(
        out,
        schema=schema,
        info=_info(settings, slices, counted, vocabulary)
        | {"columns": columns}
        | _remarks(counted, dropped, slices, settings, vocabulary),
        columns=stored,
        vocab={name: v.frame for name, v in vocabulary.items()},
        user_values=values[fields.user].to_pandas(),
        force=force,
    )


def _without_repeated(slices: Slices, item: str, folder: Path) -> Sorted:
    """The log without the events that repeat an earlier one, in files."""
    log = slices.log
    names = [*log.code, *log.number]

    def parts() -> Iterator[list[np.ndarray]]:
        for part in slices:
            rows = part.log
            kept_E = ~quality.repeated(rows.user_R, rows.time_R, rows.code(item))
            found = [rows.time_R, *map(rows.code, log.code), *map(rows.number, log.number)]
            yield [column[kept_E] for column in found]

    time_R, *rest = write_columns([folder / f"kept_{c}" for c in range(1 + len(names))], parts())
    code, number = rest[: len(log.code)], rest[len(log.code) :]
    return Sorted(time_R, dict(zip(log.code, code, strict=True)), dict(zip(log.number, number, strict=True)), log.dates)


def _divided(slices: Slices, settings: Settings, folder: Path) -> Divided:
    """The slices with their splits, after what all users decide together."""
    fractions, shown = settings.fractions, slices.shown_offsets
    if settings.protocol == "all":
        return Divided(slices)
    if settings.protocol == "last":
        return Divided(slices, part_U=splits.parts_of_users(np.diff(slices.offsets) >= 2, fractions))
    assert shown is not None
    if settings.protocol == "user":
        return Divided(slices, part_U=splits.parts_of_users(np.diff(shown) > 0, fractions))
    times = ([part.shown.time_R[part.shown.sessions[:-1]]] for part in slices if part.shown)
    (time_N,) = write_columns([folder / "time_N"], times)
    return Divided(slices, begins=splits.times_of_parts(lambda: blocks(time_N), len(time_N), fractions))


def _check_trains(counted: Counted, settings: Settings) -> None:
    """Raises ValueError if there is nothing to train on."""
    if not counted.samples["train"] and settings.like is None:
        raise ValueError(
            f"prepare: no training samples under protocol {settings.protocol!r}, {counted.samples.total()} for "
            "validation or testing; 'last' trains on users with at least 2 events, 'all' with at least 4, 'time' and "
            "'user' on impressions: give a longer log or smaller fractions"
        )


def _as_it_is(column: np.ndarray | OnDisk) -> Column:
    return column if isinstance(column, np.ndarray) else Blocks(len(column), column.dtype, lambda: blocks(column))


def _ids(vocabulary: Vocabulary, code_R: np.ndarray | OnDisk) -> Column:
    return Blocks(len(code_R), np.dtype(np.int32), lambda: map(vocabulary.ids, blocks(code_R)))


def _numbered(name: str, value: pd.Series, count_V: np.ndarray, minimum: int, settings: Settings) -> Vocabulary:
    earlier = None
    if settings.like is not None:
        try:
            earlier = settings.like.vocabulary(name)
        except ValueError as error:
            raise ValueError(f"prepare: field {name!r} is not in the earlier store: {error}") from error
    try:
        return number(value, count_V, minimum, earlier, settings.grow)
    except ValueError as error:
        raise ValueError(f"prepare: column {name!r} {error}") from error


def _check_like(schema: Schema, settings: Settings) -> None:
    """Raises ValueError if the fields differ from those of the earlier store."""
    if settings.like is None:
        return
    earlier = settings.like.schema
    known = {t.name: t for t in earlier.tables}
    sized = Schema(tuple(known.get(t.name, t) for t in schema.tables), schema.behaviours, schema.sparse, schema.dense)
    if difference := sized.difference(earlier):
        raise ValueError(
            f"prepare: the fields differ from those of {settings.like.path}; - new store, + earlier store:\n"
            f"{difference}\nName the same columns in the same order"
        )


def _info(settings: Settings, slices: Slices, counted: Counted, vocabulary: dict[str, Vocabulary]) -> dict[str, Any]:
    """How the store was made, and how large it is."""
    fractions = {"test": settings.fractions.test, "valid": settings.fractions.valid}
    sizes = {"users": len(slices.offsets) - 1, "events": len(slices.log)}
    sizes |= {"training_users": int(counted.train_U.sum())}
    sizes |= {"impressions": len(slices.shown)} if slices.shown else {}
    return {
        "protocol": settings.protocol,
        "seed": settings.fractions.seed,
        "dates": slices.log.dates,
        "fractions": None if settings.protocol == "all" else fractions,
        "min_count": settings.min_count,
        "counts": sizes | {f"known {name}": v.size - 2 for name, v in vocabulary.items()},
    }


def _remarks(
    counted: Counted, dropped: int, slices: Slices, settings: Settings, vocabulary: dict[str, Vocabulary]
) -> dict[str, dict[str, int]]:
    """What was left out and why, and what is kept but may be a mistake in the log."""
    left_out = {} if slices.shown else {ONE_EVENT: int((np.diff(slices.offsets) == 1).sum())}
    noticed: dict[str, int] = {}
    (left_out if settings.drop_duplicates else noticed)[REPEATED] = counted.repeated + dropped
    for name, several in counted.several.items():
        noticed[f"events without {name}, which are unknown"] = several.missing
        noticed[f"items with more than one {name}; each event keeps its own"] = int(several.several_I.sum())
    for name, v in vocabulary.items() if settings.like else ():
        noticed[f"values of {name} written unlike the earlier store's, such as 4 for 4.0, taken as the same"] = (
            v.rewritten
        )
        noticed[f"values of {name} (every one) are unknown to the earlier store"] = v.all_unknown * (
            len(v.id_of_code) - 1
        )
    return {"left_out": left_out, "noticed": noticed}
