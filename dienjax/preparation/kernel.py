"""The kernel of preparation: from rows sorted by (user, time) to the ids and samples of a store."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dienjax.data.negatives import CANDIDATE, Negatives
from dienjax.data.store import Candidates, Samples, Store, write_store
from dienjax.preparation import quality, splits
from dienjax.preparation.splits import Fractions, Protocol, Split
from dienjax.preparation.tables import Sorted, Values
from dienjax.preparation.vocabulary import Vocabulary, counts, number
from dienjax.schema import Behaviour, Dense, Schema, Sparse, Table

ONE_EVENT = "users with one event, which have no history"
REPEATED = "events of the same user, time and item as an earlier row"


@dataclass(frozen=True)
class Fields:
    """The roles of the columns: `attributes` of the event, `users` of the user, context and dense of an impression."""

    user: str
    item: str
    time: str
    attributes: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    context: tuple[str, ...] = ()
    dense: tuple[str, ...] = ()

    @property
    def behaviours(self) -> tuple[str, ...]:
        return (self.item, *self.attributes)


@dataclass(frozen=True)
class Settings:
    """How a store is made from a log; see `prepare`."""

    protocol: Protocol
    fractions: Fractions
    min_count: int = 1
    drop_duplicates: bool = False
    like: Store | None = None
    grow: bool = False
    user_id: bool = False


@dataclass(frozen=True)
class Sessions:
    """N samples of impressions; sample n is one user at one time: rows first[n] to first[n + 1] of the sorted table."""

    first: np.ndarray
    user_N: np.ndarray
    time_N: np.ndarray

    @classmethod
    def of(cls, shown: Sorted, user: str) -> "Sessions":
        first = splits.groups(shown.code[user], shown.time_R)
        return cls(first, shown.code[user][first[:-1]], shown.time_R[first[:-1]])


def build_store(
    values: Values,
    log: Sorted,
    shown: Sorted | None,
    fields: Fields,
    settings: Settings,
    out: Path,
    *,
    columns: dict[str, Any],
    force: bool = False,
) -> Store:
    """Write the store of events and, if there are any, impressions, both sorted by (user, time), with shared codes.

    Raises:
      ValueError: no training samples, a user attribute that changes, a single item, values unlike the earlier store's.
    """
    again_E = quality.repeated(log.code[fields.user], log.time_R, log.code[fields.item])
    if settings.drop_duplicates:
        log = log.take(~again_E)
    user_E, item_E, U = log.code[fields.user], log.code[fields.item], len(values[fields.user])
    offsets = np.concatenate([[0], np.cumsum(np.bincount(user_E, minlength=U))])
    sessions = Sessions.of(shown, fields.user) if shown else None
    split = _split(settings, offsets, log.time_R, sessions)
    code_U = {
        name: _per_user(name, shown if shown and name in shown.code else log, fields.user, values)
        for name in fields.users
    }
    if settings.user_id:
        code_U[fields.user] = np.arange(U)

    tables = [(log, split.train_E)]
    if shown and sessions:
        tables.append((shown, _marked_rows(sessions.first, split.shown["train"])))
    vocabulary = {}
    for name in (*fields.behaviours, *code_U, *fields.context):
        counted = [(rows.code[name], train) for rows, train in tables if name in rows.code]
        if name in code_U:
            counted = [(code_U[name], split.train_U)]
        count_V = np.sum([counts(code, train, len(values[name])) for code, train in counted], axis=0)
        minimum = 1 if name in code_U else settings.min_count
        vocabulary[name] = _numbered(name, values[name].to_pandas(), count_V, minimum, settings)

    schema = Schema(
        tables=tuple(Table(name, v.size, digest=v.digest) for name, v in vocabulary.items()),
        behaviours=tuple(Behaviour(name) for name in fields.behaviours),
        sparse=(*(Sparse(name) for name in code_U), *(Sparse(name, of="candidate") for name in fields.context)),
        dense=tuple(Dense(name, of="candidate") for name in fields.dense),
    )
    _check_like(schema, settings)
    events = {name: vocabulary[name].ids(log.code[name]) for name in fields.behaviours}
    if sessions and shown:
        samples = _impressions(shown, sessions, split, user_E, log.time_R, vocabulary, fields)
    else:
        negatives = Negatives(item_E, offsets, _pool(item_E, ~split.train_E), seed=settings.fractions.seed)
        samples = _targets(split, user_E, log.time_R, events, negatives)
    return write_store(
        out,
        schema=schema,
        info=_info(settings, split, offsets, log.dates, shown, vocabulary)
        | {"columns": columns}
        | _remarks(log, again_E, offsets, fields, settings, bool(shown), vocabulary),
        offsets=offsets,
        events=events,
        time_E=log.time_R,
        raw_item_E=item_E,
        train_row=_pool(item_E, split.train_E),
        users={name: vocabulary[name].ids(code) for name, code in code_U.items()},
        splits=samples,
        vocab={name: v.frame for name, v in vocabulary.items()},
        user_values=values[fields.user].to_pandas(),
        hist_label_E=log.number.get("hist_label"),
        force=force,
    )


def _split(settings: Settings, offsets: np.ndarray, time_E: np.ndarray, sessions: Sessions | None) -> Split:
    fractions = settings.fractions
    if sessions is None:
        split = splits.last(offsets, fractions) if settings.protocol == "last" else splits.leave_one_out(offsets)
    elif settings.protocol == "user":
        split = splits.by_user(offsets, sessions.user_N, fractions)
    else:
        split = splits.by_time(offsets, time_E, sessions.user_N, sessions.time_N, fractions)
    train = (split.ends or split.shown)["train"]
    if not len(train) and settings.like is None:
        N = sum(len(part) for part in (split.ends or split.shown).values())
        raise ValueError(
            f"prepare: no training samples under protocol {settings.protocol!r}, {N} for validation or testing; 'last' "
            "trains on users with at least 2 events, 'all' with at least 4, 'time' and 'user' on impressions: give a "
            "longer log or smaller fractions"
        )
    return split


def _targets(
    split: Split, user_E: np.ndarray, time_E: np.ndarray, events: dict[str, np.ndarray], negatives: Negatives
) -> dict[str, Samples]:
    """Samples whose target is an event; validation and test get their negative here.

    `negatives` draws from the events that training does not know, like the positives: events that training knows have
    unknown items less often, and an unknown candidate would then hint at the positive.
    """
    samples = {}
    for i, (name, end_N) in enumerate(split.ends.items()):
        user_N, candidates = user_E[end_N], None
        if name in ("valid", "test"):
            # Streams beyond those of training: a training run with the same seed does not meet the same draws.
            slot_11 = np.zeros((1, 1), np.int64)
            stream = CANDIDATE + 1 + i
            negative_N1, _ = negatives.draw(0, stream, user_N, user_N, slot_11, negatives.item_E[end_N][:, None])
            row_C = np.concatenate([end_N[:, None], negative_N1], axis=1).ravel()
            candidates = Candidates(
                first=2 * np.arange(len(end_N) + 1),
                time_N=time_E[end_N],
                field={name: id_E[row_C] for name, id_E in events.items()},
                label_C=np.tile(np.array([1, 0], np.float32), len(end_N)),
            )
        samples[name] = Samples(user_N, end_N, candidates)
    return samples


def _pool(item_E: np.ndarray, wanted_E: np.ndarray) -> np.ndarray:
    """The rows that negatives are drawn from: the wanted events, or all events if those have fewer than two items."""
    row = np.flatnonzero(wanted_E)
    return row if len(row) and (item_E[row] != item_E[row[0]]).any() else np.arange(len(item_E))


def _impressions(
    shown: Sorted,
    sessions: Sessions,
    split: Split,
    user_E: np.ndarray,
    time_E: np.ndarray,
    vocabulary: dict[str, Vocabulary],
    fields: Fields,
) -> dict[str, Samples]:
    """Samples of impressions: their candidates, and the user's events strictly before them."""
    end_N = splits.history_ends(user_E, time_E, sessions.user_N, sessions.time_N)
    samples = {}
    for name, index_n in split.shown.items():
        row_C = np.flatnonzero(_marked_rows(sessions.first, index_n))
        field = {f: vocabulary[f].ids(shown.code[f][row_C]) for f in (*fields.behaviours, *fields.context)}
        field |= {f: shown.number[f][row_C] for f in fields.dense}
        count_n = np.diff(sessions.first)[index_n]
        first = np.concatenate([[0], np.cumsum(count_n)])
        candidates = Candidates(first, sessions.time_N[index_n], field, shown.number["label"][row_C])
        samples[name] = Samples(sessions.user_N[index_n], end_N[index_n], candidates)
    return samples


