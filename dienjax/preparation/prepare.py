"""From a log to an event store: `prepare` checks its arguments and hands the sorted log to the kernel."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import get_args

from dienjax.data.store import PURPOSE, Store
from dienjax.errors import nearest
from dienjax.inputs.time_fields import declared
from dienjax.preparation.channels import Channels
from dienjax.preparation.kernel import build_store
from dienjax.preparation.names import refuse_label_leak, refuse_reserved
from dienjax.preparation.read import Log, Roles
from dienjax.preparation.settings import Fields, Settings
from dienjax.preparation.sort import Engine, sort_tables
from dienjax.preparation.splits import Fractions, Protocol
from dienjax.preparation.suffixes import numbers_of, sets_of
from dienjax.preparation.tables import Table
from dienjax.schema import FIRST_ID, LARGEST, Pool, Time
from dienjax.storage.folders import check_free, is_empty
from dienjax.storage.leftovers import hidden


def prepare(
    events: Log,
    out: str | Path,
    *,
    user: str,
    item: str,
    time: str,
    attributes: Sequence[str] = (),
    user_attributes: Sequence[str] = (),
    channels: str | None = None,
    protocol: Protocol | None = None,
    hist_label: str | None = None,
    impressions: Log | None = None,
    label: str | None = None,
    context: Sequence[str] = (),
    numbers: Sequence[str] = (),
    user_numbers: Sequence[str] = (),
    dense: Sequence[str] = (),
    hash: Mapping[str, int] | None = None,
    pool: Mapping[str, Pool] | None = None,
    set_quantile: float = 0.99,
    time_fields: Sequence[Time] = (),
    min_count: int = 1,
    drop_duplicates: bool = False,
    like: Store | str | Path | None = None,
    grow: bool = False,
    engine: Engine = "auto",
    seed: int = 0,
    test_fraction: float = 0.1,
    valid_fraction: float = 0.05,
    user_id: bool = False,
    force: bool = False,
    progress: bool = False,
) -> Store:
    """Write the event store of a log to the folder `out` and open it; data given in memory is left unchanged.

    `events` has one row per event: a DataFrame, an Arrow table, or CSV, TSV or Parquet files (paths, folders or a
    glob). A folder is the log of its files in the order of their paths; names such as day=2026-11-01 of folders in it
    (Hive's partitions) are a column. Rows of equal user and time keep their order. Fields are named after the columns.
    A missing attribute is unknown.

    An attribute, of the event, the user or the impression, may be a set of values: a column of lists, or text that is
    split where its name ends in a separator, as "tags|" (one of "|;,/ "; spaces around a value do not count). Its ids
    are padded with 0. A missing or empty list is an empty set, a missing value within a list is left out, and one that
    a list repeats counts once.

    A name of numbers may end in how they are seen: ":standard" scales them by mean and standard deviation of the
    training rows, ":log" their log(1 + x), ":10" cuts them into ten buckets, about equally full, with an embedding
    each; then a missing number is one of its own. ":raw" leaves them as they are; then none may be missing.

    Without impressions an event is a target if the user has an earlier one, and its negative is sampled:

    - `last` (the DIEN paper, the default): users are split at random into training, validation and test users. `train`
      has the last event of each training user, `train_all` each of their targets, `valid` and `test` the last event.
    - `all` (the DIN paper, leave one out): each user's last event is in `test`, the one before in `valid`, the other
      targets in `train`. The fractions are not read.

    A sample of `valid` or `test` then has two candidates, fixed here: the event and a popularity-weighted negative.

    `impressions` are candidates that were shown, with the columns of user, item, time and attributes, and a label.
    Those of one user at one time become one sample with K candidates; its history is the user's events strictly before.
    They are split by `time` (the default: the latest for testing, those before for validation) or by `user`.

    Args:
      attributes: columns of the event, such as its category; each becomes a behaviour after the item.
      user_attributes: columns of the impressions, or else of the events, that hold one value per user.
      channels: histories of their own for several kinds of events, each with its length, by a column that becomes an
        attribute: "type=click:50,cart+wish:20" keeps the last 50 clicks and the last 20 events of the other two kinds.
        Events of other kinds are in no history; they are candidates all the same.
      hist_label: a column or expression of the events in [0, 1], such as "rating >= 4": 1 for a positive signal.
      label: a column or expression of the impressions: 0 or 1, or any number for regression.
      context: columns of the impressions whose values get ids, such as a position or a page.
      numbers: columns of numbers of the event (and of the impressions), such as its price; standard if not said.
      user_numbers: columns of numbers like `user_attributes`; standard if not said.
      dense: columns of numbers of the impressions; raw if not said.
      hash: the size of the table of each column whose vocabulary shall not be kept: ids are hashed with the seed, and
        `min_count` does not count.
      pool: how the vectors of a set become one, by the name of its column: mean, which is the default, sum or max.
      set_quantile: sets have as many ids as this share of those in the training rows does not exceed, not counting the
        empty ones; what a longer list has beyond is cut.
      time_fields: derived fields of every event (see `dienjax.inputs.time_fields`): gap, next_gap, position, hour,
        weekday; the last two need dates, or seconds since 1970. The store keeps nothing for them but their edges.
      min_count: an item or attribute value in fewer training rows than this is unknown.
      drop_duplicates: whether to keep only the first of several events of equal user, time and item.
      like: an earlier store: its values keep their ids, and new values are unknown.
      grow: whether new values get ids after those of `like` instead.
      engine: "memory"; "duckdb" for a log larger than memory; "spark" for a cluster, in the active session or a new
        one, where the log and `out` are on a file system that all machines share. All give the same bytes; "auto"
        takes memory or DuckDB by the size of the files.
      test_fraction: share of the users (protocol time: of the impressions) for testing.
      valid_fraction: share of the others for validation.
      user_id: whether the user is a feature too.
      force: whether to replace an existing store.

    Raises:
      ValueError: a column that does not exist or cannot be read, no events, no training sample, a single item.
      ImportError, RuntimeError: the engine is not installed; Spark has no Java, cannot start or fails.
      FileExistsError: `out` exists, and is not a store or `force` is False; or a file of the log is in it.
    """
    out = Path(out).absolute()
    read = [log if isinstance(log, list | tuple) else [log] for log in (events, impressions)]
    files = [Path(path) for path in chain(*read) if isinstance(path, str | Path)]
    check_free(out, force or is_empty(out), PURPOSE, files)
    for path in files:
        if path.is_dir() and path.resolve() in out.resolve().parents:
            raise ValueError(
                f"prepare: the store {str(out)!r} is inside the log {str(path)!r}; expected a folder outside"
            )
    protocol = protocol or ("last" if impressions is None else "time")
    fractions = Fractions(test_fraction, valid_fraction, seed)
    earlier = Store.open(like) if isinstance(like, str | Path) else like
    if earlier is not None:
        earlier.verify()
    settings = Settings(
        protocol, fractions, min_count, drop_duplicates, earlier, grow, user_id, hash or {}, pool or {}, set_quantile
    )
    of_kinds = Channels.parse(channels) if channels else None
    if of_kinds and of_kinds.column not in (item, *attributes):
        attributes = (*attributes, of_kinds.column)
    of_event, of_user, of_shown = (sets_of(names) for names in (attributes, user_attributes, context))
    seen = numbers_of(numbers, "standard"), numbers_of(user_numbers, "standard"), numbers_of(dense, "raw")
    separators = of_event[1] | of_user[1] | of_shown[1]
    fields = Fields(
        user, item, time, of_event[0], of_user[0], of_shown[0], *seen, separators, of_kinds, tuple(time_fields)
    )
    _check(settings, fields, impressions is not None, label, engine)
    tables = _tables(events, impressions, fields, user_id, hist_label, label)
    columns = {"user": user, "item": item, "time": time, "hist_label": hist_label, "label": label}
    try:
        with hidden(out, folder=True) as folder:
            values, (log, *shown) = sort_tables(tables, folder, engine, progress)
            return build_store(
                values, log, shown[0] if shown else None, fields, settings, out, folder, columns=columns, force=force
            )
    except (FileExistsError, FileNotFoundError):
        raise
    except OSError as error:
        raise OSError(
            f"prepare: {out} was not written, and nothing is left of it: {error}; is the disk full?"
        ) from error


def _tables(
    events: Log, impressions: Log | None, fields: Fields, user_id: bool, hist_label: str | None, label: str | None
) -> list[Table]:
    """The events and, if there are any, the impressions, each with what is read of it.

    What is of users is read from the impressions if they have it.
    """
    missing = frozenset(name for name, how in fields.how.items() if how != "raw")
    roles = Roles(fields.user, fields.item, fields.time, separators=fields.separators, missing=missing)

    def with_columns(attributes: Sequence[str], numbers: Sequence[str], expressions: dict[str, str]) -> Roles:
        of_name = {name: name for name in (*fields.numbers, *numbers)} | expressions
        return replace(roles, attributes=(*fields.attributes, *attributes), numbers=of_name)

    there: list[str] = []
    shown = []
    if impressions is not None:
        expression = {"label": str(label)}
        table = Table("impressions", impressions, with_columns(fields.context, [*fields.dense], expression))
        refuse_label_leak(fields, user_id, str(label), table.columns_in(str(label)))
        there = table.column_names()
        of_users, numbers = ([name for name in names if name in there] for names in (fields.users, fields.user_numbers))
        of_shown = with_columns((*fields.context, *of_users), (*fields.dense, *numbers), expression)
        shown = [replace(table, roles=of_shown)]
    of_users, numbers = ([name for name in names if name not in there] for names in (fields.users, fields.user_numbers))
    of_events = with_columns(of_users, numbers, {"hist_label": hist_label} if hist_label else {})
    return [Table("events", events, replace(of_events, unit="hist_label")), *shown]


def _check(settings: Settings, fields: Fields, has_impressions: bool, label: str | None, engine: str) -> None:
    """Raises ValueError for arguments that do not fit together."""
    protocol, fractions = settings.protocol, settings.fractions
    if protocol not in get_args(Protocol):
        raise ValueError(f"prepare: protocol={protocol!r}; {nearest(str(protocol), get_args(Protocol))}")
    if engine not in get_args(Engine):
        raise ValueError(f"prepare: engine={engine!r}; {nearest(str(engine), get_args(Engine))}")
    if has_impressions != (protocol in ("time", "user")):
        raise ValueError(
            f"prepare: protocol={protocol!r} {'with' if has_impressions else 'without'} impressions; expected 'time' "
            "or 'user' with impressions, 'last' or 'all' without"
        )
    if has_impressions != (label is not None):
        raise ValueError("prepare: impressions and label go together; expected both or neither")
    if not has_impressions and (fields.context or fields.dense):
        raise ValueError(
            "prepare: context and dense are columns of the impressions, but no impressions are given: give impressions "
            "too"
        )
    if settings.grow and settings.like is None:
        raise ValueError("prepare: grow appends to the vocabularies of an earlier store; name it: like=STORE")
    if settings.min_count < 1 or fractions.seed < 0:
        raise ValueError(
            f"prepare: min_count={settings.min_count}, seed={fractions.seed}; expected min_count >= 1 and seed >= 0"
        )
    for name, fraction in (("test_fraction", fractions.test), ("valid_fraction", fractions.valid)):
        # With the vocabularies of an earlier store a log may be all test.
        if not (0 <= fraction < 1 or (fraction == 1 and settings.like is not None)):
            raise ValueError(f"prepare: {name}={fraction}; expected at least 0 and below 1")
    _check_values(settings, fields)
    of_time, _ = declared(fields.times)
    named = (fields.user, fields.time, *fields.names(False))
    if fields.times and (taken := {"time", "now"} & {*named[2:], fields.user}):
        raise ValueError(
            f"prepare: column {min(taken)!r} cannot be a field beside time fields, requests have the times under it: "
            "rename the column"
        )
    named += tuple(table.name for table in of_time)
    for name, count in Counter(named).items():
        if count > 1:
            raise ValueError(f"prepare: column {name!r} is given two roles; give each column one")
    refuse_reserved(fields, settings.user_id)


def _check_values(settings: Settings, fields: Fields) -> None:
    """Raises ValueError for choices about columns that have no values, or that cannot be."""
    of_user = (fields.user,) if settings.user_id else ()
    with_values = (*fields.behaviours, *fields.users, *fields.context, *of_user)
    for what, names in (("hash", settings.hash), ("pool", settings.pool)):
        for name in names:
            if name not in with_values:
                raise ValueError(f"prepare: {what} names {name!r}, which has no values; {nearest(name, with_values)}")
    for name, size in settings.hash.items():
        if isinstance(size, bool) or not isinstance(size, int) or not FIRST_ID < size <= LARGEST:
            raise ValueError(
                f"prepare: hash gives {name!r} the size {size!r}; expected a whole number from {FIRST_ID + 1} to "
                f"{LARGEST}"
            )
    for name, pool in settings.pool.items():
        if pool not in get_args(Pool):
            raise ValueError(f"prepare: pool of {name!r} is {pool!r}; {nearest(str(pool), get_args(Pool))}")
    if not 0 < settings.set_quantile <= 1:
        raise ValueError(f"prepare: set_quantile={settings.set_quantile}; expected above 0 and at most 1")
