"""For whom and for what a run is right: its metrics by length of the history, by user, and by item."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from dienjax.inspection.inspect import bin_names
from dienjax.report.baselines import popularity
from dienjax.report.bootstrap import Bootstrap
from dienjax.report.charts import Axis, Values, intervals
from dienjax.report.measures import MEASURES, OF_GROUPS, TITLES, group_counts
from dienjax.report.scored import Scored
from dienjax.report.section import Block, Chart, Section
from dienjax.report.side_by_side import table
from dienjax.schema import UNKNOWN


class Grouping(NamedTuple):
    """Which of the named groups each row is in; each group has a row."""

    title: str
    group_M: np.ndarray
    names: list[str]


def groups(runs: Mapping[str, Scored], bootstrap: Bootstrap) -> Section:
    """AUC and GAUC (regression: RMSE and MAE) of each group that has rows, with intervals and counts."""
    first = next(iter(runs.values()))
    task, measures = first.task, OF_GROUPS[first.task]
    groupings = {name: groupings_of(one) for name, one in runs.items()}
    found = bootstrap.sampled(
        {
            (name, key, m): MEASURES[task][m](one.logit_M, one.label_M, bootstrap.user_M, grouping.group_M)
            for name, one in runs.items()
            for key, grouping in groupings[name].items()
            for m in measures
        }
    )
    blocks: list[Block] = []
    numbers: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for key in next(iter(groupings.values())):
        numbers[key] = {}
        for name, one in runs.items():
            title, group_M, labels = groupings[name][key]
            counts = group_counts(one.label_M, bootstrap.user_M, group_M, task)
            intervals_Gm = zip(*(found[name, key, m].intervals() for m in measures), strict=True)
            numbers[key][name] = [
                {"group": label, **count, **dict(zip(measures, of_group, strict=True))}
                for label, count, of_group in zip(labels, counts, intervals_Gm, strict=True)
            ]
        blocks += _blocks(key, title, numbers[key], measures)
    text = "Only groups that have rows are there; a metric of a group of one class is undefined."
    return Section("groups", "Where it is right", text, blocks, numbers)


def groupings_of(scored: Scored) -> dict[str, Grouping]:
    """The groups of a run's rows, by what they are grouped by."""
    store, item = scored.store, scored.store.schema.item
    item_M, events_U = scored.candidate(item), np.diff(store.offsets)
    return {
        "history": by_magnitude("events of the history", scored.length_M),
        "activity": by_magnitude("events of the user in the store", events_U[scored.user_M]),
        "popularity": by_magnitude(f"training events of the {item}", popularity(store, item_M)),
        "unknown": _present(f"whether training knew the {item}", item_M == UNKNOWN, ["known", "unknown"]),
    }


def by_magnitude(title: str, count_M: np.ndarray) -> Grouping:
    """Rows by a count: 0, 1, 2-3, 4-7, ..."""
    digits_M = np.frexp(count_M)[1]
    return _present(title, digits_M, bin_names(int(digits_M.max(initial=0)) + 1))


def _present(title: str, group_M: np.ndarray, names: list[str]) -> Grouping:
    """The groups that have rows."""
    present, index_M = np.unique(group_M, return_inverse=True)
    return Grouping(title, index_M, [names[int(group)] for group in present])


def _blocks(
    key: str, title: str, of_runs: Mapping[str, list[dict[str, Any]]], measures: tuple[str, ...]
) -> list[Block]:
    names = list(of_runs)
    # With several runs a colour is a run, and the first measure is drawn; the table has both.
    drawn = measures if len(names) == 1 else measures[:1]
    values: Values = [
        {"run": name, "series": TITLES[m], "group": row["group"], **row[m]._asdict()}
        for name, rows in of_runs.items()
        for row in rows
        for m in drawn
    ]
    what = " and ".join(TITLES[m] for m in drawn)
    chart = intervals(values, Axis("group", title), Axis("value", what), names)
    columns = [title, *(TITLES.get(of, of) for of in of_runs[names[0]][0] if of != "group")]
    labels = dict.fromkeys(row["group"] for rows in of_runs.values() for row in rows)
    cells = [
        [name, *row.values()] for of in labels for name, rows in of_runs.items() for row in rows if row["group"] == of
    ]
    drawing = Chart(f"groups-{key}", f"By {title}", chart, f"{what} by {title}, with intervals")
    return [*([drawing] if len(labels) > 1 else []), table(f"By {title}", columns, cells, names)]
