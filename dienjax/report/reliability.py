"""Whether probabilities can be taken at their word: predictions in bins, beside what was observed."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from dienjax.report.bootstrap import Bootstrap, Ratio
from dienjax.report.charts import Axis, Values, points
from dienjax.report.scored import Scored
from dienjax.report.section import Chart, Section
from dienjax.report.side_by_side import table

BINS = 10


def reliability(runs: Mapping[str, Scored], bootstrap: Bootstrap) -> Section:
    """The mean prediction and the observed mean, with its interval, of bins of equally many rows."""
    bins = {name: equal_counts(one.prediction_M) for name, one in runs.items()}
    found = bootstrap.sampled(
        {
            name: Ratio(one.label_M, np.ones(len(one.label_M)), bootstrap.user_M, bins[name])
            for name, one in runs.items()
        }
    )
    numbers: dict[str, list[dict[str, Any]]] = {}
    for name, one in runs.items():
        rows_G = np.bincount(bins[name])
        predicted_G = np.bincount(bins[name], one.prediction_M) / rows_G
        columns = zip(rows_G.tolist(), predicted_G.tolist(), found[name].intervals(), strict=True)
        numbers[name] = [{"rows": n, "predicted": p, "observed": observed} for n, p, observed in columns]
    regression = next(iter(runs.values())).task == "regression"
    predicted, observed = (
        ("mean prediction", "mean target") if regression else ("mean probability", "share of positives")
    )
    values: Values = [
        {"run": name, **row, **row["observed"]._asdict()} for name, rows in numbers.items() for row in rows
    ]
    predictions = [row["predicted"] for row in values]
    spec = points(
        values, Axis("predicted", predicted), Axis("value", observed), [*runs], (min(predictions), max(predictions))
    )
    chart = Chart("calibration", "Calibration", spec, f"{observed} by {predicted}; on the dashed line both are equal")
    rows = [[name, *row.values()] for name, of_run in numbers.items() for row in of_run]
    counted = table("Bins of equally many rows", ["rows", predicted, observed], rows, [*runs])
    text = (
        "Candidates are sorted by their prediction and cut into bins of equally many; equal predictions share a bin. "
        "Where negatives were sampled, the probability of a positive is that among the sampled rows."
    )
    return Section("calibration", "Calibration", text, [chart, counted], numbers)


def equal_counts(value_M: np.ndarray, bins: int = BINS) -> np.ndarray:
    """The bin [M] of each value, from 0 on, ascending; equal values share one, so that there may be fewer bins."""
    edges = np.quantile(value_M, np.arange(1, bins) / bins)
    return np.unique(np.searchsorted(np.unique(edges), value_M, side="right"), return_inverse=True)[1]
