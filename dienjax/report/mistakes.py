"""The candidates that runs were most wrong about, with the raw values that they were wrong about."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from dienjax.report.naming import Names
from dienjax.report.scored import Scored
from dienjax.report.section import Block, Section, Table

MOST = 20
EVENTS = 3
"""The events of the history that are shown, the most recent ones."""


def mistakes(runs: Mapping[str, Scored], names: Names) -> Section:
    """The 20 candidates with the highest log loss of each run (regression: the largest absolute error)."""
    numbers = {name: largest(one, names) for name, one in runs.items()}
    blocks: list[Block] = [_table(name if len(runs) > 1 else "", rows) for name, rows in numbers.items()]
    text = (
        f"Each candidate with its values, and the last {EVENTS} events of the history that the model saw, oldest first."
    )
    return Section("mistakes", "Largest errors", text, blocks, numbers)


def largest(scored: Scored, names: Names) -> list[dict[str, Any]]:
    """What is known of the candidates with the largest errors, the largest first."""
    error_M = scored.error_M
    index_X = np.argsort(-error_M, kind="stable")[:MOST]
    batch = scored.dataset.rows(scored.row_M[index_X], EVENTS, 0)
    regression, label_X = scored.task == "regression", scored.label_M[index_X]
    columns = {
        "user": names.user(scored.user_M[index_X]),
        **({"target": label_X.tolist()} if regression else {"label": label_X.astype(int).tolist()}),
        "prediction" if regression else "probability": scored.prediction_M[index_X].tolist(),
        "absolute error" if regression else "log loss": error_M[index_X].tolist(),
        "candidate": names.rows({name: scored.candidate(name)[index_X] for name in batch.candidate}),
        "events seen": scored.length_M[index_X].tolist(),
        "last events": [
            names.rows({name: ids_XT[x, : mask_T.sum()] for name, ids_XT in batch.history.items()})
            for x, mask_T in enumerate(batch.mask_BT)
        ],
    }
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _table(run: str, rows: list[dict[str, Any]]) -> Table:
    titles = [title for key in rows[0] for title in (rows[0][key] if key == "candidate" else [key])]
    cells = [
        [
            *list(row.values())[:4],
            *row["candidate"].values(),
            row["events seen"],
            " → ".join(" · ".join(event.values()) for event in row["last events"]),
        ]
        for row in rows
    ]
    return Table(f"The {len(rows)} largest errors" + (f" of {run}" if run else ""), titles, cells, wide=True)