def _marked_rows(first: np.ndarray, index: np.ndarray) -> np.ndarray:
    """A mask [R] of the rows of the sessions `index`."""
    return np.repeat(splits.marked(index, len(first) - 1), np.diff(first))


def _per_user(name: str, table: Sorted, user: str, values: Values) -> np.ndarray:
    """The code [U] of each user in a column, -1 if there is none; it must not change within a user."""
    user_R, code_R = table.code[user], table.code[name]
    code_U = np.full(len(values[user]), -1, np.int32)
    code_U[user_R[::-1]] = code_R[::-1]
    changed = np.flatnonzero(code_R != code_U[user_R])
    if len(changed):
        raise ValueError(
            f"prepare: user attribute {name!r} changes within user {values[user][int(user_R[changed[0]])].as_py()!r}; "
            "expected one value per user: name it in attributes or context instead"
        )
    return code_U


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
    sized = Schema(tuple(earlier.table(t.name) for t in schema.tables), schema.behaviours, schema.sparse, schema.dense)
    if difference := sized.difference(earlier):
        raise ValueError(
            f"prepare: the fields differ from those of {settings.like.path}; - new store, + earlier store:\n"
            f"{difference}\nName the same columns in the same order"
        )


def _info(
    settings: Settings,
    split: Split,
    offsets: np.ndarray,
    dates: bool,
    shown: Sorted | None,
    vocabulary: dict[str, Vocabulary],
) -> dict[str, Any]:
    """How the store was made, and how large it is."""
    fractions = {"test": settings.fractions.test, "valid": settings.fractions.valid}
    counted = {"users": len(offsets) - 1, "events": int(offsets[-1]), "training_users": int(split.train_U.sum())}
    counted |= {"impressions": len(shown)} if shown else {}
    return {
        "protocol": settings.protocol,
        "seed": settings.fractions.seed,
        "dates": dates,
        "fractions": None if settings.protocol == "all" else fractions,
        "min_count": settings.min_count,
        "counts": counted | {f"known {name}": v.size - 2 for name, v in vocabulary.items()},
    }


def _remarks(
    log: Sorted,
    again_E: np.ndarray,
    offsets: np.ndarray,
    fields: Fields,
    settings: Settings,
    has_impressions: bool,
    vocabulary: dict[str, Vocabulary],
) -> dict[str, dict[str, int]]:
    """What was left out and why, and what is kept but may be a mistake in the log."""
    left_out = {} if has_impressions else {ONE_EVENT: int((np.diff(offsets) == 1).sum())}
    noticed: dict[str, int] = {}
    (left_out if settings.drop_duplicates else noticed)[REPEATED] = int(again_E.sum())
    for name in fields.attributes:
        noticed[f"events without {name}, which are unknown"] = int((log.code[name] < 0).sum())
        several = quality.items_with_several(log.code[fields.item], log.code[name])
        noticed[f"items with more than one {name}; each event keeps its own"] = several
    for name, v in vocabulary.items() if settings.like else ():
        noticed[f"values of {name} written unlike the earlier store's, such as 4 for 4.0, taken as the same"] = (
            v.rewritten
        )
        noticed[f"values of {name} (every one) are unknown to the earlier store"] = v.all_unknown * (
            len(v.id_of_code) - 1
        )
    return {"left_out": left_out, "noticed": noticed}
