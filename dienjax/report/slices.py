"""Where a run is worst: the values of each field whose rows it ranks, or predicts, least well."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from dienjax.report.bootstrap import Bootstrap
from dienjax.report.measures import MEASURES, OF_GROUPS, TITLES, group_counts
from dienjax.report.naming import Names
from dienjax.report.scored import Scored
from dienjax.report.section import Block, Section, Table, Text
from dienjax.schema import PADDING

WORST = 10
LEAST = 20
"""Rows of each class (regression: rows) that a value must have: with fewer, a low AUC is mostly chance."""


def slices(runs: Mapping[str, Scored], bootstrap: Bootstrap, names: Names) -> Section:
    """The ten values of each field with the lowest AUC of the first run (regression: the highest RMSE)."""
    first = next(iter(runs.values()))
    enough = f"at least {LEAST} rows" + (" of each class" if first.task == "binary" else "")
    blocks: list[Block] = []
    numbers: dict[str, Any] = {}
    for field in (f.name for f in first.store.schema.id_fields):
        row_L, id_L = ids_of(first, field)
        worst_W, able = worst(first, row_L, id_L)
        rows = _rows(runs, bootstrap, row_L, id_L, worst_W, names.ids(field, worst_W)) if able else []
        numbers[field] = {"values_with_enough_rows": able, "worst": rows}
        blocks.append(_table(field, able, rows, runs) if able else Text(f"{field}: no value has {enough}."))
    text = (
        f"The values of each field with {enough} that have the worst {TITLES[OF_GROUPS[first.task][0]]}"
        + (f" in {next(iter(runs))}" if len(runs) > 1 else "")
        + f", at most {WORST}. Of many values the worst are partly so by chance, which their intervals do not count."
    )
    return Section("slices", "Where it is worst", text, blocks, numbers)


def ids_of(scored: Scored, field: str) -> tuple[np.ndarray, np.ndarray]:
    """The ids [L] of a field, the user's or the candidate's, and of which of the M rows each is.

    A row is there once; of a set once for each of its ids.
    """
    users = scored.store.users
    array = users[field][scored.user_M] if field in users else scored.candidate(field)
    if array.ndim == 1:
        return np.arange(len(array)), array
    size = scored.store.schema.sizes()[field]
    row_L, place_L = np.nonzero(array != PADDING)
    return np.divmod(np.unique(row_L * size + array[row_L, place_L]), size)


def worst(scored: Scored, row_L: np.ndarray, id_L: np.ndarray) -> tuple[np.ndarray, int]:
    """The ids of the worst values, the worst first, and how many values have enough rows."""
    rows_V = np.bincount(id_L)
    if scored.task == "binary":
        positives_V = np.bincount(id_L[scored.label_M[row_L] > 0], minlength=len(rows_V))
        rows_V = np.minimum(positives_V, rows_V - positives_V)
    enough_L = rows_V[id_L] >= LEAST
    row_X = row_L[enough_L]
    able_G, group_X = np.unique(id_L[enough_L], return_inverse=True)
    if not len(able_G):
        return able_G, 0
    none_X = np.zeros(len(row_X), int)  # the users do not matter to a value without interval
    measure = MEASURES[scored.task][OF_GROUPS[scored.task][0]]
    value_G = measure(scored.logit_M[row_X], scored.label_M[row_X], none_X, group_X)(np.ones(1))
    order_G = np.argsort(value_G if scored.task == "binary" else -value_G, kind="stable")
    return able_G[order_G[:WORST]], len(able_G)


def _rows(
    runs: Mapping[str, Scored],
    bootstrap: Bootstrap,
    row_L: np.ndarray,
    id_L: np.ndarray,
    worst_W: np.ndarray,
    values: list[str],
) -> list[dict[str, Any]]:
    """For each of the values its counts, and each run's metric."""
    there_L = np.isin(id_L, worst_W)
    row_X, group_X = row_L[there_L], np.argmax(id_L[there_L, None] == worst_W, axis=1)
    user_X = bootstrap.user_M[row_X]
    task = next(iter(runs.values())).task
    measure = MEASURES[task][OF_GROUPS[task][0]]
    found = bootstrap.sampled(
        {name: measure(one.logit_M[row_X], one.label_M[row_X], user_X, group_X) for name, one in runs.items()}
    )
    intervals = zip(*(sampled.intervals() for sampled in found.values()), strict=True)
    counts = group_counts(next(iter(runs.values())).label_M[row_X], user_X, group_X, task)
    return [
        {"value": value, **count, "runs": dict(zip(runs, of_runs, strict=True))}
        for value, count, of_runs in zip(values, counts, intervals, strict=True)
    ]


def _table(field: str, able: int, rows: list[dict[str, Any]], runs: Mapping[str, Scored]) -> Table:
    title = TITLES[OF_GROUPS[next(iter(runs.values())).task][0]]
    counts = [key for key in rows[0] if key not in ("value", "runs")]
    columns = [field, *counts, *([title] if len(runs) == 1 else [f"{title} of {name}" for name in runs])]
    cells = [[row["value"], *(row[key] for key in counts), *row["runs"].values()] for row in rows]
    return Table(f"{field}: the worst of {able:,} values", columns, cells, wide=True)
