"""Warm start: the weights of an earlier run as the start of a new one, each embedding row at its value's new id."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dienjax.schema import FIRST_ID, PADDING, UNKNOWN, Schema
from dienjax.storage.files import write_json
from dienjax.training import checkpoint
from dienjax.training.run import Run

FILE = "init.json"
"""In the run folder: where the weights came from, at which step, and the counts by table."""

FRESH = -1
"""In a row map, stands for no old row: the new row keeps its initialisation."""

Variables = dict[str, Any]


def carry_weights(source: Run | str | Path, new: Run) -> None:
    """Write the weights of the run `source` as checkpoint 0 of `new`, and their origin as init.json.

    Raises:
      FileNotFoundError: `source` is not a run folder, or has no whole checkpoint.
      ValueError: the two have different fields or parameters (all of them are listed), or vocabularies that cannot be
        compared.
    """
    old = source if isinstance(source, Run) else Run.open(source)
    state, _ = old.restore(old.chosen, old.optimizer())
    fresh = new.initial_state(new.optimizer())
    rows = match_rows(old, new)
    lines = _other_fields(old.schema, new.schema) + misfits(fresh.variables, state.variables, rows)
    if lines:
        raise ValueError(
            f"the weights of {old.path} do not fit the new model (run -> new model; missing: the run lacks it):\n"
            + "\n".join(f"  {line}" for line in lines)
            + f"\nUse the [model] and [loss] of {old.path / 'config.toml'} and data with the same fields in the same "
            "order, or train from the start, without --init-from"
        )
    carried = carry_over(fresh.variables, state.variables, rows)
    checkpoint.save(new.path, "last", replace(fresh, **carried), position={})  # the loop's defaults: its start
    counts = {name: count(source_V, old.schema.table(name).size) for name, source_V in rows.items()}
    write_json(new.path / FILE, {"from": str(old.path.absolute()), "step": int(state.step), "tables": counts})


def match_rows(old: Run, new: Run) -> dict[str, np.ndarray]:
    """The row map of each table that both runs have: by value, or by id if neither run has a vocabulary.

    A table that is hashed or has edges is mapped by id: it must be so in both, with the same seed, size or edges.

    A table of ready-made ids that has shrunk gets none: it is unknown which of its rows are left.

    Raises:
      ValueError: only one of the runs has a vocabulary, or a table holds numbers in one and strings in the other, or
        has ids of other hashes or edges.
    """
    _check_sources(old.schema, new.schema, old.path)
    if old.has_vocabulary != new.has_vocabulary:
        got, other = ("values", "ready-made ids") if old.has_vocabulary else ("ready-made ids", "values")
        raise ValueError(
            f"the run {old.path} was trained on {got}, the new data has {other}: no row of one is known to be a row of "
            "the other; give data of the same kind, or train from the start, without --init-from"
        )
    size = {t.name: t.size for t in old.schema.tables}
    both = [t for t in new.schema.tables if t.name in size]
    if not old.has_vocabulary:
        return {t.name: rows_by_id(size[t.name], t.size) for t in both if t.size >= size[t.name]}
    return {
        t.name: rows_by_value(old.vocabulary(t.name), new.vocabulary(t.name), t.size, f"table {t.name!r} of {old.path}")
        if t.has_vocabulary
        else rows_by_id(t.size, t.size)
        for t in both
    }


def _check_sources(old: Schema, new: Schema, path: Path) -> None:
    """Refuse tables whose ids come from other hashes or edges: none of their rows means what it did."""
    before = {t.name: t for t in old.tables}
    for now in new.tables:
        was = before.get(now.name, now)
        if was.has_vocabulary and now.has_vocabulary:
            continue
        if (was.edges, was.seed, was.size) != (now.edges, now.seed, now.size):
            raise ValueError(
                f"table {now.name!r} of {path} has {was.size} rows, seed {was.seed} and edges {was.edges}, that of the "
                f"new data {now.size}, {now.seed} and {now.edges}; expected the same: prepare the new log with --like "
                "the store of that run, or train from the start, without --init-from"
            )


def rows_by_value(old: pd.DataFrame, new: pd.DataFrame, size: int, where: str) -> np.ndarray:
    """The old row [V] of each of the `size` new rows, or FRESH; padding and unknown are always carried.

    Args:
      old: the (id, value) of the old vocabulary.
      new: the (id, value) of the new vocabulary.
      where: the name of the old table in the message.

    Raises:
      ValueError: the two hold values of different kinds, such as numbers and strings.
    """
    was, now = _values(old), _values(new)
    if len(was) and len(now) and _kind(was) != _kind(now):
        raise ValueError(
            f"{where} holds {_kind(was)} values such as {was.tolist()[0]!r}, that of the new data {_kind(now)} values "
            f"such as {now.tolist()[0]!r}; expected one kind: convert the column of the new log and prepare it again"
        )
    source_V = np.full(size, FRESH)
    source_V[[PADDING, UNKNOWN]] = PADDING, UNKNOWN
    # One entry more than values: position -1, a value that the old run did not know, reads it.
    source_V[new["id"]] = np.append(old["id"], FRESH)[was.get_indexer(now)]
    return source_V


def rows_by_id(old_size: int, size: int) -> np.ndarray:
    """The old row [V] of each of the `size` new rows: the same one, or FRESH from `old_size` on."""
    row_V = np.arange(size)
    return np.where(row_V < old_size, row_V, FRESH)


def carry_over(fresh: Variables, old: Variables, rows: Mapping[str, np.ndarray]) -> Variables:
    """The old variables, with each table's rows moved as its map in `rows` says, and fresh rows in between.

    A model's tables are the parameters of its `embedder`, by table name (`FeatureEmbedder`).
    """
    fresh_tables, old_tables = fresh["params"]["embedder"], old["params"]["embedder"]
    tables = {
        name: np.where((source_V == FRESH)[:, None], fresh_tables[name], np.asarray(old_tables[name])[source_V])
        for name, source_V in rows.items()
    }
    return {**old, "params": {**old["params"], "embedder": {**old_tables, **tables}}}


def misfits(fresh: Variables, old: Variables, rows: Mapping[str, np.ndarray]) -> list[str]:
    """A line for every parameter or statistic that is missing in `old`, unexpected, or of another shape.

    A table with a row map may differ in its number of rows.
    """
    was, now = ({name: leaf.shape for name, leaf in checkpoint.named_leaves(v).items()} for v in (old, fresh))
    any_rows = {f"params/embedder/{name}" for name in rows}
    lines = [f"missing     {name}: {now[name]}" for name in now if name not in was]
    lines += [f"unexpected  {name}: {was[name]}" for name in was if name not in now]
    for name in now.keys() & was.keys():
        skipped = 1 if name in any_rows else 0
        if was[name][skipped:] != now[name][skipped:]:
            lines.append(f"misshapen   {name}: {was[name]} -> {now[name]}")
    return sorted(lines)


def count(source_V: np.ndarray, old_size: int) -> dict[str, int]:
    """How many rows of real values a map carries over, leaves fresh, and drops from the old table."""
    carried = int(np.count_nonzero(source_V[FIRST_ID:] != FRESH))
    return {"carried": carried, "new": len(source_V) - FIRST_ID - carried, "dropped": old_size - FIRST_ID - carried}


def summary(run: Run) -> str:
    """One line per table: how many rows the run took from the one it started from."""
    return "\n".join(
        f"{name}: {c['carried']:,} rows carried over, {c['new']:,} new, {c['dropped']:,} dropped"
        for name, c in _read(run)["tables"].items()
    )


def check_origin(run: Run, source: Run | str | Path | None) -> None:
    """Raise ValueError if a run to be resumed did not start from the weights of `source`; None is always right."""
    if source is None:
        return
    given = source.path if isinstance(source, Run) else Path(source)
    origin = _read(run)["from"] if (run.path / FILE).is_file() else "fresh weights"
    if given.resolve() != Path(origin).resolve():
        raise ValueError(
            f"cannot resume {run.path} from the weights of {given}: it started from {origin}. "
            "Leave --init-from out, or train in another folder"
        )


def _read(run: Run) -> dict[str, Any]:
    return json.loads((run.path / FILE).read_text(encoding="utf-8"))


def _values(vocabulary: pd.DataFrame) -> pd.Index:
    """The values as an index of Python's own types, so that int32 and int64, or text and category, do not differ."""
    return pd.Index(vocabulary["value"].tolist())


def _kind(values: pd.Index) -> str:
    return "numeric" if pd.api.types.is_numeric_dtype(values) else pd.api.types.infer_dtype(values)


def _other_fields(old: Schema, new: Schema) -> list[str]:
    """A line for each group of fields that differs; their order counts, because the tower's inputs follow it."""
    groups = ((name, getattr(old, name), getattr(new, name)) for name in ("behaviours", "sparse", "dense"))
    return [f"{name}: {list(was)} -> {list(now)}" for name, was, now in groups if was != now]
