"""The kernel of preparation: from rows sorted by (user, time) to the ids and samples of a store.

It works on slices of whole users: what it holds in memory depends on the slice and on the numbers of users and values,
not on the log. A first pass counts; then each column of the store is written slice by slice.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from dienjax.data.mapped import Blocks, Column
from dienjax.data.store import Store, write_store
from dienjax.inputs.time_fields import check_calendar, declared
from dienjax.preparation import quality, splits
from dienjax.preparation.counting import Counted, count
from dienjax.preparation.encoders import Encoder, Of, of_numbers, of_values
from dienjax.preparation.numbers import Numbers
from dienjax.preparation.on_disk import OnDisk, blocks, write_columns
from dienjax.preparation.samples import columns_of_impressions, columns_of_targets, train_rows
from dienjax.preparation.settings import Fields, Settings
from dienjax.preparation.slices import Divided, Slices
from dienjax.preparation.suffixes import How
from dienjax.preparation.tables import Sorted, Values
from dienjax.preparation.vocabulary import counts
from dienjax.schema import Behaviour, Dense, Schema, Sparse

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
    of_user = counted.of_user | ({fields.user: np.arange(U)} if settings.user_id else {})
    encoders = _encoders(values, divided, counted, of_user, fields, settings, folder)
    schema = _schema(encoders, fields)
    if fields.times and not log.dates:
        check_calendar(fields.times, max(float(part.max()) for part in blocks(log.time_R)))
    _check_like(schema, settings)
    stored: dict[str, Column] = {
        "offsets": slices.offsets,
        "time": _as_it_is(log.time_R),
        "raw_item": _as_it_is(log.code[fields.item]),
        "train_row": train_rows(divided, counted),
    }
    for name in fields.of_events:
        stored[f"events/{name}"] = encoders[name].column(len(log), partial(blocks, log.column(name)))
    stored |= {"hist_label": _as_it_is(log.number["hist_label"])} if "hist_label" in log.number else {}
    stored |= {f"users/{name}": encoders[name].encode(value_U) for name, value_U in of_user.items()}
    if shown:
        stored |= columns_of_impressions(divided, counted, encoders, fields)
    else:
        stored |= columns_of_targets(divided, counted, encoders, fields, settings.fractions.seed, folder)
    return write_store(
        out,
        schema=schema,
        info=_info(settings, slices, counted, encoders)
        | {"columns": columns}
        | _remarks(counted, dropped, slices, settings, encoders),
        columns=stored,
        vocab={name: e.vocabulary.frame for name, e in encoders.items() if e.vocabulary},
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


def _encoders(
    values: Values,
    divided: Divided,
    counted: Counted,
    of_user: dict[str, np.ndarray],
    fields: Fields,
    settings: Settings,
    folder: Path,
) -> dict[str, Encoder]:
    """How each column becomes a field, by name, in the order of the schema."""
    found: dict[str, Encoder] = {}
    of: Of
    for name in (*fields.behaviours, *fields.users, *([fields.user] if settings.user_id else []), *fields.context):
        if name in of_user:
            of, minimum, count_V = "user", 1, counts(of_user[name], counted.train_U, len(values[name]))
        else:
            of = "event" if name in fields.behaviours else "candidate"
            minimum, count_V = settings.min_count, counted.count_V[name]
        found[name] = of_values(name, of, values[name], count_V, minimum, settings)
    sides: dict[Of, Mapping[str, How]] = {
        "event": fields.numbers,
        "user": fields.user_numbers,
        "candidate": fields.dense,
    }
    for of, name, how in [(of, name, how) for of, numbers in sides.items() for name, how in numbers.items()]:
        seen = of_user[name][counted.train_U] if of == "user" else _train_numbers(name, how, divided, folder)
        found[name] = of_numbers(name, of, how, Numbers(seen), settings)
    return found


def _train_numbers(name: str, how: How, divided: Divided, folder: Path) -> OnDisk:
    """The numbers of a column in the training rows, of the events, then of the impressions; none if they stay raw."""

    def parts() -> Iterator[list[np.ndarray]]:
        yield [np.zeros(0, np.float32)]
        if how == "raw":
            return
        for part, split in divided if name in divided.slices.log.number else ():
            yield [part.log.number(name)[split.train_E]]
        for part, split in divided:
            if part.shown and name in part.shown.table.number:
                yield [part.shown.number(name)[part.shown.of_samples(split.shown["train"])]]

    return write_columns([folder / "train_numbers"], parts())[0]


def _schema(encoders: dict[str, Encoder], fields_of: Fields) -> Schema:
    fields, channels = [encoder.field for encoder in encoders.values()], fields_of.channels
    for n, field in enumerate(fields):
        if not isinstance(field, Dense) and field.name in fields_of.separators:
            fields[n] = replace(field, separator=fields_of.separators[field.name])
    tables, times = declared(fields_of.times)
    return Schema(
        tables=(*(encoder.table for encoder in encoders.values() if encoder.table), *tables),
        behaviours=(*(field for field in fields if isinstance(field, Behaviour)), *times),
        sparse=tuple(field for field in fields if isinstance(field, Sparse)),
        dense=tuple(field for field in fields if isinstance(field, Dense)),
        type=channels.column if channels else "",
        channels=channels.of(encoders[channels.column].vocabulary) if channels else (),
    )


def _check_like(schema: Schema, settings: Settings) -> None:
    """Raises ValueError if the fields differ from those of the earlier store."""
    if settings.like is None:
        return
    earlier = settings.like.schema
    tables = tuple(earlier.table(t.name) if t.has_vocabulary else t for t in schema.tables)
    sized = replace(schema, tables=tables)
    if difference := sized.difference(earlier):
        raise ValueError(
            f"prepare: the fields differ from those of {settings.like.path}; - new store, + earlier store:\n"
            f"{difference}\nName the same columns in the same order"
        )


def _info(settings: Settings, slices: Slices, counted: Counted, encoders: dict[str, Encoder]) -> dict[str, Any]:
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
        "counts": sizes | {f"known {name}": len(e.vocabulary.frame) for name, e in encoders.items() if e.vocabulary},
    }


def _remarks(
    counted: Counted, dropped: int, slices: Slices, settings: Settings, encoders: dict[str, Encoder]
) -> dict[str, dict[str, int]]:
    """What was left out and why, and what is kept but may be a mistake in the log."""
    left_out = {} if slices.shown else {ONE_EVENT: int((np.diff(slices.offsets) == 1).sum())}
    noticed: dict[str, int] = {}
    (left_out if settings.drop_duplicates else noticed)[REPEATED] = counted.repeated + dropped
    for name, several in counted.several.items():
        noticed[f"events without {name}, which {encoders[name].missing}"] = several.missing
        noticed[f"items with more than one {name}; each event keeps its own"] = int(several.several_I.sum())
    for encoder in encoders.values():
        noticed |= encoder.remarks
    return {"left_out": left_out, "noticed": noticed}
