"""The commands about data: prepare a log, inspect an event store."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

from tyro.conf import Positional, UseAppendAction, arg

from dienjax.cli.arguments import Columns, by_column, dumps

if TYPE_CHECKING:
    from dienjax.schema import Pool

Files = Annotated[tuple[str, ...], arg(metavar="FILE...")]
Column = Annotated[str, arg(metavar="COLUMN")]
Time = Literal["gap", "next_gap", "position", "hour", "weekday"]
Expression = Annotated[str | None, arg(metavar="COLUMN|EXPRESSION")]


def prepare(
    events: Files,
    user: Column,
    item: Column,
    time: Column,
    out: Path,
    attributes: Annotated[Columns, arg(name="attribute", metavar="COLUMN")] = (),
    user_attributes: Annotated[Columns, arg(name="user-attribute", metavar="COLUMN")] = (),
    channels: Annotated[str | None, arg(metavar="COLUMN=VALUE:LENGTH,...")] = None,
    protocol: Literal["last", "all", "time", "user"] | None = None,
    hist_label: Expression = None,
    impressions: Files = (),
    label: Expression = None,
    context: Annotated[Columns, arg(metavar="COLUMN")] = (),
    numbers: Annotated[Columns, arg(name="number", metavar="COLUMN[:HOW]")] = (),
    user_numbers: Annotated[Columns, arg(name="user-number", metavar="COLUMN[:HOW]")] = (),
    dense: Annotated[Columns, arg(metavar="COLUMN[:HOW]")] = (),
    hash: Annotated[Columns, arg(metavar="COLUMN=SIZE")] = (),
    pool: Annotated[Columns, arg(metavar="COLUMN=mean|sum|max")] = (),
    set_quantile: Annotated[float, arg(metavar="SHARE")] = 0.99,
    time_fields: Annotated[UseAppendAction[tuple[Time, ...]], arg(name="time-field")] = (),
    min_count: int = 1,
    drop_duplicates: bool = False,
    like: Annotated[Path | None, arg(metavar="STORE")] = None,
    grow: bool = False,
    engine: Literal["auto", "memory", "duckdb", "spark"] = "auto",
    test_fraction: float = 0.1,
    valid_fraction: float = 0.05,
    user_id: bool = False,
    seed: int = 0,
    force: bool = False,
    quiet: bool = False,
) -> None:
    """Make an event store of a log: CSV, TSV or Parquet files with a row per event, plain or .gz, .bz2, .zst, .lz4.

    A folder is the log of the files in it; names of its folders such as day=2026-11-01 are a column, day.

    Without impressions the model learns to tell a user's next event from a sampled negative; with impressions,
    candidates that were shown and a label, it learns that label from the user's events strictly before.

    Recipes for public data sets (Amazon, MovieLens) are in data_prep, in a clone of the repository; not installed.

    Args:
      events: files or folders of the log, or a glob in quotes.
      user: column of the user.
      item: column of the item.
      time: column of the time: numbers, or ISO 8601 dates; rows of equal user and time keep their order.
      out: folder for the event store.
      attributes: column of an event beside the item, such as its category; may be given again. A column of lists is a
        set of values, and so is text with a separator, such as "tags|" in quotes (| ; , / or a space).
      user_attributes: column with one value per user, such as the city, or a set of them; may be given again.
      channels: a history of its own for each of several kinds of events, with its length, such as
        type=click:50,cart+wish:20; the column becomes an attribute. Events of other kinds are in no history.
      protocol: last: users are split, the last event is the target (DIEN paper; the default without impressions);
        all: leave one out, every prefix trains (DIN paper); time: the latest impressions test (the default with them);
        user: the impressions of some users test.
      hist_label: column or expression of the events in 0 to 1, such as "rating >= 4": was it a positive signal?
      impressions: files or folders of candidates that were shown, with the columns of user, item, time and attributes.
      label: column or expression of the impressions: 0 or 1 (clicked), or a number for regression.
      context: column of the impressions whose values get ids, such as the position; may be given again.
      numbers: column of numbers of an event, such as price or dwell:log; may be given again. HOW is standard (if not
        given), log, a number of buckets that are about equally full, such as 10, or raw; a raw one may not be missing.
      user_numbers: column with one number per user, such as age:10; may be given again.
      dense: column of numbers of the impressions, raw if HOW is not given; may be given again.
      hash: size of the table of a column whose values shall not be kept, such as item=1000000; may be given again.
      pool: how the vectors of a set become one, such as tags=max, otherwise mean; may be given again.
      set_quantile: share of the sets in the training rows that are not cut; longer ones lose their last values.
      time_fields: a field of every event that its time gives: gap (how long before the candidate), next_gap (to the
        next event), position (from the end), hour, weekday (UTC); may be given again.
      min_count: an item or attribute that stands in fewer training rows is unknown; not where it is hashed.
      drop_duplicates: keep only the first of events of equal user, time and item.
      like: an earlier store, whose values keep their ids; new values are unknown.
      grow: give new values ids after those of --like, for `dienjax train --init-from`.
      engine: memory; duckdb for a log larger than that (install dienjax[duckdb]); spark on a cluster or with the cores
        here (install dienjax[spark] and Java; SPARK_CONF_DIR and PYSPARK_SUBMIT_ARGS hold its settings). The result
        is equal; auto takes memory or duckdb by the size of the files.
      test_fraction: share of the users, or by time of the impressions, that test.
      valid_fraction: share of the others for validation.
      user_id: make the user a feature too.
      seed: decides which users test and which negatives they meet.
      force: replace a store that already stands in the folder.
      quiet: no progress bar.
    """
    from dienjax.inspection.inspect import summary
    from dienjax.preparation.prepare import prepare as make_store

    store = make_store(
        list(events), out, user=user, item=item, time=time, attributes=attributes, user_attributes=user_attributes,
        channels=channels, protocol=protocol, hist_label=hist_label, impressions=list(impressions) or None, label=label,
        context=context, numbers=numbers, user_numbers=user_numbers, dense=dense, hash=by_column("hash", hash, int),
        pool=cast("dict[str, Pool]", by_column("pool", pool, str)), set_quantile=set_quantile, time_fields=time_fields,
        min_count=min_count, drop_duplicates=drop_duplicates, like=like, grow=grow, engine=engine, seed=seed,
        test_fraction=test_fraction, valid_fraction=valid_fraction, user_id=user_id, force=force, progress=not quiet,
    )  # fmt: skip
    print(summary(store))


def inspect(store: Positional[Path], json: bool = False, picture: Path | None = None) -> None:
    """Show what an event store holds, and check it: counts, splits, history lengths, unknown ids, leaks, sizes.

    A leak is a history that holds an event after the time of its label; the exit code is then 1. A damaged store, such
    as one whose times are out of order, is an error.

    Args:
      store: event store, as `dienjax prepare` writes it.
      json: print one JSON object with everything; what is not defined, such as the label rate of no labels, is null.
      picture: PNG, SVG or PDF file for history lengths and activity over time.
    """
    from dataclasses import asdict

    from dienjax.inspection.inspect import alarms, inspect_store, text

    facts = inspect_store(store)
    if picture:
        from dienjax.inspection.picture import draw

        draw(facts, picture)
    print(dumps(asdict(facts)) if json else text(facts))
    if alarms(facts):
        sys.exit(1)
